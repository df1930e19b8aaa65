"""Every page that we write, with names of a stranger, in headless Chromium: names are text and run nothing.

Chromium reads the pages without their content security policy, so that escaping alone has to protect the reader.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from data_prep import ShardReader
from data_prep.tables.charts import Histogram, histogram_svg
from tests.wordtree.views.browser import Page
from tests.yolo9000.predictions.test_report import detection, facts
from tests.yolo9000.reports import test_classifier_report, test_detector_report
from wordtree.tree.tree import WordTree
from wordtree.views.page import PageContent, tree_page
from yolo9000.predictions.report import MAX_INLINE, write_report
from yolo9000.predictions.result_log import ResultLog
from yolo9000.predictions.thumbnails import FOLDER, thumbnail_name
from yolo9000.reports.classifier_report import render_classifier_report
from yolo9000.reports.comparison_page import render_comparison
from yolo9000.reports.detector_report import render_detector_report

NAMES = (
    "<script>hit()</script>",
    "</script><script>hit()</script>",
    "<!--<script>",
    '"><img src=x onerror=hit()>',
    "'><svg onload=hit()>",
    "</style></title></textarea><script>hit()</script>",
    "--></pre></details><script>hit()</script>",
    "]]></text></svg><script>hit()</script>",
    '" autofocus onfocus="hit()" x="',
    "' style='x:y' onmouseover='hit()",
    "`;hit();//",
    '\\";hit();//',
    "\\u003cscript>hit()",
    "\u2028hit()//\u2029hit()",
    "{{ hit() }}{% set x = 1 %}{# no",
    "${hit()}",
    "javascript:hit()",
    "&lt;b&gt;&amp;amp;",
    "\u202egnp.exe",
    "ü" * 3000,
)
TREE_NAMES = tuple(name for name in NAMES if name.isprintable())  # a tree refuses others
FIXED = {"boxes", "image labels", "none", "threshold"}  # words of ours


def hostile(value: Any, known: dict[str, str] | None = None) -> Any:
    """A value of nested dataclasses in which each text is a hostile name; equal texts stay equal."""
    known = {} if known is None else known
    if isinstance(value, str):
        if value not in FIXED and value not in known:
            known[value] = f"{NAMES[len(known) % len(NAMES)]} {len(known)}"
        return known.get(value, value)
    if is_dataclass(value) and not isinstance(value, type):
        parts = {part.name: hostile(getattr(value, part.name), known) for part in fields(value) if part.init}
        return replace(value, **parts)
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(hostile(part, known) for part in value))
    if isinstance(value, list | tuple):
        return type(value)(hostile(part, known) for part in value)
    if isinstance(value, dict):
        return {hostile(key, known): hostile(part, known) for key, part in value.items()}
    return value


def tree_of_names() -> WordTree:
    """A root and a child for each name that a tree accepts; ids are hostile, too."""
    texts = ["".join(filter(str.isprintable, name.replace(" ", "")))[:900] for name in TREE_NAMES]
    ids = [f"{text}{number}" for number, text in enumerate(texts)]
    return WordTree(["all", *ids], [-1] + [0] * len(ids), ["all", *TREE_NAMES])


def tree(folder: Path, shards: Path) -> str:
    made = tree_of_names()
    numbers = {name[:50]: np.arange(len(made)) for name in NAMES}
    glosses = dict(zip(made.ids, ["x", *reversed(TREE_NAMES)], strict=True))
    return tree_page(made, PageContent(NAMES[0], glosses=glosses, numbers=numbers, start=1))


def run_details(run: Any) -> Any:
    """The facts about a run with hostile texts; names of curves are columns of metrics.csv."""
    columns = [name.replace(",", ";").replace('"', '""')[:100] for name in NAMES if "\u2028" not in name]
    lines = [",".join(["step", *(f'"{column}"' for column in columns)])]
    lines += [",".join([str(step), *["1.5"] * len(columns)]) for step in (1, 2)]
    return replace(hostile(run), metrics_csv="\n".join(lines) + "\n", config_yaml="\n".join(NAMES))


def detector_report(folder: Path, shards: Path) -> str:
    content = test_detector_report.content()
    return render_detector_report(replace(hostile(content), run=run_details(content.run)))


def classifier_report(folder: Path, shards: Path) -> str:
    return render_classifier_report(
        run_details(test_classifier_report.RUN), hostile(test_classifier_report.score())
    )


def comparison(folder: Path, shards: Path) -> str:
    from tests.yolo9000.comparison.test_compare import FEW, both, with_other_weights, with_settings
    from tests.yolo9000.evaluation.test_calibrate import checkpoint_of
    from yolo9000.comparison.compare import compare

    one = with_settings(checkpoint_of(shards), evaluate={"split": "train"})
    reader = ShardReader(shards)
    made = compare(both(one, with_other_weights(one)), reader, FEW, listed_images=2)
    rows = cycle(NAMES)
    return render_comparison(
        replace(
            made, a=NAMES[0], b=NAMES[3],
            classes=tuple(replace(row, name=next(rows), id=next(rows)) for row in made.classes),
        ), reader,
    )  # fmt: skip


def predictions(folder: Path, shards: Path, *, copies: int = 1) -> str:
    made = tree_of_names()
    (folder / FOLDER).mkdir()
    with ResultLog(folder / "detections.jsonl") as log:
        for copy in range(copies):
            for node, name in enumerate(TREE_NAMES, start=1):
                shown = f"{name[:200]}{copy}.jpg"
                found = {**detection(made, node, node, [1.0, 0.9], 0.9), "stopped": "threshold"}
                log.add({"image": shown, "width_px": 100, "height_px": 80, "detections": [found]})
                Image.new("RGB", (100, 80)).save(folder / FOLDER / thumbnail_name((shown, None)))
        for name in NAMES:
            log.add({"image": f"broken {name}", "failure": f"{name}: cannot be read"})
    counts = facts(made, title=NAMES[0])
    return write_report(folder / "report.html", folder / "detections.jsonl", counts).read_text("utf-8")


def large_predictions(folder: Path, shards: Path) -> str:
    return predictions(folder, shards, copies=1 + MAX_INLINE // len(NAMES))


def chart(folder: Path, shards: Path) -> str:
    """An SVG file, which a browser runs scripts in, as a page of its own."""
    title, fact, x, y = NAMES[:4]
    return histogram_svg(
        Histogram("x.svg", title, fact, x, y, NAMES, NAMES[4:6], np.ones((2, len(NAMES)), int))
    )


PAGES: dict[str, Callable[[Path, Path], str]] = {
    "tree": tree,
    "detector report": detector_report,
    "classifier report": classifier_report,
    "comparison": comparison,
    "predictions": predictions,
    "predictions with files": large_predictions,
    "chart": chart,
}

CHECK = """(() => {
  const odd = [];
  for (const element of document.querySelectorAll('*')) {
    for (const {name, value} of element.attributes) {
      const leads = ['href', 'src', 'action'].includes(name);
      if (name.startsWith('on') && value.includes('hit') || leads && /^\\s*javascript:/i.test(value))
        odd.push(`${element.tagName} ${name}`);
    }
    if (element.tagName === 'IMG' && element.getAttribute('src') === 'x') odd.push('IMG x');
    if (element.tagName === 'SCRIPT' && /^hit\\(\\)$/.test(element.textContent)) odd.push('SCRIPT');
  }
  return odd;
})()"""
TEXT = """(() => {
  const copy = document.documentElement.cloneNode(true);
  copy.querySelectorAll('script, style').forEach(part => part.remove());
  return copy.textContent;
})()"""
TOUCH = """(() => {
  for (const element of [...document.querySelectorAll('body *')].slice(0, 3000)) {
    if (!['A', 'SCRIPT', 'STYLE'].includes(element.tagName))
      for (const kind of ['mouseover', 'focus', 'click']) element.dispatchEvent(new Event(kind, {bubbles: true}));
  }
})()"""


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.yolo9000.made import made_shards

    return made_shards(tmp_path_factory.mktemp("made"))


def assert_harmless(folder: Path, chromium: str, html: str, names: tuple[str, ...]) -> None:
    """No script of the names runs, no attribute of theirs exists, and they are in the text of the page."""
    file = folder / "page.html"
    file.write_text(html.replace("Content-Security-Policy", "x-off"), "utf-8", errors="backslashreplace")
    with Page(chromium, file) as page:
        page.send("Page.enable")
        page.send(
            "Page.addScriptToEvaluateOnNewDocument",
            source="window.seen = 0; window.hit = () => { seen += 1; }",
        )
        page.send("Page.reload")
        while page.run("document.readyState === 'complete' && typeof window.hit") != "function":
            pass
        text = page.run(TEXT)
        page.run(TOUCH)
        page.run("new Promise(done => setTimeout(done, 300))")
        assert page.run("seen") == 0
        assert page.run(CHECK) == []
        text += page.run(TEXT)
        missing = [name for name in names if name[:60] not in text]
        assert missing == []


@pytest.mark.slow
@pytest.mark.parametrize("kind", PAGES)
def test_names_on_a_page_are_text(tmp_path: Path, shards: Path, kind: str) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    html = PAGES[kind](tmp_path, shards)
    names = {"tree": TREE_NAMES, "predictions": TREE_NAMES, "predictions with files": TREE_NAMES[:3]}
    assert_harmless(tmp_path, chromium, html, names.get(kind, NAMES[:1] if kind == "comparison" else NAMES))


@pytest.mark.slow
def test_the_check_sees_a_script_and_an_attribute_of_a_name(tmp_path: Path) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("Chromium is not installed")
    for number, name in enumerate(NAMES[:2] + NAMES[3:5]):
        folder = tmp_path / str(number)
        folder.mkdir()
        with pytest.raises(AssertionError):
            assert_harmless(folder, chromium, f"<!doctype html><body>{name}<p>{name}</p></body>", ())
