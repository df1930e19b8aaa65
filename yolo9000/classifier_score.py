"""A classifier on the labelled pictures of a split: what it answers, judged."""

from __future__ import annotations

import torch

from data_prep import ShardReader
from yolo9000.classifier import Classifier
from yolo9000.classifier_data import ClassifierTestData
from yolo9000.config import ClassifierEvaluateConfig
from yolo9000.distributed import joined_shares
from yolo9000.progress import shown
from yolo9000.scorecard.classification import ClassificationScore, Judged, judge, lowest, summary


@torch.inference_mode()
def score_classifier(
    model: Classifier, reader: ShardReader, size_px: int, cfg: ClassifierEvaluateConfig
) -> ClassificationScore:
    """The score of `model` on a split of shards of its tree; DataMismatch if that has no pictures with image labels."""
    device, tree = model.head.weight.device, reader.tree
    candidates = lowest(tree, model.softmax.classes.cpu().numpy())
    data = ClassifierTestData(reader, cfg, size_px=size_px)
    judged = []
    for batch in shown("evaluating", data, total=len(data)):
        absolute = model.softmax.absolute(model(batch.images.to(device))).cpu().numpy()
        judged.append(
            judge(absolute, batch.image.numpy(), batch.node.numpy(), tree=tree, candidates=candidates)
        )
    return summary(Judged.joined(joined_shares(judged)), tree)
