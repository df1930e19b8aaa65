"""Images in, detections out, as a stream that decodes ahead of the network; needs no torch."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import TypeAlias

from wordtree.support.arrays import UInt8Array
from wordtree.support.lines import one_line
from yolo9000.data.letterbox import Content, Letterbox
from yolo9000.data.pixels import UnreadableImage
from yolo9000.inference.detections import Detections
from yolo9000.inference.sources import ImageItem

OnUnreadable: TypeAlias = Callable[[Exception], None]
DECODE_THREADS = min(8, max(2, os.cpu_count() or 2))


@dataclass(frozen=True)
class Predicted:
    """The result for one image: detections, or the reason why there are none.

    pixels: uint8, shape (H, W, 3), where the caller wanted them.
    """

    item: ImageItem
    detections: Detections | None = None
    failure: str = ""
    pixels: UInt8Array | None = None


@dataclass(frozen=True)
class Fitted:
    """A decoded image at its size on the network's canvas; as uint8, it takes a quarter of the memory of float32."""

    content: Content
    position: Letterbox
    pixels: UInt8Array | None = None


@dataclass(frozen=True)
class ImageStream:
    """A detector as functions of images.

    fit     resizes the pixels of an image, (H, W, 3) uint8, to fit on the network's canvas; runs in threads
    detect  returns the detections of a batch of fitted images with these names
    """

    fit: Callable[[UInt8Array], Fitted]
    detect: Callable[[Sequence[Fitted], Sequence[str]], list[Detections]]
    batch_size: int
    keep_pixels: bool = False

    def results(self, items: Iterable[ImageItem]) -> Generator[Predicted, None, None]:
        """The result of each image, in order. Threads decode the next images while the network runs.

        A batch is the next `batch_size` items, those that cannot be read included. The last digits of a result may
        depend on the other images of its batch.
        """
        batch: list[tuple[ImageItem, Fitted | str]] = []
        for entry in self._decoded(items):
            batch.append(entry)
            if len(batch) == self.batch_size:
                yield from self._predicted(batch)
                batch = []
        yield from self._predicted(batch)

    def _decoded(self, items: Iterable[ImageItem]) -> Iterator[tuple[ImageItem, Fitted | str]]:
        """Each image on its canvas, or the reason why it cannot be read; two batches are decoded ahead."""
        ahead = 2 * self.batch_size + DECODE_THREADS
        waiting: deque[tuple[ImageItem, Future[Fitted | str]]] = deque()
        pool = ThreadPoolExecutor(DECODE_THREADS, "decode")
        try:
            for item in items:
                waiting.append((item, pool.submit(self._read, item)))
                if len(waiting) > ahead:
                    first, future = waiting.popleft()
                    yield first, future.result()
            while waiting:
                first, future = waiting.popleft()
                yield first, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, item: ImageItem) -> Fitted | str:
        try:
            pixels = item.read()
            return replace(self.fit(pixels), pixels=pixels if self.keep_pixels else None)
        except UnreadableImage as error:
            return one_line(error)
        except OSError as error:
            return f"{item.name}: cannot be read: {error.strerror or one_line(error)}."
        except MemoryError:
            return f"{item.name}: does not fit into memory."

    def _predicted(self, batch: Sequence[tuple[ImageItem, Fitted | str]]) -> Iterator[Predicted]:
        fitted = [image for _, image in batch if isinstance(image, Fitted)]
        names = [item.name for item, image in batch if isinstance(image, Fitted)]
        found = iter(self.detect(fitted, names) if fitted else ())
        for item, image in batch:
            if isinstance(image, str):
                yield Predicted(item, failure=image)
            else:
                detections = replace(next(found), frame=item.frame, time_s=item.time_s)
                yield Predicted(item, detections, pixels=image.pixels)


def detections_of(
    results: Iterable[Predicted], on_unreadable: OnUnreadable | None = None
) -> Iterator[Detections]:
    """The detections of each image that can be read.

    on_unreadable: called with the error of an image that cannot be read; None: UnreadableImage is raised.
    """
    for result in results:
        if result.detections is not None:
            yield result.detections
        elif on_unreadable is None:
            raise UnreadableImage(result.failure)
        else:
            on_unreadable(UnreadableImage(result.failure))
