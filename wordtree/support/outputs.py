"""Protection of the user's files: an output replaces neither an input nor a file that our commands did not write."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePath

from wordtree.errors import WordTreeError
from wordtree.support.files import exists, is_own_output, write_atomically

MAX_NAME_BYTES = 255  # on most file systems
MAX_STEM_BYTES = 200  # of these, so that `-000005-2.jpg` fits
MAX_FOLDER_BYTES = 2000  # about half of what systems allow for a whole path


class OutputError(WordTreeError):
    """An output would replace an input, or a file that none of our commands wrote."""


def check_outputs(outputs: Iterable[Path], *, inputs: Iterable[Path] = (), overwrite: bool = False) -> None:
    """Raise OutputError unless each output is a new file, or one that our commands wrote and nobody changed since.

    inputs: the files that the command reads; those that do not exist are ignored.
    overwrite: accept every output.
    """
    if overwrite:
        return
    read = [path for path in inputs if exists(path)]
    for output in outputs:
        if not output.is_file():  # new, or a pipe or device
            continue
        if any(output.samefile(path) for path in read):
            raise OutputError(
                f"{output}: the output would replace an input; choose another name, or add --overwrite."
            )
        if not is_own_output(output):
            raise OutputError(
                f"{output}: exists, and is not an unchanged output of an earlier command; "
                "choose another name, or add --overwrite."
            )


def is_inside(path: Path, folder: Path) -> bool:
    """Whether a path lies in the folder, or below, once all links in it are followed."""
    return path.resolve().is_relative_to(folder.resolve())


def folder_and_stem(path: PurePath | str, *, default: str) -> tuple[PurePath, str]:
    """The folder and stem of a relative path, changed so that a file of this name can be written anywhere.

    Of an absolute path, one with `..`, or one too long for file systems, only the last part counts (`file_name_of`).
    """
    path = PurePath(path)
    is_long = len(os.fsencode(path.parent)) > MAX_FOLDER_BYTES or any(
        len(os.fsencode(part)) > MAX_NAME_BYTES for part in path.parent.parts
    )
    if is_long or path.is_absolute() or ".." in path.parts or not path.name:
        path = file_name_of(path, default=default)
    return path.parent, os.fsdecode(os.fsencode(path.stem)[:MAX_STEM_BYTES])


def file_name_of(path: PurePath | str, *, default: str) -> PurePath:
    """The last part of a path as the name of a file in any folder; `default` where it names none, such as `..`."""
    name = str(path).replace("\\", "/").rstrip("/").rpartition("/")[2]
    return PurePath(default if name in ("", ".", "..") else name)


def refuse_links_out(folder: Path, names: Iterable[str]) -> None:
    """Raise OutputError if a name in a folder is a link that leads outside: a stranger may have made the folder."""
    for name in names:
        path = folder / name
        if path.is_symlink() and not is_inside(path, folder):
            raise OutputError(f"{path}: is a link that leads outside its folder; remove the link.")


def write_outputs(
    contents: Mapping[Path, bytes | str], *, inputs: Iterable[Path] = (), overwrite: bool = False
) -> None:
    """Write each content to its file, after `check_outputs` for those whose content would change.

    Raises OutputError, before anything is written, and OSError.
    """
    changed = {path: content for path, content in contents.items() if not _has_content(path, content)}
    check_outputs(changed, inputs=inputs, overwrite=overwrite)
    for path, content in changed.items():
        write_atomically(path, content)


def _has_content(path: Path, content: bytes | str) -> bool:
    payload = content.encode() if isinstance(content, str) else content
    return path.is_file() and path.stat().st_size == len(payload) and path.read_bytes() == payload
