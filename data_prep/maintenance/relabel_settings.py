"""What `relabel` is to change: settings of MERGE.yaml that do not touch the images themselves."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.config import MergeConfig
from data_prep.dataset.index import Index
from wordtree.errors import ConfigError
from wordtree.support.config_files import overridden, validated

_MEANING = frozenset({"tree", "label_map", "unmapped", "classes"})  # settings that say what classes mean
_OF_MERGE = _MEANING | {"ratio", "seed"}  # what may change
_OF_SOURCES = frozenset({"split", "repeat", "exhaustive", "classes"})  # and of a source


@dataclass(frozen=True)
class Change:
    """Settings as they shall be, and the names of those that were given, whether or not they differ."""

    config: MergeConfig
    given: frozenset[str]

    @property
    def concerns_meaning(self) -> bool:
        """Whether the classes are matched anew."""
        return bool(self.given & _MEANING)


def change_of(index: Index, overrides: Sequence[str] = (), **settings: Any) -> Change:
    """The settings of an index with overrides (`a.b=c`) and settings by name, for example `tree=Path("my.tree")`.

    Raises ConfigError where a change concerns the images themselves, which only a merge can make.
    """
    before = _settings_of(index)
    values = overridden(before | {"label_map": None}, overrides, model=MergeConfig) | settings
    config = validated(values, MergeConfig, place="relabel")
    if place := _first_difference(_fixed(before), _fixed(config.model_dump(mode="json"))):
        raise ConfigError(f"{place} decides what the shards hold; only a new merge can change it.")
    given = {_setting_of(override.partition("=")[0].strip().split(".")) for override in overrides}
    return Change(config, frozenset(given | settings.keys()))


def exhaustive_override(text: str) -> str:
    """`coco=person,dog` as an override of what a source vouches for."""
    source, names = _parts(text, "--exhaustive", "coco=person,dog")
    return f"sources.{source}.exhaustive={json.dumps([name.strip() for name in names.split(',') if name.strip()])}"


def split_override(text: str) -> str:
    """`coco=val` or `coco=train:0.9,val:0.1` as an override of a source's split."""
    source, splits = _parts(text, "--split", "coco=val or coco=train:0.9,val:0.1")
    if ":" not in splits:
        return f"sources.{source}.split={json.dumps(splits.strip())}"
    pairs = [share.partition(":")[::2] for share in splits.split(",")]
    shares = ", ".join(f"{json.dumps(name.strip())}: {share.strip()}" for name, share in pairs)
    return f"sources.{source}.split={{{shares}}}"


def _parts(text: str, option: str, example: str) -> tuple[str, str]:
    source, equals, value = text.partition("=")
    if not equals or not source.strip():
        raise ConfigError(f"{option} {text}: expected SOURCE=…, for example {option} {example}.")
    return source.strip(), value


def _setting_of(key: Sequence[str]) -> str:
    """`classes` of `classes.top` and of `sources.coco.classes.top`."""
    return key[2] if key[0] == "sources" and len(key) > 2 else key[0]


def _settings_of(index: Index) -> dict[str, Any]:
    """What the index was made with, completed by what settings have come since."""
    stored = validated(index.provenance["config"], MergeConfig, place="the settings that the index remembers")
    return stored.model_dump(mode="json")


def _fixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a merge has decided for good."""
    sources = settings["sources"]
    fixed = {name: value for name, value in settings.items() if name not in _OF_MERGE | {"sources"}}
    if any(source["max_images"] for source in sources):
        fixed["seed"] = settings["seed"]  # it chose the images
    for number, source in enumerate(sources):
        name = f"sources.{source.get('name', number)}"
        fixed |= {f"{name}.{key}": value for key, value in source.items() if key not in _OF_SOURCES}
    return fixed


def _first_difference(before: Mapping[str, Any], after: Mapping[str, Any]) -> str | None:
    names = [*before, *(name for name in after if name not in before)]
    return next((name for name in names if before.get(name) != after.get(name)), None)
