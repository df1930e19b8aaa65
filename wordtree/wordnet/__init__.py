"""The noun graph of WordNet 3.0: shipped or installed, and the synsets that a label means."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    categories="category_of category_text",
    class_lists="coco_classes data_set_of imagenet_wnids is_whole_list listed_wnid voc_classes",
    columns="HypernymPath Synset WordNetError",
    graph="HypernymPaths WordNet",
    names="alternatives name_key plain wnid_of",
    resolve="LabelError Resolution class_notes synset_of unresolved_message",
)
