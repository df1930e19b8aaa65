"""The base of every error that this package raises on purpose."""

from __future__ import annotations


class Yolo9000Error(Exception):
    """Base of every mistake of a user or a file that this package reports, in one line for people.

    Its family lives beside the code that raises it:

        Yolo9000Error
        ├── UnreadableImage      yolo9000.data.image: a file that is missing or holds no image
        ├── NoImages             yolo9000.inference.predict: a path without images
        ├── ProcessError         yolo9000.distributed: processes of torchrun that cannot start together or go on
        ├── TooManyDamaged       yolo9000.data.damage: more unreadable images than a run may leave out
        ├── DataMismatch         yolo9000.data.sampler: shards that lack what the configuration asks of them
        ├── DarknetError         yolo9000.darknet.options: a Darknet file that is malformed or asks for too much
        ├── CheckpointError      yolo9000.checkpoints.checkpoint: a file that is no checkpoint, or one of another tree
        │   └── DamagedCheckpoint    …, or changed since it was written
        ├── TrainingError        yolo9000.training.run_folder: a run that cannot start or go on
        ├── DemoMismatch         yolo9000.demo: a demo folder that was made with other settings
        ├── InvalidDetections    yolo9000.inference.detections: columns that do not fit together
        ├── InvalidScores        yolo9000.inference.scored_boxes: ground truth or answers that cannot be scored
        └── InvalidReport        yolo9000.reports.page: content that a page cannot be made of
    """
