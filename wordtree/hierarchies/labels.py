"""Label files: one label on each line."""

import re
from pathlib import Path

from wordtree.support.files import exists
from wordtree.support.lines import is_comment, numbered_lines
from wordtree.wordnet.resolve import LabelError

_WNID_AND_WORDS = re.compile(r"(n[0-9]{8})\s")


def read_labels(path: Path) -> list[str]:
    """The labels of a text file; empty lines and lines that begin with `# ` are skipped.

    A line such as `n01440764 tench, Tinca tinca`, from ImageNet's list of classes, gives the wnid. Raises
    TreeFileError, with the line, for a file that is not text, and LabelError for one without labels.
    """
    lines = (line.strip() for _, line in numbered_lines(path))
    labels = [_label(line) for line in lines if line and not is_comment(line)]
    if not labels:
        raise LabelError(f"{path}: expected one label on each line, found none.")
    return labels


def gather_labels(arguments: list[str]) -> list[str]:
    """The labels in command-line arguments; an argument that is an existing file gives the labels in it."""
    labels: list[str] = []
    for argument in arguments:
        path = Path(argument)
        if exists(path) and path.is_file():
            labels.extend(read_labels(path))
        elif path.suffix.lower() in (".txt", ".csv", ".labels", ".list") or len(path.parts) > 1:
            raise LabelError(f"{argument}: there is no such label file.")
        else:
            labels.append(argument)
    return labels


def _label(line: str) -> str:
    match = _WNID_AND_WORDS.match(line)
    return match[1] if match else line
