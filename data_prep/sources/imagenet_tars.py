"""The images of classes in tars: a tar for each class, one tar of class folders, or a tar of class tars."""

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from data_prep.sources.files.tar import Member, TarPlace, members, refuse_compressed, tar_file
from data_prep.sources.imagenet_images import (
    BESIDE,
    TAR_INSIDE,
    ImageClass,
    Picture,
    in_order,
    is_image,
)

_REPLACED = "member that a later one of its name replaces in a tar"


def class_of_tar(name: str, place: TarPlace) -> ImageClass:
    """The class whose images are a tar's."""

    def pictures(counts: Counter[str]) -> list[Picture]:
        found = (member for member in members(place, counts) if is_image(member.name, counts))
        inside = (member._replace(name=member.name.removeprefix(f"{name}/")) for member in found)
        return _latest_in_order(inside, place.path, counts)

    return ImageClass(name, pictures)


def classes_in_tar(path: Path, counts: Counter[str]) -> list[ImageClass]:
    """The classes in a tar of class folders or class tars, unsorted; counts what it leaves out.

    A folder around all classes, as `tar -cf train.tar train/` makes it, is taken off.
    """
    listing = _Listing(tar_file(path))
    for member in members(listing.place, counts):
        listing.add(member, counts)
    return listing.classes(counts)


def _latest_in_order(found: Iterable[Member], path: Path, counts: Counter[str]) -> list[Picture]:
    """As unpacking would leave them: of members of one name, the last."""
    latest: dict[str, Picture] = {}
    for name, offset, size_bytes in found:
        counts[_REPLACED] += name in latest
        latest[name] = Picture(name, path, offset, size_bytes)
    return in_order(latest.values())


@dataclass
class _FolderInTar:
    """The images of one folder in a tar, in columns: 16 bytes each and the name."""

    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    names: bytearray = field(default_factory=bytearray)  # a slash behind each

    def add(self, member: Member) -> None:
        self.offsets.append(member.offset)
        self.sizes.append(member.size_bytes)
        self.names += member.name.rpartition("/")[2].encode("utf-8", "surrogateescape") + b"/"

    def members(self, prefix: str) -> Iterator[Member]:
        """Named by the prefix and their own name."""
        names = self.names.decode("utf-8", "surrogateescape").split("/")
        for name, offset, size in zip(names, self.offsets, self.sizes, strict=False):
            yield Member(prefix + name, offset, size)


@dataclass
class _Listing:
    """What lies in a tar: the images by their folder, the tars by their name without suffix."""

    place: TarPlace
    folders: dict[str, _FolderInTar] = field(default_factory=dict)
    tars: dict[str, TarPlace] = field(default_factory=dict)

    def add(self, member: Member, counts: Counter[str]) -> None:
        path, (name, offset, size_bytes) = self.place.path, member
        if name.endswith(".tar"):
            stem = name.removesuffix(".tar")
            counts[_REPLACED] += stem in self.tars
            self.tars[stem] = TarPlace(path, offset, offset + size_bytes, f"{path}: {name}")
            return
        refuse_compressed(f"{path}: {name}")
        if is_image(name, counts):
            folder = name.rpartition("/")[0]
            self.folders.setdefault(folder, _FolderInTar()).add(member)

    def classes(self, counts: Counter[str]) -> list[ImageClass]:
        """Unsorted; counts what belongs to none."""
        depth = _depth_of_classes([*self.folders, *self.tars])
        parts_of: dict[str, list[tuple[str, _FolderInTar]]] = {}
        for path, folder in self.folders.items():
            name, *below = path.split("/")[depth:]
            if name and not name.startswith("."):
                parts_of.setdefault(name, []).append(("".join(f"{part}/" for part in below), folder))
            else:
                counts[BESIDE] += len(folder.offsets)
        classes = [self._class_of_folders(name, parts) for name, parts in parts_of.items()]
        for stem, place in self.tars.items():
            name, *below = stem.split("/")[depth:]
            if below:
                counts[TAR_INSIDE] += 1
            elif name.startswith(".") or not name:
                counts[BESIDE] += 1
            else:
                classes.append(class_of_tar(name, place))
        return classes

    def _class_of_folders(self, name: str, parts: list[tuple[str, _FolderInTar]]) -> ImageClass:
        def pictures(counts: Counter[str]) -> list[Picture]:
            found = (member for prefix, folder in parts for member in folder.members(prefix))
            return _latest_in_order(found, self.place.path, counts)

        return ImageClass(name, pictures)


def _depth_of_classes(names: list[str]) -> int:
    """How many folders lie around all of these."""
    folders = [name.split("/")[:-1] for name in names]
    if not folders:
        return 0
    shared = zip(min(folders), max(folders), strict=False)  # what these two share, all between them share
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], shared))
