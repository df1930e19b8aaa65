"""ImageNet folders: one for each class, named by wnid or by word; each picture in it shows the class."""

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from data_prep.config import ImageNetSource
from data_prep.records import ImageLabel, ImageRecord
from data_prep.sources.contents import (
    PICTURE_SUFFIXES,
    OpenSource,
    SourceError,
    readable_name,
    require_folder,
)


def open_source(config: ImageNetSource) -> OpenSource:
    """The class folders, sorted by name; raises SourceError where there are none."""
    require_folder(config.images, config.name)
    try:
        entries = sorted(os.scandir(config.images), key=lambda entry: entry.name)
    except OSError as reason:
        raise _unreadable(reason, config.images) from None
    folders = tuple(Path(entry.path) for entry in entries if entry.is_dir() and entry.name[0] != ".")
    if not folders:
        raise SourceError(
            f"source {config.name!r}: expected one folder for each class (n02084071/…) in {config.images}, "
            f"found none among {len(entries)} entries."
        )
    contents = _Contents(config.images, folders, files_beside=len(entries) - len(folders))
    names = tuple(readable_name(folder.name) for folder in folders)
    return OpenSource(config.name, has_boxes=False, classes=names, stream=contents.records)


@dataclass(frozen=True)
class _Contents:
    root: Path
    folders: tuple[Path, ...]
    files_beside: int

    def records(self, counts: Counter[str]) -> Iterator[ImageRecord]:
        counts["file beside the class folders"] += self.files_beside
        for class_index, folder in enumerate(self.folders):
            found = 0
            for path in _files_under(folder):
                if path.suffix.lower() not in PICTURE_SUFFIXES:
                    counts["file that is no picture by its name"] += 1
                    continue
                found += 1
                source_id = readable_name(path.relative_to(self.root).as_posix())
                label = ImageLabel(class_index)
                yield ImageRecord(source_id, path, path.stat().st_size, labels=(label,))
            counts["class folder without a picture"] += not found


def _files_under(folder: Path) -> Iterator[Path]:
    """Every file at or below the folder, in sorted order."""

    def stop(reason: OSError) -> None:
        raise _unreadable(reason, folder)

    for place, folders, names in os.walk(folder, onerror=stop):
        folders.sort()
        for name in sorted(names):
            yield Path(place) / name


def _unreadable(reason: OSError, folder: Path) -> SourceError:
    return SourceError(
        f"{reason.filename or folder}: cannot list this folder ({os.strerror(reason.errno or 0)})."
    )
