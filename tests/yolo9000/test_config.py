"""The configuration: valid defaults, and a one-line error for every mistake."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from data_prep.config import MergeConfig
from wordtree.errors import ConfigError
from wordtree.support.config_files import load_config
from yolo9000.config import Config, LossConfig, read_config, read_pretrain_config

CONFIGS = Path(__file__).parents[2] / "configs"
SHIPPED = sorted([*CONFIGS.glob("train/*.yaml"), *CONFIGS.glob("pretrain/*.yaml")])
MERGES = sorted(CONFIGS.glob("merge/*.yaml"))
PAPERS = (
    "pretrain/darknet19_224", "pretrain/darknet19_448", "pretrain/wordtree1k",
    "train/yolo9000", "train/yolov2_coco", "train/yolov2_voc",
)  # fmt: skip
SMALLEST: dict[str, Any] = {"data": {"shards": "shards"}, "schedule": {"max_steps": 10}}


@pytest.fixture
def smallest(tmp_path: Path) -> Path:
    """A file with only the settings that have no default."""
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


def test_former_names_and_values_of_settings_work_with_one_warning(smallest: Path) -> None:
    former = "loss: {match: prediction, assign: max_size}\npredict: {level: threshold, max_places: 7}\n"
    smallest.write_text(smallest.read_text() + former)
    with pytest.warns(FutureWarning) as caught:
        cfg = read_config(smallest)
    assert len(caught) == 1
    assert "level is now descent, descent: threshold is now descent: paper" in str(caught[0].message)
    assert (cfg.loss.box_assignment, cfg.loss.label_assignment) == ("prediction", "max_size")
    assert (cfg.predict.descent, cfg.predict.max_locations) == ("paper", 7)
    with pytest.warns(FutureWarning, match="level is now descent"):
        assert read_config(smallest, ["predict.level=darknet"]).predict.descent == "darknet"


def test_every_default_is_valid_for_its_field() -> None:
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


def test_pretrain_refuses_the_settings_of_a_detectors_network_in_one_line(smallest: Path) -> None:
    with pytest.raises(ConfigError, match=r"model: classes_from is a setting of `yolo9000 train` only\."):
        read_pretrain_config(smallest, ["model.classes_from=packaged"])
    with pytest.raises(ConfigError, match="anchor_count, siblings are settings of `yolo9000 train` only"):
        read_pretrain_config(smallest, ["model.siblings=softmax", "model.anchor_count=3"])


def test_pretrain_refuses_lazy_class_rows(smallest: Path) -> None:
    assert read_pretrain_config(smallest, ["optimizer.class_rows=dense"]).optimizer.class_rows == "dense"
    with pytest.raises(
        ConfigError, match=r"optimizer\.class_rows: lazy is a setting of `yolo9000 train` only"
    ):
        read_pretrain_config(smallest, ["optimizer.class_rows=lazy"])


def test_shards_may_be_an_address(smallest: Path) -> None:
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


def test_all_problems_are_reported_at_once_with_suggestions(smallest: Path) -> None:
    text = refusal(
        smallest,
        "loss.coord_weight=2",
        "model.witdh=1",
        "data.batch_size=many",
        "optimizer.learning_rate=-1",
        "sed=1",
    )
    assert "5 problems" in text
    for message in (
        "model.witdh",
        "did you mean 'width'",
        "data.batch_size",
        "optimizer.learning_rate",
        "loss.coord_weight",
    ):
        assert message in text
    assert "did you mean 'seed'" in text


@pytest.mark.parametrize(
    ("override", "expected"),
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
        (
            "data.repeat_factor_power=2",
            "data.repeat_factor_power: expected a number less than or equal to 1, found 2",
        ),
        ("data=5", "data"),
        ("evaluate.split=3", "evaluate.split"),
    ],
)
def test_an_invalid_value_is_refused_with_file_and_setting(
    smallest: Path, override: str, expected: str
) -> None:
    text = refusal(smallest, override)
    assert str(smallest) in text
    assert expected in text


def test_mosaic_and_zoom_out_are_at_most_1_together(smallest: Path) -> None:
    read_config(smallest, ["augment.mosaic=0.5", "augment.zoom_out=0.5"])
    text = refusal(smallest, "augment.mosaic=0.6", "augment.zoom_out=0.5")
    assert "mosaic and zoom_out are shares of the same images, at most 1 together, found 1.1" in text


@pytest.mark.parametrize("sides", ["[0.5, 1.2]", "[0.75, 0.35]"])
def test_zoom_out_sides_are_ordered_and_at_most_1(smallest: Path, sides: str) -> None:
    read_config(smallest, ["augment.zoom_out_side=[0.35, 1]"])
    text = refusal(smallest, f"augment.zoom_out_side={sides}")
    assert f"zoom_out_side must be [least, most], at most 1, found {sides}" in text


def test_exclusion_without_unannotated_objectness_is_refused(smallest: Path) -> None:
    text = refusal(smallest, "loss.exclusion_weight=0.3", "loss.unannotated_objectness=null")
    assert "exclusion_weight needs unannotated_objectness" in text
    assert read_config(smallest, ["loss.unannotated_objectness=null"]).loss.unannotated_objectness is None


def test_files_that_are_not_configurations_are_refused(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.yaml")
    for content, message in (
        (b"a: [", "not YAML"),
        (b"- 1\n", "key: value"),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"", "data"),
    ):
        (tmp_path / "bad.yaml").write_bytes(content)
        assert message in refusal(tmp_path / "bad.yaml")


def test_every_shipped_configuration_loads_and_has_its_own_run_name() -> None:
    readers = {"train": read_config, "pretrain": read_pretrain_config}
    names = {}
    for path in SHIPPED:
        cfg = readers[path.parent.name](path, ["data.shards=shards"])
        names[cfg.name] = path.stem
        header = path.read_text("utf-8").split("\nname:")[0]
        command = f"yolo9000 {path.parent.name} configs/{path.parent.name}/{path.name}"
        assert command in header, f"{path.name}: its header lacks the command"
    assert len(names) == len(SHIPPED), "two configurations would train into one folder"
    assert [path.stem for path in SHIPPED if path.parent.name == "train"] == [
        "coco128_imagenet", "emoji_world", "mosaic_world", "own_data", "yolo9000", "yolov2_coco", "yolov2_voc",
    ]  # fmt: skip
    assert [path.stem for path in SHIPPED if path.parent.name == "pretrain"] == [
        "darknet19_224", "darknet19_448", "emoji_world", "mosaic_world", "wordtree1k",
    ]  # fmt: skip


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_a_shipped_configuration_names_the_command_that_makes_its_shards(path: Path) -> None:
    """`-o` in the header of its merge file, or in its own header, names its folder; its sources exist."""
    data = yaml.safe_load(path.read_text("utf-8"))["data"]
    where = f"-o shards/{Path(data['shards']).name}"
    makers = [file for file in MERGES if re.search(rf"{where}\b", file.read_text("utf-8").split("\n\n")[0])]
    if not makers:
        assert re.search(rf"data-prep merge worlds?/\S*merge\.yaml {where}\b", path.read_text("utf-8"))
        return
    (maker,) = makers
    assert f"configs/merge/{maker.name}" in path.read_text("utf-8")
    sources = load_config(maker, MergeConfig).sources
    assert set(data.get("ratio") or ()) <= {source.name for source in sources}


@pytest.mark.parametrize("name", PAPERS, ids=lambda name: name.replace("/", "-"))
def test_every_value_of_the_papers_runs_names_its_source(name: str) -> None:
    """On its line or its section's line; a comment with … continues the line before."""
    section, checked = "", 0
    for line in (CONFIGS / f"{name}.yaml").read_text("utf-8").splitlines():
        if re.match(r"\w+:", line):
            section = line.partition("# ")[2]
        elif line.startswith("  "):
            message = section + line.partition("# ")[2]
            assert re.search(r"paper|\.cfg|darknet|decision|ours|likewise|configs/|…", message), line
            checked += 1
    assert checked > 20


def test_the_papers_runs_have_the_values_of_darknets_cfgs() -> None:
    """Copied from yolov2-voc.cfg, yolov2.cfg and yolo9000.cfg: momentum .9, decay .0005, burn_in 1000, …"""
    for name, jitter, colours in (
        ("yolov2_voc", 0.3, 1.5),
        ("yolov2_coco", 0.3, 1.5),
        ("yolo9000", 0.2, 1.33),
    ):
        cfg = read_config(CONFIGS / "train" / f"{name}.yaml")
        assert (cfg.augment.jitter, cfg.augment.hue) == (jitter, 0.1)
        assert (cfg.augment.saturation, cfg.augment.exposure) == (colours, colours)
        assert (cfg.optimizer.learning_rate, cfg.optimizer.momentum) == (0.001, 0.9)
        assert (cfg.optimizer.weight_decay, cfg.data.batch_size) == (0.0005, 64)
        assert (cfg.schedule.burn_in_steps, cfg.schedule.scales) == (1000, (0.1, 0.1))
        assert cfg.schedule.sizes_px == tuple(range(320, 609, 32))
        assert (cfg.loss.object_weight, cfg.loss.ignore_iou) == (5, 0.6)
    assert cfg.data.ratio == {"coco": 1, "imagenet": 4}  # paper, section 4


def test_the_emoji_world_has_the_demos_settings() -> None:
    ours = read_config(CONFIGS / "train" / "emoji_world.yaml", ["name=demo", "data.shards=shards"])
    demo = read_config(CONFIGS.parent / "yolo9000" / "assets" / "demo.yaml", ["data.shards=shards"])
    assert ours == demo


def test_the_emoji_classifier_has_the_demos_settings_except_its_evaluation() -> None:
    ours = read_pretrain_config(CONFIGS / "pretrain" / "emoji_world.yaml", ["data.shards=shards"])
    path = CONFIGS.parent / "yolo9000" / "assets" / "demo_classifier.yaml"
    demo = read_pretrain_config(
        path, ["data.shards=shards", "name=emoji_classifier", "evaluate.split=test", "evaluate.limit=null"]
    )
    assert ours == demo


def test_the_default_assignment_of_image_labels_is_the_best_rule_of_the_table() -> None:
    """The best row of `python benchmarks/never_boxed.py --rules 'm*, *' 'top_k, *'`, in docs/never_boxed.md."""
    page = (CONFIGS.parent / "docs" / "never_boxed.md").read_text("utf-8")
    lines = [line.replace("**", "") for line in page.splitlines()]
    cells = [line.strip("| ").split(" | ") for line in lines if re.match(r"\| \w+, \w+ \|", line)]
    assert len(cells) == 12
    best = max(cells, key=lambda row: float(row[2].split(" ± ")[0]))
    assert best[0] == f"{LossConfig().label_assignment}, {LossConfig().label_objectness}"
