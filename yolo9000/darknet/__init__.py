"""Darknet's file formats as plain data."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    cfg="plan_cfg read_cfg",
    data_file="DataFile find_named read_data",
    options="DarknetError Section",
    plan=(
        "AvgPool ClassifierPlan Convolution DetectorPlan Dropout LayerPlan MaxPool NetworkPlan Region "
        "Reorg Route Shape Softmax SpaceToDepth output_layer_of"
    ),
    text="section with_option",
    weights="Header LayerWeights Weights read_layers read_weights write_weights",
)
