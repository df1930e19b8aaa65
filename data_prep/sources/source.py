"""`OpenSource`, the value that every reader returns, `Counts`, and the reasons that several readers count."""

from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from data_prep.errors import DataPrepError
from data_prep.records import BOX_OF_LOST_IMAGE, LABEL_OF_LOST_IMAGE, ImageRecord
from data_prep.sources.columns.name_table import PackedNames
from wordtree.support.lines import valid_text

# Reasons that several readers count.
NO_NAME_INSIDE = "image without a file name inside the folder"
UNREADABLE = "image that cannot be decoded"
FILE_MISSING = "image file missing"
DAMAGED_ARCHIVE = "damaged, the rest is not read"  # follows the name of the archive
SHOWN_EXAMPLES = 3  # of each reason, in messages and tables


class SourceError(DataPrepError):
    """A data set that cannot be read in the stated format."""


class Counts(Counter[str]):
    """The number of images and labels left out or changed, by reason, and the list of those left out.

    boxes: the number of boxes left out, also as lines, rows or files. The list takes the bytes of its texts and 10
    bytes for each entry.
    """

    def __init__(self) -> None:
        super().__init__()
        self._forget()

    def leave_out(self, reason: str, image: str, where: str = "", number: int = 1) -> None:
        """Count and list an image, or a part of its labels.

        image: the name of the image, the row or the file. where: the path that was tried, or the line or box.
        number: the number of images or labels that the entry stands for. Bytes that are not UTF-8 appear as `\\xNN`.
        """
        reason, text = valid_text(reason), valid_text(f"{image}\0{where}")
        self[reason] += number
        self._reasons.append(self._reason_numbers.setdefault(reason, len(self._reason_numbers)))
        self._texts.append(text)

    def leave_out_box(self, reason: str, image: str, where: str = "") -> None:
        """Leave out a box, or a line, row or file that should state boxes; see `leave_out`."""
        self.leave_out(reason, image, where)
        self.boxes += 1

    def left_out(self) -> Iterator[tuple[str, str, str]]:
        """Reason, image, and path, line or box of each entry, in the order in which they were left out."""
        reasons = list(self._reason_numbers)
        for number, reason in enumerate(self._reasons):
            image, _, where = self._texts[number].partition("\0")
            yield reasons[reason], image, where

    def examples(self, most: int = SHOWN_EXAMPLES) -> dict[str, list[str]]:
        """The paths, lines or boxes (or else images) of the first entries of each reason that has any."""
        found: dict[str, list[str]] = {reason: [] for reason in self._reason_numbers}
        missing = {reason: min(most, self[reason]) for reason in found}
        for reason, image, where in self.left_out():
            if len(found[reason]) < most:
                found[reason].append(where or image)
                missing[reason] -= 1
                if not any(missing.values()):
                    break
        return found

    def add_all(self, other: "Counts") -> None:
        """Add the counts and the list of others."""
        self.update(other)
        self.boxes += other.boxes
        numbers = [
            self._reason_numbers.setdefault(reason, len(self._reason_numbers))
            for reason in other._reason_numbers
        ]
        self._reasons.extend(numbers[reason] for reason in other._reasons)
        for number in range(len(other._texts)):
            self._texts.append(other._texts[number])

    def clear(self) -> None:
        """Forget all counts and the list."""
        super().clear()
        self._forget()

    def _forget(self) -> None:
        self.boxes = 0
        self._reason_numbers: dict[str, int] = {}
        self._reasons, self._texts = array("H"), PackedNames()


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
    stream: Callable[[Counts], Iterator[ImageRecord]]
    counts: Counts = field(default_factory=Counts)
    aliases: tuple[str, ...] = ()
    is_federated: bool = False

    def records(self) -> Iterator[ImageRecord]:
        """The images in a fixed order; counts again from zero."""
        self.counts.clear()
        yield from self.stream(self.counts)


def leave_out_image(
    counts: Counts, reason: str, image: str, where: str, *, boxes: int = 0, labels: int = 0
) -> None:
    """Leave out an image that cannot be used, and count its boxes and image labels."""
    counts.leave_out(reason, image, where)
    counts.boxes += boxes
    counts[BOX_OF_LOST_IMAGE] += boxes
    counts[LABEL_OF_LOST_IMAGE] += labels


def counts_in_words(counts: Counts) -> str:
    """`reason: count (examples); …`; empty if nothing was counted."""
    examples = counts.examples()
    return "; ".join(
        f"{reason}: {count}{examples_in_words(examples.get(reason, []))}"
        for reason, count in (+counts).items()
    )


def examples_in_words(examples: Sequence[str]) -> str:
    """` (a, b)`, each cut to 120 characters; empty without examples."""
    shown = (text if len(text) <= 120 else f"{text[:58]}…{text[-60:]}" for text in examples)
    return f" ({', '.join(shown)})" if examples else ""
