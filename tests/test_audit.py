"""The audit of installed packages never takes silence for safety."""

import runpy
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[1] / "scripts" / "audit.py"
CLEAN = {"name": "numpy", "version": "2.4", "vulns": []}
SKIPPED = {"name": "pillow", "version": "11.0.0", "skip_reason": "Dependency not found on PyPI"}
VULNERABLE = {
    "name": "pillow",
    "version": "12.3.0",
    "vulns": [{"id": "CVE-2026-96639", "fix_versions": ["13.0.0"]}],
}


@pytest.fixture
def audit() -> dict[str, Any]:
    return runpy.run_path(str(SCRIPT))


@pytest.mark.parametrize("packages", [[], [SKIPPED], [SKIPPED, {**SKIPPED, "vulns": []}]])
def test_an_answer_without_audited_packages_is_no_answer(audit: dict[str, Any], packages: list[Any]) -> None:
    assert audit["report"]({"dependencies": packages}) == ([], 0)


def test_vulnerabilities_are_listed_with_their_remedy(audit: dict[str, Any]) -> None:
    assert audit["report"]({"dependencies": [CLEAN, VULNERABLE, SKIPPED]}) == (
        [
            "pillow 12.3.0: CVE-2026-96639 (fixed in 13.0.0)",
            "2 packages audited, 1 vulnerabilities; 1 are unknown to the service.",
        ],
        1,
    )
    assert audit["report"]({"dependencies": [CLEAN]}) == (["1 packages audited, 0 vulnerabilities."], 0)


def test_without_a_service_the_audit_says_so_and_does_not_fail(
    audit: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(audit["main"].__globals__, "asked", lambda _: {})
    assert audit["main"]() == 0
    assert "nothing is known about the installed packages" in capsys.readouterr().out


def test_the_second_service_is_asked_where_the_first_does_not_answer(
    audit: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"pypi": {"dependencies": [SKIPPED]}, "osv": {"dependencies": [VULNERABLE]}}
    monkeypatch.setitem(audit["main"].__globals__, "asked", answers.get)
    assert audit["main"]() == 1
    assert "CVE-2026-96639" in capsys.readouterr().out


def test_versions_of_pillow_with_known_vulnerabilities_are_excluded() -> None:
    import tomllib

    from packaging.requirements import Requirement

    project = tomllib.loads((SCRIPT.parents[1] / "pyproject.toml").read_text("utf-8"))["project"]
    (pillow,) = (one for one in map(Requirement, project["dependencies"]) if one.name.lower() == "pillow")
    # 12.3.0: CVE-2026-96639 (stale storage in loaders of several frames), GHSA-5x8w-8jj5-q52h (JPEG), and more.
    assert not pillow.specifier.contains("12.3.0")
    assert pillow.specifier.contains("13.0.0")
