"""Saving, loading, initialising and converting weights."""

from wordtree.support.exports import folder_exports

__getattr__, __dir__, __all__ = folder_exports(
    __name__,
    backbone_weights="load_backbone_weights packaged_weights",
    calibration=(
        "Calibration CalibrationError Grouping GroupThreshold RequestedAccuracy Rule group_names weights_sha256"
    ),
    checkpoint=(
        "Checkpoint CheckpointError DamagedCheckpoint DarknetOrigin DetectorCheckpoint SettingsT "
        "load_checkpoint load_classifier load_detector refuse_other_tree save_checkpoint"
    ),
    darknet_export="write_darknet",
    darknet_import="DarknetFiles read_darknet",
    flat_classifier="ClassTeacher read_class_teacher",
    start_from="InitialWeights with_network_of",
)
