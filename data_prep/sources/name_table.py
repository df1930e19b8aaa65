"""The names of many pictures, packed, each under the number of its first mention."""

from array import array
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

_DIGEST_BYTES = 16  # equal digests are taken for equal names: two names of 10^15 share one with 10^-9


class NameTable:
    """Names as a reader meets them: their text and 8 bytes each, 16 more until `settle`.

    `mention` each, then `settle`; the numbers it returns are the pictures, and `name` knows them.
    """

    def __init__(self) -> None:
        self._text, self._digests = bytearray(), bytearray()
        self._ends = array("q", [0])
        self._last: str | None = None

    def __len__(self) -> int:
        return len(self._ends) - 1

    def mention(self, name: str) -> int:
        """The number of this mention; a name that is said again at once keeps its number."""
        if name != self._last:
            encoded = name.encode("utf-8", "surrogatepass")
            self._text += encoded
            self._ends.append(len(self._text))
            self._digests += blake2b(encoded, digest_size=_DIGEST_BYTES).digest()
            self._last = name
        return len(self._ends) - 2

    def settle(self) -> npt.NDArray[np.int32]:
        """For each mention the number of the first mention of the same name."""
        words = np.frombuffer(self._digests, dtype=np.uint64).reshape(-1, 2)
        order = np.lexsort((words[:, 1], words[:, 0]))  # stable: the first mention of a name leads its group
        in_order = words[order]
        is_first = np.ones(len(order), dtype=bool)
        is_first[1:] = np.any(in_order[1:] != in_order[:-1], axis=1)
        first = np.empty(len(order), dtype=np.int32)
        first[order] = order[is_first][np.cumsum(is_first) - 1]
        self._digests = bytearray()
        return first

    def name(self, number: int) -> str:
        """The name of a mention."""
        text = self._text[self._ends[number] : self._ends[number + 1]]
        return text.decode("utf-8", "surrogatepass")
