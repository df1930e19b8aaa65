"""The images to predict on: files, folders, globs, lists, addresses, videos, and images in memory."""

from __future__ import annotations

import itertools
import os
import re
import stat
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from glob import iglob
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import unquote
from urllib.request import Request, urlopen

import numpy as np
from PIL import Image

from data_prep.shards.decoding import IMAGE_SUFFIXES
from data_prep.sources.files.image_folder import is_hidden
from wordtree.support.arrays import UInt8Array
from wordtree.support.files import exists, system_message
from wordtree.support.lines import one_line
from yolo9000.data.pixels import UnreadableImage, read_pixels, upright_pixels
from yolo9000.errors import Yolo9000Error
from yolo9000.inference.video import VIDEO_SUFFIXES, VideoFrames

if TYPE_CHECKING:
    from yolo9000.data.given_image import GivenImage

ImageLike: TypeAlias = "Path | str | GivenImage"
LIST_SUFFIXES = (".txt", ".list")
_READABLE = IMAGE_SUFFIXES | VIDEO_SUFFIXES
_WILDCARDS = "*?["
MAX_DOWNLOAD_BYTES = 256 * 2**20
DOWNLOAD_SECONDS = 30.0  # without data from the server


class NoImages(Yolo9000Error):
    """A path is neither an image nor a folder with images."""


@dataclass(frozen=True)
class ImageItem:
    """One image that is to be read.

    name            the image in the results: the path, the address, or `image 0` for an image in memory
    read            returns the pixels, uint8, shape (H, W, 3); raises UnreadableImage or OSError
    relative        the path below the folder that was given, for files that are written about the image
    frame, time_s   for a frame of a video: its number from 0, and its time from the start in seconds
    """

    name: str
    read: Callable[[], UInt8Array]
    relative: str
    frame: int | None = None
    time_s: float | None = None

    @property
    def key(self) -> tuple[str, int | None]:
        """The identity of the image: its name, and the frame of a video."""
        return self.name, self.frame


@dataclass
class FoundImages:
    """The images of the given sources, in order; iterating yields an `ImageItem` for each.

    skipped: the number of files in the folders that are not images, by suffix.
    unsearched: the number of folders in the given folders that only `recursive` would search.
    part: (K, N): only part K of N of the images (`in_part`).
    """

    entries: list[tuple[str, str]] = field(
        default_factory=list
    )  # path or address, path below the given folder
    skipped: Counter[str] = field(default_factory=Counter)
    unsearched: int = 0
    every: float = 0.0
    part: tuple[int, int] = (1, 1)

    @property
    def total(self) -> int | None:
        """The number of images; None if a video makes it unknown."""
        if any(_is_video(name) for name, _ in self.entries):
            return None
        return len(self.entries) if self.part[1] == 1 else sum(1 for _ in self)

    def __iter__(self) -> Iterator[ImageItem]:
        return (item for item in self._all() if self.part[1] == 1 or in_part(item, self.part))

    def _all(self) -> Iterator[ImageItem]:
        for name, relative in self.entries:
            if _is_video(name):
                yield from _frames(name, relative, self.every)
            else:
                yield ImageItem(name, partial(_read_path_or_address, name), relative)


def find_images(
    sources: Iterable[Path | str], *, recursive: bool = False, every: float | None = None
) -> FoundImages:
    """The images of files, folders, globs, lists of paths (.txt), addresses (http) and videos, in the given order.

    A folder stands for the images directly in it, sorted by name; with `recursive` also for those in its folders.
    every: seconds between the frames of a video that are taken; None: every frame. Raises NoImages.
    """
    found = FoundImages(every=every or 0.0)
    for source in sources:
        _add(found, str(source), recursive=recursive)
    return found


def image_items(images: ImageLike | Iterable[ImageLike]) -> Iterator[ImageItem]:
    """An item for each image: paths as in `find_images`, and arrays, PIL images and tensors, named `image 0`, ….

    An iterable is read only as far as its images are needed, so it may be endless.
    """
    given: Any = [images] if _is_one_image(images) else images
    for number, image in enumerate(given):
        if isinstance(image, Path | str):
            yield from find_images([image])
        else:
            name = f"image {number}"
            yield ImageItem(name, partial(_given_pixels, image, name), name)


def _is_one_image(images: object) -> bool:
    torch = sys.modules.get("torch")  # without torch, nothing is a tensor
    is_tensor = torch is not None and isinstance(images, torch.Tensor)
    return is_tensor or isinstance(images, Path | str | np.ndarray | Image.Image)


def _given_pixels(image: GivenImage, name: str) -> UInt8Array:
    from yolo9000.data.given_image import pixels_of

    return pixels_of(image, name=name).permute(1, 2, 0).numpy()


def in_part(item: ImageItem, part: tuple[int, int]) -> bool:
    """Whether an image belongs to part K of N, `part` = (K, N), by a checksum of its name and frame.

    The parts are about equal. The part of an image does not change when other images are added.
    """
    number, parts = part
    text = item.name if item.frame is None else f"{item.name}\0{item.frame}"
    return zlib.crc32(os.fsencode(text)) % parts == number - 1


def is_address(source: str) -> bool:
    """Whether a source is an address on the web."""
    return source.startswith(("http://", "https://"))


def _is_video(name: str) -> bool:
    return os.path.splitext(name)[1].lower() in VIDEO_SUFFIXES  # noqa: PTH122 - 100,000 names


def _add(found: FoundImages, source: str, *, recursive: bool) -> None:
    """Add the images that one source stands for."""
    if is_address(source):
        path = re.split("[?#]", source)[0]
        found.entries.append((source, unquote(path.rpartition("/")[2]) or "image"))
    elif Path(source).is_dir():
        before = len(found.entries)
        _add_folder(found, Path(source), recursive=recursive)
        if len(found.entries) == before:
            common = ".jpg, .png, .webp, .tif, .avif, …"
            inside = "" if recursive else " Images in folders below it are read with --recursive."
            raise NoImages(
                f"{source}: expected images in this folder, found none with the suffix of an image ({common}).{inside}"
            )
    elif Path(source).exists():
        if Path(source).suffix.lower() in LIST_SUFFIXES:
            _add_list(found, Path(source))
        else:
            found.entries.append((source, Path(source).name))
    elif any(sign in source for sign in _WILDCARDS):
        _add_glob(found, source, recursive=recursive)
    else:
        raise NoImages(f"{source}: no such image or folder.")


def _add_folder(found: FoundImages, folder: Path, *, recursive: bool) -> None:
    if not recursive:
        found.unsearched += sum(path.is_dir() and not is_hidden(path.name) for path in folder.iterdir())
    for path in _files_below(folder) if recursive else _files_in(folder):
        if is_hidden(path.name):
            found.skipped["hidden file"] += 1
        elif path.suffix.lower() in _READABLE and _may_block(path):
            found.skipped["device or pipe"] += 1
        elif path.suffix.lower() in _READABLE:
            found.entries.append((str(path), str(path.relative_to(folder))))
        else:
            found.skipped[path.suffix.lower() or "no suffix"] += 1


def _files_in(folder: Path) -> list[Path]:
    """The files of a folder, and links that lead nowhere, which then fail like any missing image; sorted."""
    try:
        return sorted(path for path in folder.iterdir() if not path.is_dir())
    except OSError as reason:
        raise NoImages(f"{folder}: cannot be listed ({system_message(reason)}).") from None


def _files_below(folder: Path) -> Iterator[Path]:
    """The files of a folder and of all folders below it, folder by folder, without links to folders and hidden ones."""

    def stop(reason: OSError) -> None:
        raise NoImages(f"{reason.filename}: cannot be listed ({system_message(reason)}).")

    for below, folders, files in os.walk(folder, onerror=stop):
        folders[:] = sorted(itertools.filterfalse(is_hidden, folders))
        yield from (Path(below) / name for name in sorted(files))


def _may_block(path: Path) -> bool:
    """Whether a path is a pipe or a device, whose reading may never end; a missing file fails when it is read."""
    try:
        return not stat.S_ISREG(path.stat().st_mode)
    except (OSError, ValueError):
        return False


def _add_list(found: FoundImages, path: Path) -> None:
    """Add the paths and addresses of a text file, one on each line; a relative path counts from the file's folder."""
    text = path.read_bytes()
    if b"\0" in text:
        raise NoImages(f"{path}: expected text in UTF-8 with a path on each line, found a null character.")
    lines = [line.strip() for line in text.removeprefix(b"\xef\xbb\xbf").splitlines()]
    names = [os.fsdecode(line) for line in lines if line and not line.startswith(b"#")]
    if not names:
        raise NoImages(f"{path}: expected a path on each line, found none.")
    for name in names:
        if is_address(name):
            _add(found, name, recursive=False)
        else:
            near = path.parent / name
            candidates = (near, Path(name), path.parent / name.replace("\\", "/"))
            chosen = next((path for path in candidates if exists(path)), near)
            found.entries.append((str(chosen), chosen.name))


def _add_glob(found: FoundImages, pattern: str, *, recursive: bool) -> None:
    matches = sorted(iglob(pattern, recursive=True))  # noqa: PTH207 - the pattern may be absolute
    if not matches:
        raise NoImages(f"{pattern}: no file matches this pattern.")
    for match in matches:
        if Path(match).is_dir():
            if recursive:
                _add_folder(found, Path(match), recursive=True)
        elif Path(match).suffix.lower() in _READABLE and _may_block(Path(match)):
            found.skipped["device or pipe"] += 1
        elif Path(match).suffix.lower() in _READABLE:
            found.entries.append((match, Path(match).name))
        else:
            found.skipped[Path(match).suffix.lower() or "no suffix"] += 1


def _frames(name: str, relative: str, every: float) -> Iterator[ImageItem]:
    """The frames of a video; if the video breaks off, the last item fails with the reason."""
    frames = iter(VideoFrames(name, every))
    while True:
        try:
            frame = next(frames, None)
        except (UnreadableImage, OSError) as error:
            yield ImageItem(name, partial(_fail, error), relative)
            return
        if frame is None:
            return
        yield ImageItem(name, frame.pixels, relative, frame.number, frame.time_s)


def _fail(error: Exception) -> UInt8Array:
    raise error


def _read_path_or_address(name: str) -> UInt8Array:
    return upright_pixels(_downloaded(name), name=name) if is_address(name) else read_pixels(name)


def _downloaded(address: str) -> bytes:
    """The bytes at an address. Raises UnreadableImage."""
    try:
        request = Request(address, headers={"User-Agent": "yolo9000"})
        with urlopen(request, timeout=DOWNLOAD_SECONDS) as answer:
            content: bytes = answer.read(MAX_DOWNLOAD_BYTES + 1)
    except (OSError, HTTPException, ValueError) as reason:  # ValueError: an impossible address
        raise UnreadableImage(f"{address}: cannot be loaded: {one_line(reason)}.") from None
    if len(content) > MAX_DOWNLOAD_BYTES:
        raise UnreadableImage(f"{address}: longer than {MAX_DOWNLOAD_BYTES >> 20} MiB, so not an image.")
    return content
