"""Packed names of many images, and the names of a few classes, each with a number."""

from array import array
from hashlib import blake2b

import numpy as np

from wordtree.support.arrays import Int32Array

# Equal digests count as equal names: among 10^15 names two share one with probability 10^-9.
_DIGEST_BYTES = 16


class PackedNames:
    """A list of names that needs their text and 8 bytes per name, not one object per name."""

    def __init__(self) -> None:
        self._text, self._ends = bytearray(), array("q", [0])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, number: int) -> str:
        text = self._text[self._ends[number] : self._ends[number + 1]]
        return text.decode("utf-8", "surrogatepass")

    def append(self, name: str) -> None:
        self._text += name.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._text))


class NameTable(PackedNames):
    """Names that may be mentioned many times; until `first_mentions` each mention takes 16 bytes more.

    Call `mention` for each name, then `first_mentions` once: an image is the number of its first mention.
    """

    def __init__(self) -> None:
        super().__init__()
        self._digests = bytearray()
        self._last: str | None = None

    def mention(self, name: str) -> int:
        """The number of this mention; a name repeated at once keeps its number."""
        if name != self._last:
            self.append(name)
            encoded = name.encode("utf-8", "surrogatepass")
            self._digests += blake2b(encoded, digest_size=_DIGEST_BYTES).digest()
            self._last = name
        return len(self) - 1

    def first_mentions(self) -> Int32Array:
        """The number of the first mention of the same name, for each mention."""
        words = np.frombuffer(self._digests, dtype=np.uint64).reshape(-1, 2).T
        order = np.lexsort(words).astype(np.int32)  # stable: the first mention of a name leads its group
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = False
        for word in words:
            in_order = word[order]
            is_first[1:] |= in_order[1:] != in_order[:-1]
        del words, word, in_order  # these take as much memory as the names
        self._digests = bytearray()
        group = np.cumsum(is_first, dtype=np.int32)
        first = np.empty(len(order), dtype=np.int32)
        first[order] = order[is_first][group - 1]
        return first


class ClassNames:
    """Class names in the order of the file. The final number of a class is its rank among the sorted names."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def number(self, name: str) -> int:
        """The preliminary number of a class, used while the file is read."""
        return self._numbers.setdefault(name, len(self._numbers))

    def in_order(self) -> tuple[tuple[str, ...], Int32Array]:
        """All names, sorted; and the final number for each preliminary number."""
        names = tuple(sorted(self._numbers))
        rank = {name: number for number, name in enumerate(names)}
        return names, np.array([rank[name] for name in self._numbers], dtype=np.int32)
