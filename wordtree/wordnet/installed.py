"""The nouns of an installed WordNet 3.0, read through NLTK: Debian's wordnet-base, or NLTK's own download.

NLTK needs more than the nouns: a `lexnames` (absent from Debian's package), files of the other parts of
speech, and a folder below one of its data paths. So the two noun files are copied into a temporary folder,
and minimal versions of the others are created beside them.
"""

import shutil
import tempfile
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from wordtree.wordnet.columns import NounColumns, WordNetError

VERSION = "WordNet 3.0 Copyright"
NOUN_SYNSETS = 82_115
NOUN_FILES = ("data.noun", "index.noun")

# The lexicographer files, lexnames(5WN); the number of a file is its index here.
_LEXNAMES = (
    "adj.all adj.pert adv.all noun.Tops noun.act noun.animal noun.artifact noun.attribute noun.body "
    "noun.cognition noun.communication noun.event noun.feeling noun.food noun.group noun.location "
    "noun.motive noun.object noun.person noun.phenomenon noun.plant noun.possession noun.process "
    "noun.quantity noun.relation noun.shape noun.state noun.substance noun.time verb.body verb.change "
    "verb.cognition verb.communication verb.competition verb.consumption verb.contact verb.creation "
    "verb.emotion verb.motion verb.perception verb.possession verb.social verb.stative verb.weather adj.ppl"
)
_PART_OF_SPEECH = {"noun": 1, "verb": 2, "adj": 3, "adv": 4}


def read_nouns(folder: Path) -> tuple[NounColumns, tuple[str, ...]]:
    """The noun graph and the gloss of each synset; WordNetError unless `folder` contains WordNet 3.0."""
    with nltk_wordnet(folder) as reader:
        synsets = sorted(reader.all_synsets("n"), key=lambda synset: synset.offset())
        if len(synsets) != NOUN_SYNSETS:
            found = f"expected the {NOUN_SYNSETS} noun synsets of WordNet 3.0, found {len(synsets)}"
            raise WordNetError(f"{folder}: {found}; install it again.")
        glosses = (
            "; ".join([synset.definition(), *(f'"{example}"' for example in synset.examples())])
            for synset in synsets
        )
        return _columns(synsets, reader), tuple(glosses)


@contextmanager
def nltk_wordnet(folder: Path) -> Iterator[Any]:
    """Open NLTK's reader of the nouns in a folder of database files, or in NLTK's zip."""
    import nltk
    from nltk.corpus.reader import wordnet

    with tempfile.TemporaryDirectory(prefix="wordtree-") as data_path:
        corpus = Path(data_path) / "corpora" / "wordnet"
        corpus.mkdir(parents=True)
        _copy_nouns(folder, corpus)
        _create_other_files(corpus, wordnet.WordNetCorpusReader._FILES)
        nltk.data.path.insert(0, data_path)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # there is no multilingual WordNet, which is not needed
                reader = wordnet.WordNetCorpusReader(nltk.data.find("corpora/wordnet"), None)
            try:
                yield reader
            finally:
                for file in reader._data_file_map.values():  # NLTK never closes them
                    file.close()
        except wordnet.WordNetError as error:
            raise WordNetError(f"{folder}: damaged, NLTK reports: {error}; install it again.") from None
        finally:
            nltk.data.path.remove(data_path)


def _copy_nouns(folder: Path, corpus: Path) -> None:
    source: Path | zipfile.Path = folder
    if folder.suffix.lower() == ".zip":
        try:
            source = zipfile.Path(folder, "wordnet/")
        except (OSError, zipfile.BadZipFile, NotImplementedError, ValueError):
            raise WordNetError(f"{folder}: not a zip file.") from None
    for name in NOUN_FILES:
        if not (source / name).is_file():
            raise WordNetError(
                f"{folder}: expected the folder of WordNet 3.0's database files, found no {name}."
            )
        with (source / name).open("rb") as original, (corpus / name).open("wb") as copy:
            shutil.copyfileobj(original, copy)
        with (corpus / name).open("rb") as file:
            if VERSION.encode() not in file.read(2000):
                raise WordNetError(
                    f"{folder}: expected WordNet 3.0, the version of ImageNet's ids, found another version in {name}."
                )


def _create_other_files(corpus: Path, names: Iterable[str]) -> None:
    for name in names:
        (corpus / name).touch()
    lines = (
        f"{number:02d}\t{name}\t{_PART_OF_SPEECH[name.partition('.')[0]]}\n"
        for number, name in enumerate(_LEXNAMES.split())
    )
    (corpus / "lexnames").write_text("".join(lines))


def _columns(synsets: list[Any], reader: Any) -> NounColumns:
    index = {synset.offset(): number for number, synset in enumerate(synsets)}
    senses = reader._lemma_pos_offset_map  # public methods add inflected forms of other words
    lemmas = [(lemma, synset.offset()) for synset in synsets for lemma in synset.lemma_names()]
    edges = []
    for synset in synsets:
        kinds = [(above.offset(), False) for above in synset.hypernyms()]
        instances = [(above.offset(), True) for above in synset.instance_hypernyms()]
        edges.append(sorted(kinds + instances))
    flat = [edge for of_synset in edges for edge in of_synset]
    text = "".join(f"{lemma}\n" for lemma, _ in lemmas).encode()
    return NounColumns(
        offset=np.array(list(index), dtype=np.int32),
        lemma_count=np.array([len(synset.lemma_names()) for synset in synsets], dtype=np.uint8),
        lemma_text=np.frombuffer(text, dtype=np.uint8),
        sense=np.array(
            [senses[lemma.lower()]["n"].index(offset) + 1 for lemma, offset in lemmas], dtype=np.uint8
        ),
        hypernym_count=np.array([len(of_synset) for of_synset in edges], dtype=np.uint8),
        hypernym=np.array([index[offset] for offset, _ in flat], dtype=np.int32),
        is_instance=np.array([instance for _, instance in flat], dtype=np.bool_),
    )
