"""The comparison of two detectors on the same images, with intervals by paired resampling."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    compare="compare",
    comparison="ClassDifference Comparison GroupDifference LevelDifference",
    disagreement="ImageDisagreement",
    model_pair="ComparedModel compared_models",
    resampling="Difference ResamplingChoice",
    tables=(
        "classes_sentences comparison_tables difference_cells images_sentences most_different p_value_cell "
        "supervision_pair_name"
    ),
)
