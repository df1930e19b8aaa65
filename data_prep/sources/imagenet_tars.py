"""ImageNet in tars: a tar for each class, one tar of class folders, or one tar of class tars."""

from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from data_prep.sources.files.tar import Member, TarSpan, members, refuse_compressed, whole_tar
from data_prep.sources.imagenet_images import (
    FILE_BESIDE_CLASSES,
    TAR_INSIDE,
    ClassImage,
    ImageClass,
    in_order,
    is_image,
)
from data_prep.sources.paths import readable_name
from data_prep.sources.source import Counts

_REPLACED = "member of a tar that a later member of the same name replaces"


def class_of_tar(name: str, tar: TarSpan) -> ImageClass:
    """The class whose images are the members of a tar."""

    def images(counts: Counts) -> list[ClassImage]:
        found = (member for member in members(tar, counts) if is_image(member.name, counts))
        inside = (member._replace(name=member.name.removeprefix(f"{name}/")) for member in found)
        return _latest_in_order(inside, tar.path, counts)

    return ImageClass(name, images)


def classes_in_tar(path: Path, counts: Counts) -> list[ImageClass]:
    """The classes in a tar of class folders or class tars, unsorted; counts the members left out.

    Folders around all classes, as in `tar -cf train.tar train/`, are ignored.
    """
    listing = _Listing(whole_tar(path))
    for member in members(listing.tar, counts):
        listing.add(member, counts)
    return listing.classes(counts)


def _latest_in_order(found: Iterable[Member], path: Path, counts: Counts) -> list[ClassImage]:
    """The images in order; of members with the same name only the last, as after unpacking."""
    latest: dict[str, ClassImage] = {}
    for name, offset, size_bytes in found:
        if name in latest:
            counts.leave_out(_REPLACED, readable_name(name), readable_name(f"{path}: {name}"))
        latest[name] = ClassImage(name, path, offset, size_bytes)
    return in_order(latest.values())


@dataclass
class _FolderInTar:
    """The images of one folder in a tar, in columns: 16 bytes and the name for each image."""

    offsets: "array[int]" = field(default_factory=lambda: array("q"))
    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    names: bytearray = field(default_factory=bytearray)  # a slash after each

    def add(self, member: Member) -> None:
        self.offsets.append(member.offset)
        self.sizes.append(member.size_bytes)
        self.names += member.name.rpartition("/")[2].encode("utf-8", "surrogateescape") + b"/"

    def members(self, prefix: str) -> Iterator[Member]:
        """The images, with the prefix before each name."""
        names = self.names.decode("utf-8", "surrogateescape").split("/")
        for name, offset, size in zip(names, self.offsets, self.sizes, strict=False):
            yield Member(prefix + name, offset, size)


@dataclass
class _Listing:
    """The content of a tar: the images by folder, the tars by name without suffix."""

    tar: TarSpan
    folders: dict[str, _FolderInTar] = field(default_factory=dict)
    tars: dict[str, TarSpan] = field(default_factory=dict)

    def add(self, member: Member, counts: Counts) -> None:
        path, (name, offset, size_bytes) = self.tar.path, member
        if name.lower().endswith(".tar"):
            stem = name[: -len(".tar")]
            if stem in self.tars:
                counts.leave_out(_REPLACED, readable_name(name), readable_name(f"{path}: {name}"))
            self.tars[stem] = TarSpan(path, offset, offset + size_bytes, f"{path}: {name}")
            return
        refuse_compressed(f"{path}: {name}")
        if is_image(name, counts):
            folder = name.rpartition("/")[0]
            self.folders.setdefault(folder, _FolderInTar()).add(member)

    def classes(self, counts: Counts) -> list[ImageClass]:
        """The classes, unsorted; counts the members outside all classes."""
        depth = _depth_of_classes([*self.folders, *self.tars])
        parts_of: dict[str, list[tuple[str, _FolderInTar]]] = {}
        for path, folder in self.folders.items():
            name, *below = path.split("/")[depth:]
            if name and not name.startswith("."):
                parts_of.setdefault(name, []).append(("".join(f"{part}/" for part in below), folder))
            else:
                for member in folder.members(f"{path}/".lstrip("/")):
                    counts.leave_out(FILE_BESIDE_CLASSES, readable_name(member.name))
        classes = [self._class_of_folders(name, parts) for name, parts in parts_of.items()]
        for stem, tar in self.tars.items():
            name, *below = stem.split("/")[depth:]
            if below:
                counts.leave_out(TAR_INSIDE, readable_name(f"{stem}.tar"))
            elif name.startswith(".") or not name:
                counts.leave_out(FILE_BESIDE_CLASSES, readable_name(f"{stem}.tar"))
            else:
                classes.append(class_of_tar(name, tar))
        return classes

    def _class_of_folders(self, name: str, parts: list[tuple[str, _FolderInTar]]) -> ImageClass:
        def images(counts: Counts) -> list[ClassImage]:
            found = (member for prefix, folder in parts for member in folder.members(prefix))
            return _latest_in_order(found, self.tar.path, counts)

        return ImageClass(name, images)


def _depth_of_classes(names: list[str]) -> int:
    """The number of folders that all names share at their start."""
    folders = [name.split("/")[:-1] for name in names]
    if not folders:
        return 0
    shared = zip(min(folders), max(folders), strict=False)  # all names between these two share as much
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], shared))
