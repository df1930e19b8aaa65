"""The named networks: shapes, strides, sizes, and what their parts compute."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.yolo9000.made import random_tree
from wordtree import WordTree
from yolo9000.config import ModelConfig
from yolo9000.models.backbone import scaled_filters
from yolo9000.models.detector import Detector, PassthroughNeck, build_detector

ARCHITECTURES = ("yolov2", "yolov2_paper", "yolo9000", "tiny")


def built(
    architecture: str, *, tree: WordTree | None = None, width: float = 0.25, anchors: int = 2
) -> Detector:
    torch.manual_seed(0)
    cfg = ModelConfig.model_validate(
        {"architecture": architecture, "width": width, "anchors": [[1.0 + k, 2.0] for k in range(anchors)]}
    )
    model = build_detector(cfg, tree or random_tree(30))
    assert model.stride == cfg.stride
    return model.eval()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize(("height", "width"), [(64, 64), (96, 32)])
def test_the_grid_has_a_cell_for_each_stride(architecture: str, height: int, width: int) -> None:
    model = built(architecture)
    output = model(torch.rand(3, 3, height, width))
    rows, columns = height // model.stride, width // model.stride
    assert output.box_logits.shape == (3, 2, rows, columns, 5)
    assert output.features.shape[2:] == (rows, columns)
    assert output.dense_class_logits().shape == (3, 2, rows, columns, 30)
    assert output.grid_wh.tolist() == [columns, rows]
    assert output.anchors_cell.tolist() == [[1, 2], [2, 2]]


def test_yolov2_of_coco_is_as_large_as_its_published_weights() -> None:
    """yolov2.weights is 203,934,260 bytes: a header of 16 and float32 numbers, batch-norm statistics included."""
    with torch.device("meta"):
        model = build_detector(
            ModelConfig(anchors=((1.0, 1.0),) * 5), WordTree([f"class{k}" for k in range(80)], [-1] * 80)
        )
    numbers = sum(parameter.numel() for parameter in model.parameters())
    statistics = sum(
        module.running_mean.numel() + module.running_var.numel()
        for module in model.modules()
        if isinstance(module, nn.BatchNorm2d)
    )
    assert 4 * (numbers + statistics) + 16 == 203_934_260


def test_the_passthrough_is_squeezed_in_darknet_and_whole_in_the_paper() -> None:
    squeezed, whole = built("yolov2"), built("yolov2_paper")
    assert squeezed.neck is not None
    assert whole.neck is not None
    assert squeezed.neck.join[0].in_channels == 256 + 4 * 16
    assert whole.neck.join[0].in_channels == 256 + 4 * 128
    assert built("yolo9000").neck is None
    assert built("tiny").neck is None


def test_the_passthrough_puts_each_fine_cell_under_its_coarse_one() -> None:
    neck = PassthroughNeck(8, 4, filters=8, squeeze=None).eval()
    seen: list[torch.Tensor] = []
    neck.join.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    fine = torch.arange(4 * 6 * 4, dtype=torch.float32).view(1, 4, 6, 4)
    neck(torch.rand(1, 8, 3, 2), fine)
    passed = seen[0][0, :16]  # (4 channels × 4 positions, 3, 2)
    for row in range(3):
        for column in range(2):
            block = fine[0, :, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
            assert passed[:, row, column].tolist() == block.flatten().tolist()


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_image_gives_the_same_output_alone_and_in_a_batch(architecture: str) -> None:
    model = built(architecture)
    images = torch.rand(3, 3, 64, 64)
    with torch.no_grad():
        together, alone = model(images), model(images[1:2])
    assert torch.allclose(together.box_logits[1], alone.box_logits[0], atol=1e-5)
    assert torch.allclose(together.features[1], alone.features[0], atol=1e-4)


def test_equal_seeds_give_equal_weights() -> None:
    one, other = built("tiny").state_dict(), built("tiny").state_dict()
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_the_tree_is_not_in_the_state_dict() -> None:
    names = built("tiny").state_dict()
    assert not [name for name in names if name.startswith("tree_tensors")]


def test_only_the_class_head_grows_with_the_vocabulary() -> None:
    small, large = built("yolo9000", tree=random_tree(30)), built("yolo9000", tree=random_tree(300))
    shapes = {name: value.shape for name, value in small.state_dict().items()}
    differing = [name for name, value in large.state_dict().items() if value.shape != shapes[name]]
    assert differing == ["head.classes.weight", "head.classes.bias"]


@pytest.mark.parametrize(
    ("filters", "width", "expected"), [(1024, 1, 1024), (64, 0.25, 16), (32, 0.1, 8), (100, 1, 96)]
)
def test_filters_are_multiples_of_eight(filters: int, width: float, expected: int) -> None:
    assert scaled_filters(filters, width) == expected
