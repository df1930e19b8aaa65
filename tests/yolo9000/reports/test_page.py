"""Parts that the reports share."""

from __future__ import annotations

from jinja2 import Environment

from yolo9000.reports import page


def bar(percent: float | None) -> str:
    environment: Environment = page._environment()
    return str(environment.get_template("report_parts.html").module.bar(percent))  # type: ignore[attr-defined]


def test_a_bar_stays_within_its_track_and_a_missing_value_is_a_dash() -> None:
    assert "--n:42.0" in bar(42)
    assert "--n:100.0" in bar(123)
    assert "–" in bar(None)
