"""A backbone as a classifier (paper, section 3): features averaged over the image, one linear layer, a softmax.

The network maps images to logits. Its softmax turns logits into probabilities: `TreeSoftmax` over each sibling group of
the tree, `FlatSoftmax` over classes that are nodes of the tree. Both return the log probability of the labels, for the
loss, and the probability of every node.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wordtree import WordTree
from yolo9000.config import ClassifierConfig
from yolo9000.darknet.plan import ClassifierPlan
from yolo9000.models.backbone import Backbone, build_backbone
from yolo9000.models.darknet_network import DarknetNetwork, plan_of
from yolo9000.models.tree_tensors import TreeTensors


class TreeSoftmax(nn.Module):
    """A softmax over each sibling group (paper, section 4), with one output for each of the N nodes.

    classes: (classes,) the nodes with training labels, each once; their ancestors are learnt along their paths.
    """

    classes: Tensor

    def __init__(self, tree: WordTree, classes: Tensor) -> None:
        super().__init__()
        self.register_buffer("classes", classes)
        self.tree_tensors = TreeTensors(tree)
        self.outputs = len(tree)

    def log_probability(self, logits: Tensor, image: Tensor, node: Tensor) -> Tensor:
        """log P(node) of each label, (L,).

        logits: (B, N); image, node: (L,) the image and the node of each label.
        Only the sibling groups on the path of a label get a gradient.
        """
        members = self.tree_tensors.path_members(node)
        member_logits = logits[image[members.path], members.node]
        return self.tree_tensors.log_absolute(members, member_logits, len(node))

    def absolute(self, logits: Tensor) -> Tensor:
        """P(node) of every node in every image, (B, N)."""
        all_nodes = torch.arange(self.outputs, device=logits.device)
        return self.tree_tensors.log_absolute_of_nodes(lambda nodes: logits[:, nodes], all_nodes).exp()


class FlatSoftmax(nn.Module):
    """One softmax over K classes, regardless of their relations in the tree.

    classes: (classes,) the nodes with training labels, each once.
    """

    classes: Tensor
    column: Tensor
    enter: Tensor
    leave: Tensor

    def __init__(self, tree: WordTree, classes: Tensor) -> None:
        super().__init__()
        self.outputs = len(classes)
        column = torch.full((len(tree),), -1).index_put((classes,), torch.arange(len(classes)))
        self.register_buffer("classes", classes)
        self.register_buffer("column", column, persistent=False)
        self.register_buffer("enter", torch.tensor(tree.enter, dtype=torch.int64), persistent=False)
        self.register_buffer("leave", torch.tensor(tree.leave, dtype=torch.int64), persistent=False)

    def log_probability(self, logits: Tensor, image: Tensor, node: Tensor) -> Tensor:
        """log P(class) of each label, (L,).

        logits: (B, classes); image, node: (L,) the image and the node of each label, which is one of the classes.
        """
        return logits.log_softmax(dim=1)[image, self.column[node]]

    def absolute(self, logits: Tensor) -> Tensor:
        """P(node) of every node in every image, (B, N): the sum over the classes at or under the node."""
        in_preorder = logits.new_zeros(len(logits), len(self.enter) + 1, dtype=torch.float64)
        in_preorder[:, self.enter[self.classes] + 1] = logits.double().softmax(dim=1)
        total = in_preorder.cumsum(dim=1)  # a subtree is an interval of the pre-order
        return (total[:, self.leave] - total[:, self.enter]).clamp_min(0).to(logits.dtype)


class Classifier(nn.Module):
    """Images (B, 3, H, W), RGB in 0..1, height and width multiples of the backbone's stride, to logits (B, outputs)."""

    def __init__(self, backbone: Backbone | DarknetNetwork, softmax: TreeSoftmax | FlatSoftmax) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Linear(backbone.channels, softmax.outputs)
        self.softmax = softmax
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor) -> Tensor:
        # Darknet averages after the linear layer; the result is the same.
        features = self.backbone(images).float().mean(dim=(2, 3))  # (B, C)
        with torch.autocast(features.device.type, enabled=False):  # as in the detector's head
            return F.linear(features, self.head.weight, self.head.bias)


def build_classifier(cfg: ClassifierConfig, tree: WordTree, classes: Tensor) -> Classifier:
    """The classifier of `cfg` with random weights; classes: (classes,) nodes of `tree` with training labels."""
    if cfg.architecture == "darknet":
        layers = ClassifierPlan.of(plan_of(cfg)).backbone
        backbone: Backbone | DarknetNetwork = DarknetNetwork(layers, batch_norm=cfg.batch_norm)
    else:
        backbone = build_backbone(cfg)
    softmax = TreeSoftmax(tree, classes) if cfg.softmax == "tree" else FlatSoftmax(tree, classes)
    return Classifier(backbone, softmax).to(memory_format=torch.channels_last)


def label_loss(log_probability: Tensor, image: Tensor, *, images: int) -> Tensor:
    """−log P(label), averaged over the labels of each image and then over the images.

    log_probability, image: (L,) of each label. Every image has a label.
    """
    labels = torch.bincount(image, minlength=images)
    return -(log_probability / labels[image]).sum() / images
