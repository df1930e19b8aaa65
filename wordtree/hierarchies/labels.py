"""Label lists as files: one label a line."""

import re
from pathlib import Path

from wordtree.support.lines import numbered_lines
from wordtree.wordnet.resolve import LabelError

_WNID_AND_WORDS = re.compile(r"(n[0-9]{8})\s")


def read_labels(path: Path) -> list[str]:
    """The labels of a text file; empty lines and lines that begin with `#` apart.

    Of `n01440764 tench, Tinca tinca`, as ImageNet lists its classes, the wnid is the label. TreeFileError, with the
    line, for what is no text.
    """
    lines = (line.strip() for _, line in numbered_lines(path))
    labels = [_label(line) for line in lines if line and not line.startswith("#")]
    if not labels:
        raise LabelError(f"{path}: holds no labels; expected one a line.")
    return labels


def gather_labels(arguments: list[str]) -> list[str]:
    """The labels that command line arguments mean: each is a file of labels if there is one, else a label."""
    labels: list[str] = []
    for argument in arguments:
        path = Path(argument)
        if path.is_file():
            labels.extend(read_labels(path))
        elif path.suffix in (".txt", ".csv", ".labels", ".list") or len(path.parts) > 1:
            raise LabelError(f"{argument}: there is no such file of labels.")
        else:
            labels.append(argument)
    return labels


def _label(line: str) -> str:
    match = _WNID_AND_WORDS.match(line)
    return match[1] if match else line
