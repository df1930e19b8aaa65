"""The commands of `yolo9000`: options, one call and the output of each."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    checkpoints="convert export info results",
    evaluation="calibrate compare evaluate",
    predict="predict query",
    shared="by_all_processes",
    training="pretrain train",
)
