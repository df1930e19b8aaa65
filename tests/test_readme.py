"""Commands, links, files, settings and imports named in README.md, CONTRIBUTING.md and docs/ exist."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest
from pydantic import BaseModel

from yolo9000.config import Config, PretrainConfig

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
DECISIONS = ROOT / "docs" / "decisions.md"
MODULES = {"wordtree": "wordtree", "data-prep": "data_prep", "yolo9000": "yolo9000"}
FOLDERS = ("wordtree", "data_prep", "yolo9000", "tests", "docs", "configs", "benchmarks", "scripts")
MAX_COLUMNS = 99

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of these languages; a file name or hint may follow the language."""
    return re.findall(rf"^```(?:{'|'.join(languages)})\b[^\n]*\n(.*?)^```", text_of(page), re.S | re.M)


def prose(page: Path) -> str:
    """The page without its fenced blocks."""
    return re.sub(r"^```.*?^```", "", text_of(page), flags=re.S | re.M)


def commands(page: Path) -> list[tuple[str, str]]:
    """(program, command) for each use of our programs in the page's console blocks."""
    lines = "\n".join(blocks(page, "console", "bash", "sh")).replace("\\\n", " ")
    return re.findall(rf"(?:^|&& |\$ | -m )({'|'.join(MODULES)}) ([a-z][a-z-]*)", lines, re.M)


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    kept = re.sub(r"[^\w\s-]", "", heading.lower())
    return kept.strip().replace(" ", "-")


def models(annotation: object) -> Iterator[type[BaseModel]]:
    """The pydantic models in a type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from models(inner)


def settings_of(model: type[BaseModel]) -> set[str]:
    """The dotted names of a configuration's sections and their settings."""
    return {
        f"{section}.{name}"
        for section, field in model.model_fields.items()
        for inner in models(field.annotation)
        for name in inner.model_fields
    }


# --- commands


def test_readme_shows_the_three_programs():
    assert {program for program, _ in commands(README)} == set(MODULES)


@pytest.mark.parametrize(
    ("program", "command"), sorted({used for page in PAGES for used in commands(page)}), ids=" ".join
)
def test_every_command_that_a_page_shows_exists(program, command):
    done = subprocess.run(
        [sys.executable, "-m", MODULES[program], command, "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def test_continuous_integration_runs_the_readmes_test_command():
    script = text_of(ROOT / ".ci" / "run")
    pattern = re.search(r"test_command=\$\(grep -m1 -E \"(.*)\" README\.md\)", script)
    assert pattern is not None
    lines = text_of(README).splitlines()
    assert sum(bool(re.match(pattern[1].replace("\\\\", "\\"), line)) for line in lines) == 1


# --- names


@every_page
def test_links_within_the_repository_lead_somewhere(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        if not file.exists():
            broken.append(target)
        elif anchor:
            headings = re.findall(r"^#+ (.*)$", text_of(file), re.M)
            if anchor not in map(slug, headings):
                broken.append(target)
    assert broken == []


def test_readme_links_to_every_page_of_docs():
    linked = set(re.findall(r"\(docs/(\w+\.md)", text_of(README)))
    assert linked == {page.name for page in PAGES if page.parent.name == "docs"}


@every_page
def test_every_file_that_a_page_names_exists(page):
    """Paths from the root of the repository, in decisions.md also from tests/; recipes name files to be written."""
    named = re.findall(rf"`((?:{'|'.join(FOLDERS)})/[\w./-]+)`", prose(page))
    to_be_written = ("/name.py", "/test_name.py", "/name.yaml")
    roots = (ROOT, ROOT / "tests") if page == DECISIONS else (ROOT,)
    missing = [path for path in named if not any((root / path).exists() for root in roots)]
    assert [path for path in missing if not path.endswith(to_be_written)] == []


@every_page
def test_every_import_that_a_page_shows_works(page):
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in MODULES.values():
                module = import_module(str(node.module))
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


@every_page
def test_every_setting_that_a_page_names_exists(page):
    """`section.setting` of the training configurations, also as an option `--set section.setting=`."""
    known = settings_of(Config) | settings_of(PretrainConfig)
    sections = "|".join({name.partition(".")[0] for name in known})
    used = re.findall(rf"(?:`|--set '?|: )((?:{sections})\.[a-z]\w*)", text_of(page))
    file_names = {"data.yaml", "data.noun"}  # of YOLO and WordNet
    assert [name for name in used if name not in known | file_names] == []


# --- decisions


def entries() -> dict[int, list[str]]:
    """The lines of each entry of docs/decisions.md, by its number."""
    parts = [part.splitlines() for part in text_of(DECISIONS).split("\n\n")]
    return {
        int(re.findall(r"\d+", lines[0])[0]): lines for lines in parts if re.match(r"\*\*\d+\.", lines[0])
    }


def test_decisions_are_numbered_without_gaps_and_have_at_most_five_lines():
    assert list(entries()) == list(range(1, len(entries()) + 1))
    assert {number: len(lines) for number, lines in entries().items() if len(lines) > 5} == {}


def test_every_decision_names_a_test_file_that_exists():
    named = {
        number: re.findall(r"`([\w/]*test_\w+\.py)`", "\n".join(lines)) for number, lines in entries().items()
    }
    assert [number for number, files in named.items() if not files] == []
    assert [file for files in named.values() for file in files if not (ROOT / "tests" / file).is_file()] == []


def test_every_decision_that_code_and_configurations_point_to_exists():
    files = [
        file
        for folder in FOLDERS
        for suffix in ("py", "yaml", "md")
        for file in (ROOT / folder).rglob(f"*.{suffix}")
    ]
    assert len(files) > 100
    pointers = {
        int(number)
        for file in files
        for numbers in re.findall(r"decisions? ((?:\d+(?:, | and )?)+)", text_of(file))
        for number in re.findall(r"\d+", numbers)
    }
    assert len(pointers) > 10
    assert pointers <= set(entries())


# --- form


@every_page
def test_lines_of_prose_end_before_column_100(page):
    lines = [line for line in prose(page).splitlines() if not line.startswith("|")]
    assert [line for line in lines if len(line) > MAX_COLUMNS] == []


def test_the_results_table_of_the_readme_has_at_most_eight_rows():
    section = re.search(r"^## Results\n(.*?)^## ", text_of(README), re.S | re.M)
    assert section is not None
    rows = [line for line in section[1].splitlines() if line.startswith("|")]
    assert 3 <= len(rows) <= 2 + 8


def test_the_licence_of_everything_shipped_is_there():
    notices = {file.name for file in (ROOT / "LICENSES").iterdir()}
    assert {"WordNet-3.0.txt", "Twemoji.txt"} <= notices
    assert all(f"LICENSES/{name}" in text_of(README) for name in notices)
