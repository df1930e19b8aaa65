"""Labels and names of millions of images in compact columns."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    image_columns="ImageColumns",
    label_table=(
        "BoxTable ImageLabelTable StatedBoxes consistent_labels exhaustive_labels incomplete lost_labels unit_boxes"
    ),
    name_table="ClassNames NameTable PackedNames",
)
