"""Assignment of labels to grid locations, and the terms of the loss."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    distillation="FlatTargets",
    joint="Assignment JointLoss LossTerms",
    label_assignment="location_of_max_score log_absolute_at",
    non_exclusive="non_exclusive_pairs",
    unannotated="topmost",
)
