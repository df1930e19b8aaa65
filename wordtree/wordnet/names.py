"""The normaliser of class names: spellings that are one name, singular forms, and lists of words in one name."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_IGNORED = str.maketrans("", "", " _-.'")
_SPELLINGS = str.maketrans(
    {"‐": "-", "‑": "-", "–": "-", "—": "-", "’": "'", "‘": "'", "`": "'", "&": " and "}
)
_ACCENTS = re.compile(
    r"(?<=[a-z])[\u0300-\u036f]+"
)  # of Latin letters; in other scripts such marks are letters
_INVISIBLE = re.compile(
    "[\u00ad\u200b-\u200f\u2060\ufeff]"
)  # soft hyphens, blanks of no width, marks of direction
_INDEX = re.compile(r"(?:0[0-9]*[ .-]+|[0-9]+\. *)(?=[^\W\d])")
_WNID_PREFIX = re.compile(r"(n[0-9]{8})(?:[\s_.,:-].*)?", re.DOTALL)
_SEPARATORS = re.compile(r"[,;/|]")
_BRACKET = re.compile(r"[(\[]")
_WITHOUT_SINGULAR = ("ss", "us", "is")
_PLURAL_ENDINGS = (  # WordNet's rules of detachment, and the endings that its list of exceptions covers
    ("ies", "y"),
    ("ves", "f"),
    ("ves", "fe"),
    ("men", "man"),
    ("shes", "sh"),
    ("ches", "ch"),
    ("xes", "x"),
    ("zes", "z"),
    ("ses", "s"),
    ("oes", "o"),
    ("s", ""),
)
_IRREGULAR = {
    "men": "man",
    "people": "person",
    "children": "child",
    "oxen": "ox",
    "feet": "foot",
    "teeth": "tooth",
    "geese": "goose",
    "mice": "mouse",
    "lice": "louse",
    "dice": "die",
    "cacti": "cactus",
    "fungi": "fungus",
    "octopi": "octopus",
    "larvae": "larva",
    "loaves": "loaf",
}


class Alternative(NamedTuple):
    """A word of a class name, and the text in brackets after it: `bow`, `weapon`."""

    word: str
    qualifier: str


def plain(name: str) -> str:
    """The name in lower case, without accents, with single blanks: `Hot_Dog ` is `hot dog`, `Jalapeño` `jalapeno`."""
    name = name.lower()
    if not name.isascii() or "&" in name or "`" in name:
        decomposed = unicodedata.normalize("NFKD", _INVISIBLE.sub("", name.translate(_SPELLINGS)))
        # Compatibility forms may be capitals (`🄐` is `(A)`) and other spellings (of `&`).
        name = unicodedata.normalize("NFC", _ACCENTS.sub("", decomposed).translate(_SPELLINGS)).lower()
    return " ".join(name.replace("_", " ").split())


def name_key(name: str) -> str:
    """The key of a name: names with one key differ only in case, blanks, hyphens, full stops, apostrophes or accents.

    Names without any letter or digit keep their text.
    """
    text = plain(name)
    return text.translate(_IGNORED) or text


def plain_name_keys(names: Sequence[str]) -> list[str]:
    """The keys of many names that are plain already, in one pass; no name may contain a line feed."""
    return "\n".join(names).translate(_IGNORED).split("\n")


def wnid_of(name: str) -> str | None:
    """The wnid that is the name or begins it: `n02085620-Chihuahua`; None without one."""
    match = _WNID_PREFIX.fullmatch(name.strip())
    return match[1] if match else None


def without_index(name: str) -> str:
    """The plain name without the index of the class before it: `zebra` for `001.Zebra` and `03 zebra`."""
    return _INDEX.sub("", plain(name), count=1) if _INDEX.match(plain(name)) else plain(name)


def singular_forms(word: str) -> Iterator[str]:
    """The forms whose plural the word may be, in lower case: `hot dog` for `hot dogs`."""
    word = plain(word)
    first, blank, last = word.rpartition(" ")
    if last in _IRREGULAR:
        yield f"{first}{blank}{_IRREGULAR[last]}"
    if len(last) < 4 or last.endswith(_WITHOUT_SINGULAR):
        return
    for plural, singular in _PLURAL_ENDINGS:
        if last.endswith(plural) and len(last) - len(plural) + len(singular) >= 3:
            yield word.removesuffix(plural) + singular


def alternatives(name: str) -> list[Alternative]:
    """The words of a list such as `tench, Tinca tinca` or `bow (weapon)/longbow`, with their texts in brackets."""
    parts = [part.strip() for part in _SEPARATORS.split(plain(name))]
    return [_alternative(part) for part in parts if part]


def _alternative(part: str) -> Alternative:
    opening = _BRACKET.search(part)
    if opening is None or not part.endswith((")", "]")) or opening.end() == len(part):
        return Alternative(part, "")
    return Alternative(part[: opening.start()].strip(), part[opening.end() : -1].strip())
