"""What README.md, CONTRIBUTING.md and docs/ promise is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = {"wordtree": "wordtree", "data-prep": "data_prep", "yolo9000": "yolo9000"}


def commands(page: Path) -> list[tuple[str, str]]:
    """(program, command) for each use of our programs in the page's console blocks."""
    blocks = re.findall(r"^```(?:console|bash|sh)\n(.*?)^```", page.read_text(encoding="utf-8"), re.S | re.M)
    lines = "\n".join(blocks).replace("\\\n", " ")
    return re.findall(rf"(?:^|&& |\$ )({'|'.join(MODULES)}) ([a-z][a-z-]*)", lines, re.M)


def slug(heading: str) -> str:
    """GitHub's anchor of a heading."""
    kept = re.sub(r"[^\w\s-]", "", heading.lower())
    return kept.strip().replace(" ", "-")


def test_readme_shows_the_three_programs():
    assert {program for program, _ in commands(ROOT / "README.md")} == set(MODULES)


@pytest.mark.parametrize(
    ("program", "command"), sorted({found for page in PAGES for found in commands(page)}), ids=" ".join
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


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page):
    broken = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        if not file.exists():
            broken.append(target)
        elif anchor:
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.M)
            if anchor not in map(slug, headings):
                broken.append(target)
    assert broken == []


def test_continuous_integration_runs_the_readmes_test_command():
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    pattern = re.search(r"test_command=\$\(grep -m1 -E \"(.*)\" README\.md\)", script)
    assert pattern is not None
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert sum(bool(re.match(pattern[1].replace("\\\\", "\\"), line)) for line in lines) == 1


def test_the_licence_of_everything_shipped_is_there():
    notices = {file.name for file in (ROOT / "LICENSES").iterdir()}
    assert {"WordNet-3.0.txt", "Twemoji.txt"} <= notices
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert all(f"LICENSES/{name}" in readme for name in notices)
