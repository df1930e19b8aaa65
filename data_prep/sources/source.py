"""`OpenSource`, the value that every reader returns, and the reasons that several readers count."""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from data_prep.errors import DataPrepError
from data_prep.records import BOX_OF_LOST_IMAGE, LABEL_OF_LOST_IMAGE, ImageRecord

# Reasons that several readers count.
NO_NAME_INSIDE = "image without a file name inside the folder"
NO_SIZE = "image without width and height"
FILE_MISSING = "image file missing"
DAMAGED_ARCHIVE = "damaged, the rest is not read"  # follows the name of the archive


class SourceError(DataPrepError):
    """A data set that cannot be read in the stated format."""


@dataclass(frozen=True)
class OpenSource:
    """A data set whose classes are known and whose images can be streamed.

    has_boxes: some images are annotated with boxes; each record says whether its image is.
    aliases: another name for each class, tried first as an id of the tree (a wnid, an OpenImages id); may be empty.
    is_federated: the annotated classes differ from image to image, and the image labels of each image state them.
        In any other source every object of its classes has a box in every annotated image.
    counts: the number of images and labels left out or changed, by reason; complete after all images are streamed.
    """

    name: str
    has_boxes: bool
    classes: tuple[str, ...]
    stream: Callable[[Counter[str]], Iterator[ImageRecord]]
    counts: Counter[str] = field(default_factory=Counter)
    aliases: tuple[str, ...] = ()
    is_federated: bool = False

    def records(self) -> Iterator[ImageRecord]:
        """The images in a fixed order; counts again from zero."""
        self.counts.clear()
        yield from self.stream(self.counts)


def count_lost_image(reason: str, counts: Counter[str], *, boxes: int, labels: int = 0) -> None:
    """Count an image that cannot be used, and its boxes and image labels."""
    counts[reason] += 1
    counts[BOX_OF_LOST_IMAGE] += boxes
    counts[LABEL_OF_LOST_IMAGE] += labels


def counts_in_words(counts: Counter[str]) -> str:
    """`reason: count; …`; empty if nothing was counted."""
    return "; ".join(f"{reason}: {count}" for reason, count in (+counts).items())
