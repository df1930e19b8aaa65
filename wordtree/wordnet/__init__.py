"""The noun graph of WordNet 3.0: shipped or installed, and the synsets that a label means."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    columns="HypernymPath Synset WordNetError",
    graph="HypernymPaths WordNet",
    resolve="LabelError Resolution class_notes coco_classes synset_of unresolved_message voc_classes",
)
