"""The configuration: defaults that hold, and every mistake told in one line."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from yolo9000.config import Config, ConfigError, read_config

SHIPPED = sorted((Path(__file__).parents[2] / "configs" / "train").glob("*.yaml"))
SMALLEST: dict[str, Any] = {"data": {"shards": "shards"}, "schedule": {"max_steps": 10}}


@pytest.fixture
def smallest(tmp_path: Path) -> Path:
    """A file with nothing but what has no default."""
    path = tmp_path / "train.yaml"
    path.write_text("data: {shards: shards}\nschedule: {max_steps: 10}\n")
    return path


def parts(model: type[BaseModel] = Config) -> Iterator[type[BaseModel]]:
    """The model and all models of its fields."""
    yield model
    for field in model.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from parts(field.annotation)


def refusal(path: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        read_config(path, overrides)
    text = str(caught.value)
    assert len(text.splitlines()) == 1
    return text


def test_every_default_is_a_value_that_the_field_takes() -> None:
    cfg = Config.model_validate(SMALLEST)
    assert Config.model_validate(cfg.model_dump()) == cfg
    assert Config.model_validate(json.loads(cfg.model_dump_json())) == cfg
    lacking = [
        f"{model.__name__}.{name}"
        for model in parts()
        for name, field in model.model_fields.items()
        if field.default is PydanticUndefined and field.default_factory is None
    ]
    assert sorted(lacking) == [
        "Config.data", "Config.schedule", "DataConfig.shards", "ScheduleConfig.max_steps",
    ]  # fmt: skip


def test_reading_a_configuration_needs_no_torch(smallest: Path) -> None:
    code = f"import sys; from yolo9000.config import read_config; read_config({str(smallest)!r}); "
    code += "sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_shards_are_relative_to_the_file_and_an_override_to_the_working_directory(smallest: Path) -> None:
    assert read_config(smallest).data.shards == smallest.parent / "shards"
    assert read_config(smallest, ["data.shards=other"]).data.shards == Path("other")


def test_shards_may_lie_at_an_address(smallest: Path) -> None:
    cfg = read_config(smallest, ["data.shards=s3://bucket/shards"])
    assert cfg.data.shards == "s3://bucket/shards"
    assert Config.model_validate_json(cfg.model_dump_json()).data.shards == "s3://bucket/shards"


def test_overrides_have_the_type_of_their_field(smallest: Path) -> None:
    cfg = read_config(
        smallest,
        ["model.anchors=[[1, 2], [3, 4.5]]", "data.ratio={coco: 1, imagenet: 4}", "optimizer.clip_norm=null"],
    )
    assert cfg.model.anchors == ((1, 2), (3, 4.5))
    assert cfg.data.ratio == {"coco": 1, "imagenet": 4}
    assert cfg.optimizer.clip_norm is None


def test_a_configuration_cannot_be_changed(smallest: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        read_config(smallest).seed = 1  # type: ignore[misc]


def test_all_problems_are_told_at_once_with_suggestions(smallest: Path) -> None:
    text = refusal(
        smallest,
        "loss.coord_weight=2",
        "model.witdh=1",
        "data.batch_size=many",
        "optimizer.learning_rate=-1",
        "sed=1",
    )
    assert "5 problems" in text
    for told in (
        "model.witdh",
        "did you mean 'width'",
        "data.batch_size",
        "optimizer.learning_rate",
        "loss.coord_weight",
    ):
        assert told in text
    assert "did you mean 'seed'" in text


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.input_size_px=100", "input_size_px must be a multiple of 32 for yolov2, found 100"),
        ("schedule.sizes_px=[64, 100]", "schedule.sizes_px must be multiples of 32, found [100]"),
        ("model.architecture=yolov3", "model.architecture"),
        ("model.anchors=[]", "model.anchors"),
        ("model.anchors=[[1, 0]]", "model.anchors"),
        ("schedule.steps=[5]", "steps and scales must be of equal length, found 1 and 0"),
        ("augment.zoom_out=1.5", "augment.zoom_out"),
        ("optimizer.ema=1", "optimizer.ema"),
        ("optimizer.learning_rate=.nan", "optimizer.learning_rate"),
        ("seed=-1", "seed"),
        ("name=..", "name"),
        ("name=a/b", "name"),
        ("name=", "name"),
        ("data.ratio={coco: 0}", "data.ratio"),
        ("data=5", "data"),
        ("evaluate.split=3", "evaluate.split"),
    ],
)
def test_a_value_that_cannot_be_is_told_with_its_place(smallest: Path, override: str, told: str) -> None:
    text = refusal(smallest, override)
    assert str(smallest) in text
    assert told in text


def test_mosaic_and_zoom_share_the_pictures(smallest: Path) -> None:
    read_config(smallest, ["augment.mosaic=0.5", "augment.zoom_out=0.5"])
    text = refusal(smallest, "augment.mosaic=0.6", "augment.zoom_out=0.5")
    assert "mosaic and zoom_out are shares of the same pictures, at most 1 together, found 1.1" in text


def test_files_that_are_no_configuration_are_told(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.yaml")
    for content, told in (
        (b"a: [", "not YAML"),
        (b"- 1\n", "key: value"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"", "data"),
    ):
        (tmp_path / "bad.yaml").write_bytes(content)
        assert told in refusal(tmp_path / "bad.yaml")


def test_every_shipped_configuration_loads() -> None:
    if not SHIPPED:
        pytest.skip("configs/train holds no configuration yet")
    names = set()
    for path in SHIPPED:
        cfg = read_config(path, ["data.shards=shards"])
        names.add(cfg.name)
        header = path.read_text("utf-8").split("\nname:")[0]
        assert "yolo9000 train" in header, f"{path.name}: its header does not tell the command"
    assert len(SHIPPED) >= 1
    assert len(names) == len(SHIPPED), "two configurations would train into one folder"
