"""Names of images, many and packed, and names of classes, few: each under the number of its first mention."""

from array import array
from hashlib import blake2b

import numpy as np

from wordtree.support.arrays import Int32Array

_DIGEST_BYTES = 16  # equal digests are taken for equal names: two names of 10^15 share one with 10^-9


class PackedNames:
    """A list of names without an object for each: their text and 8 bytes more."""

    def __init__(self) -> None:
        self._text, self._ends = bytearray(), array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> str:
        text = self._text[self._ends[number] : self._ends[number + 1]]
        return text.decode("utf-8", "surrogatepass")

    def append(self, name: str) -> None:
        """One name more."""
        self._text += name.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._text))


class NameTable(PackedNames):
    """Names that may be said many times: 16 bytes more a mention until `settle`.

    `mention` each, then `settle`: the numbers that it returns are the images.
    """

    def __init__(self) -> None:
        super().__init__()
        self._digests = bytearray()
        self._last: str | None = None

    def mention(self, name: str) -> int:
        """The number of this mention; a name that is said again at once keeps its number."""
        if name != self._last:
            self.append(name)
            encoded = name.encode("utf-8", "surrogatepass")
            self._digests += blake2b(encoded, digest_size=_DIGEST_BYTES).digest()
            self._last = name
        return len(self) - 1

    def settle(self) -> Int32Array:
        """For each mention the number of the first mention of the same name."""
        words = np.frombuffer(self._digests, dtype=np.uint64).reshape(-1, 2).T
        order = np.lexsort(words).astype(np.int32)  # stable: the first mention of a name leads its group
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = False
        for word in words:
            in_order = word[order]
            is_first[1:] |= in_order[1:] != in_order[:-1]
        del words, word, in_order  # as much as the names themselves
        self._digests = bytearray()
        group = np.cumsum(is_first, dtype=np.int32)
        first = np.empty(len(order), dtype=np.int32)
        first[order] = order[is_first][group - 1]
        return first


class ClassNames:
    """The classes as a reader meets them. They are numbered anew, by name, once all are known."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The number of a class while the file is read."""
        return self._numbers.setdefault(name, len(self._numbers))

    def in_order(self) -> tuple[tuple[str, ...], list[int]]:
        """All names, sorted; and for each number given so far the place in that order."""
        names = tuple(sorted(self._numbers))
        place = {name: number for number, name in enumerate(names)}
        return names, [place[name] for name in self._numbers]
