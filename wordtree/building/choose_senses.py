"""The choice of a sense for each label of a tree, with a record of every choice that is a guess."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from wordtree.wordnet.categories import category_of, category_text
from wordtree.wordnet.class_lists import data_set_of, is_whole_list, listed_wnid
from wordtree.wordnet.columns import Synset
from wordtree.wordnet.graph import HypernymPaths, WordNet
from wordtree.wordnet.resolve import Resolution


@dataclass(frozen=True)
class Guess:
    """A label with several senses, the sense taken, and the reason."""

    label: str
    wnid: str
    synset: str
    senses: tuple[str, ...]
    because: str = ""

    def __str__(self) -> str:
        others = [name for name in self.senses if name != self.synset]
        more = ", …" if len(others) > 5 else ""
        reason = f" ({self.because})" if self.because else ""
        return f"'{self.label}': took {self.synset} ({self.wnid}), not {', '.join(others[:5])}{more}{reason}"


def choose_senses(
    given: Iterable[Resolution], parents: Iterable[Resolution], paths: HypernymPaths, wordnet: WordNet
) -> tuple[dict[str, Synset], tuple[Guess, ...]]:
    """The synset of each label and of each parent of a custom class, and the guesses among them.

    Labels that are all classes of COCO, or all of VOC, mean the synsets of our list; of the whole list, without a
    guess. Other names with several senses mean, among the senses below the root, an animal, an artifact or food before
    other physical objects, persons and named instances; of one category, the most frequent sense.
    """
    resolutions = {item.label: item for item in given}
    data_set = data_set_of(resolutions)
    if data_set is not None:
        wnids = {label: listed_wnid(label, data_set) for label in resolutions}
        chosen = {label: wordnet.synset(wnid) for label, wnid in wnids.items()}
        because = dict.fromkeys(chosen, f"as in {data_set}")
        if is_whole_list(resolutions, data_set):
            because = {}
    else:
        chosen, because = {}, {}
    for item in parents:
        resolutions.setdefault(item.label, item)
    for label in resolutions.keys() - chosen.keys():
        chosen[label] = _likeliest(resolutions[label].senses, paths, wordnet)
        because[label] = category_text(chosen[label], wordnet)
    in_order = {label: chosen[label] for label in resolutions}
    return in_order, _guesses(resolutions, in_order, because, wordnet)


def _likeliest(senses: tuple[Synset, ...], paths: HypernymPaths, wordnet: WordNet) -> Synset:
    return min(senses, key=lambda sense: (not paths.of(sense), category_of(sense, wordnet)))


def _guesses(
    resolutions: Mapping[str, Resolution],
    chosen: Mapping[str, Synset],
    because: Mapping[str, str],
    wordnet: WordNet,
) -> tuple[Guess, ...]:
    return tuple(
        Guess(
            label,
            wordnet.wnid(chosen[label]),
            wordnet.name(chosen[label]),
            tuple(wordnet.name(sense) for sense in item.senses),
            because[label],
        )
        for label, item in resolutions.items()
        if label in because and item.synset != chosen[label]
    )
