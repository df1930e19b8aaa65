"""A Darknet network as one module: layers in order, whose input is the previous layer or the layers of a route."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from wordtree import WordTree
from wordtree.errors import ConfigError
from yolo9000.config import BatchNormRule, NetworkConfig
from yolo9000.darknet.cfg import plan_cfg, read_cfg
from yolo9000.darknet.data_file import find_named
from yolo9000.darknet.options import DarknetError
from yolo9000.darknet.plan import LayerPlan, NetworkPlan, Region, Route, Softmax
from yolo9000.darknet.weights import LayerWeights, read_weights
from yolo9000.models.darknet_layers import ConvolutionLayer, layer_module


class DarknetNetwork(nn.Module):
    """Images (B, C, H, W) to the output of the last layer; the layers are the first ones of a plan.

    tree: for softmax and region layers with a tree.
    """

    def __init__(
        self,
        layers: Sequence[LayerPlan],
        *,
        batch_norm: BatchNormRule = "standard",
        tree: WordTree | None = None,
    ) -> None:
        super().__init__()
        self.plans = tuple(layers)
        self.layers = nn.ModuleList(
            layer_module(layer, batch_norm=batch_norm, tree=tree) for layer in self.plans
        )
        # The last route that uses each layer, by the index of the layer.
        self._last_use = {
            source: plan.index for plan in self.plans if isinstance(plan, Route) for source in plan.sources
        }

    @property
    def channels(self) -> int:
        """Channels of the output."""
        return self.plans[-1].out.channels

    @property
    def stride(self) -> int:
        """Input pixels per output cell."""
        return int(self.plans[-1].total_stride)

    def forward(self, images: Tensor) -> Tensor:
        kept: dict[int, Tensor] = {}
        output = images
        for index in range(len(self.layers)):
            output = self._output(index, output, kept)
            kept[index] = output
            for used in [source for source in kept if self._last_use.get(source, source) <= index]:
                del kept[used]
        return output

    def all_outputs(self, images: Tensor) -> list[Tensor]:
        """The output of each layer, for comparison with Darknet."""
        outputs: dict[int, Tensor] = {}
        previous = images
        for index in range(len(self.layers)):
            previous = outputs[index] = self._output(index, previous, outputs).clone()
        return list(outputs.values())

    def _output(self, index: int, previous: Tensor, kept: Mapping[int, Tensor]) -> Tensor:
        plan = self.plans[index]
        layer_input = [kept[source] for source in plan.sources] if isinstance(plan, Route) else previous
        return self.layers[index](layer_input)  # type: ignore[no-any-return]

    @torch.no_grad()
    def load_weights(self, weights: Mapping[int, LayerWeights]) -> None:
        """Load the weights of a `.weights` file by layer index; other layers keep theirs."""
        for index, tensors in self._convolutions():
            for name, tensor in tensors.items() if index in weights else ():
                tensor.copy_(torch.from_numpy(weights[index][name].astype("float32")))

    def layer_weights(self) -> dict[int, LayerWeights]:
        """The weights by layer index, as for a `.weights` file."""
        return {
            index: {name: tensor.detach().cpu().contiguous().numpy() for name, tensor in tensors.items()}
            for index, tensors in self._convolutions()
        }

    def _convolutions(self) -> list[tuple[int, dict[str, Tensor]]]:
        layers = enumerate(self.layers)
        return [(index, layer.tensors()) for index, layer in layers if isinstance(layer, ConvolutionLayer)]


def plan_of(cfg: NetworkConfig) -> NetworkPlan:
    """The plan of `cfg.darknet_cfg` at the input size; DarknetError if the layers do not fit together there."""
    if cfg.darknet_cfg is None:
        raise ConfigError(
            f"model.architecture is darknet, but {cfg.start_from} was not converted from Darknet. Remove "
            "model.architecture, or start from a converted network."
        )
    width, height = cfg.wh_px
    return plan_cfg(cfg.darknet_cfg, f"model.darknet_cfg at {width}×{height} px", input_wh_px=cfg.wh_px)


def read_network(
    cfg_path: Path | str,
    weights: Path | str | None = None,
    *,
    tree: WordTree | None = None,
    batch_norm: BatchNormRule = "standard",
) -> DarknetNetwork:
    """The whole network of a `.cfg` in evaluation mode, with the weights of a `.weights` file or random ones.

    tree: replaces the tree file that the cfg names. Raises DarknetError and TreeFileError.
    """
    plan = read_cfg(Path(cfg_path))
    network = DarknetNetwork(
        plan.layers, batch_norm=batch_norm, tree=tree or named_tree(plan, Path(cfg_path))
    )
    if weights is not None:
        network.load_weights(read_weights(Path(weights), plan).layers)
    return network.eval()


def named_tree(plan: NetworkPlan, cfg: Path) -> WordTree | None:
    """The tree that a cfg names; None if it names none. DarknetError unless the tree has a node for each class."""
    if plan.tree is None:
        return None
    path = find_named(plan.tree, "tree", cfg)
    tree = WordTree.load(path)
    refuse_tree_of_other_size(plan, tree, str(path))
    return tree


def refuse_tree_of_other_size(plan: NetworkPlan, tree: WordTree, location: str) -> None:
    """Raise DarknetError unless the tree has a node for each class of the network's output."""
    for layer in plan.layers:
        if isinstance(layer, Softmax | Region):
            classes = layer.classes if isinstance(layer, Region) else layer.out.channels
            if (layer.tree is not None or isinstance(layer, Region)) and classes != len(tree):
                raise DarknetError(
                    f"{plan.source}: line {layer.line}: expected a tree of {classes} nodes, one for each class; "
                    f"{location} has {len(tree)}."
                )
