"""The noun graph of WordNet as plain columns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from wordtree.errors import WordTreeError
from wordtree.support.arrays import BoolArray, Int32Array, UInt8Array

Synset = NewType("Synset", int)  # an index into the columns
HypernymPath = tuple[Synset, ...]  # downwards, without the root


class WordNetError(WordTreeError):
    """The data of WordNet are absent, damaged or of another version."""


@dataclass(frozen=True, eq=False)
class NounColumns:
    """The graph of the synsets as flat arrays, as in the shipped file.

    offset          (synsets,) int32, ascending: the numbers in the wnids
    lemma_count     (synsets,) uint8
    lemma_text      (bytes,) uint8: the lemmas of all synsets, one on each line, UTF-8
    sense           (lemmas,) uint8: the synset is the lemma's first, second, … sense
    hypernym_count  (synsets,) uint8
    hypernym        (edges,) int32: synsets, ascending within each synset
    is_instance     (edges,) bool: the edge says *is an instance of*, not *is a kind of*
    """

    offset: Int32Array
    lemma_count: UInt8Array
    lemma_text: UInt8Array
    sense: UInt8Array
    hypernym_count: UInt8Array
    hypernym: Int32Array
    is_instance: BoolArray
