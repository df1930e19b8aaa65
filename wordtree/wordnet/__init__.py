"""The noun graph of WordNet 3.0: shipped or installed, and the synsets that a label means."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    categories="category_of category_text",
    class_lists="coco_classes data_set_of is_whole_list listed_wnid voc_classes",
    columns="HypernymPath Synset WordNetError",
    graph="HypernymPaths WordNet",
    names="name_key",
    resolve="LabelError Resolution class_notes synset_of unresolved_message",
)
