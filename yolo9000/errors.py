"""The base of all errors that this package raises on purpose."""

from __future__ import annotations

from wordtree.errors import OneLine


class Yolo9000Error(OneLine, Exception):
    """A mistake of a user or in a file, reported in one line.

    Subclasses are defined next to the code that raises them:

        Yolo9000Error
        ├── UnreadableImage      yolo9000.data.pixels: a file is missing or is not an image
        ├── NoImages             yolo9000.inference.sources: a path has no images
        ├── ProcessError         yolo9000.distributed: processes of torchrun cannot start or continue together
        ├── BackboneError        yolo9000.models.timm_backbone: a backbone cannot be built or frozen
        ├── TooManyDamaged       yolo9000.data.damage: more images are unreadable than a run may skip
        ├── DataMismatch         yolo9000.data.sampler: shards lack data that the configuration needs
        ├── DarknetError         yolo9000.darknet.options: a Darknet file is malformed or not supported
        ├── CheckpointError      yolo9000.checkpoints.checkpoint: a file is not a checkpoint, or has another tree
        │   └── DamagedCheckpoint    …, or changed since it was written
        ├── CalibrationError     yolo9000.checkpoints.calibration: a model cannot be, or is not, calibrated
        ├── TrainingError        yolo9000.training.run_folder: a run cannot start or continue
        ├── DemoMismatch         yolo9000.demo: a demo folder was made with other settings
        ├── InvalidDetections    yolo9000.inference.detections: columns of detections do not fit together
        ├── ResultsError         yolo9000.predictions.result_log: results cannot be written or read
        ├── ExportError          yolo9000.export.network: a detector cannot be exported
        ├── InvalidScores        yolo9000.inference.scored_boxes: ground truth or detections cannot be evaluated
        ├── ComparisonError      yolo9000.comparison.model_pair: two detectors cannot be compared
        ├── OnnxFileError        yolo9000.export.onnx_metadata: a file is not of `yolo9000 export`, or is damaged
        ├── EngineError          yolo9000.engines.names: an inference engine is unknown, missing or cannot do this
        └── InvalidReport        yolo9000.reports.page: content does not fit into a report
    """
