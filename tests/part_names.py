"""Files of the user with names like those of our part files, for tests that they survive."""

from pathlib import Path


def part_like_names(name: str) -> list[str]:
    """Names that look like part files of `name`, and are not."""
    tokens = ["", ".download", ".notes123", ".0123abcd", ".0123abcd89abcdef", "-2"]
    return [f"{name[:55]}{token}.part" for token in tokens]


def write_part_like(folder: Path, *names: str) -> dict[str, bytes]:
    """Write a file, or a folder with a file, of each part-like name; `folder_contents` of what was written."""
    for name in names:
        for number, part in enumerate(part_like_names(name)):
            path = folder / part / "inside" if number % 2 else folder / part
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("of the user")
    return folder_contents(folder)


def folder_contents(folder: Path) -> dict[str, bytes]:
    """The content of each file in a folder and below."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
