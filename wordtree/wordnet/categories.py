"""The categories of synsets, ordered by how often image data sets mean them, the most frequent first."""

from enum import IntEnum

from wordtree.wordnet.columns import Synset
from wordtree.wordnet.graph import WordNet

_COMMON = {
    "animal.n.01": "an animal",
    "artifact.n.01": "an artifact",
    "food.n.01": "food",
    "food.n.02": "food",
}
_PERSONS = {"person.n.01", "human_body.n.01"}  # *person* means a human being before it means a body
_PHYSICAL = "physical_entity.n.01"


class Category(IntEnum):
    """Animals, artifacts and food; then other physical objects, persons, named instances, and all else."""

    COMMON = 0
    PHYSICAL = 1
    PERSON = 2
    INSTANCE = 3
    ABSTRACT = 4


_TEXT = {
    Category.PHYSICAL: "a physical object",
    Category.PERSON: "a person",
    Category.INSTANCE: "a named instance",
    Category.ABSTRACT: "no physical object",
}


def category_of(synset: Synset, wordnet: WordNet) -> Category:
    """The category of a synset."""
    above = _names_above(synset, wordnet)
    if _PHYSICAL not in above:
        return Category.ABSTRACT
    if wordnet.instance_hypernyms(synset):
        return Category.INSTANCE
    if above & _COMMON.keys():
        return Category.COMMON
    return Category.PERSON if above & _PERSONS else Category.PHYSICAL


def category_text(synset: Synset, wordnet: WordNet) -> str:
    """The category in words: `an animal`, `food`, `a person`."""
    category = category_of(synset, wordnet)
    if category is not Category.COMMON:
        return _TEXT[category]
    above = _names_above(synset, wordnet)
    return next(text for name, text in _COMMON.items() if name in above)


def _names_above(synset: Synset, wordnet: WordNet) -> set[str]:
    return {wordnet.name(above) for above in wordnet.upwards(synset)}
