"""The settings of MERGE.yaml that `relabel` may change: none of them changes the shards."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from data_prep.config import MergeConfig
from data_prep.dataset.index import Index
from wordtree.errors import ConfigError
from wordtree.support.config_files import apply_overrides, validate

_CLASS_SETTINGS = frozenset(
    {"tree", "label_map", "unmapped", "classes", "proposals", "custom_classes"}
)  # which decide the nodes of the classes
_CHANGEABLE = _CLASS_SETTINGS | {"ratio", "seed"}
_CHANGEABLE_OF_SOURCES = frozenset({"split", "repeat", "exhaustive", "classes"})


@dataclass(frozen=True)
class Change:
    """The new settings, and the names of the settings that were given, whether or not their values differ."""

    config: MergeConfig
    given: frozenset[str]

    @property
    def matches_again(self) -> bool:
        """Whether the classes are matched with nodes again."""
        return bool(self.given & _CLASS_SETTINGS)


def change_of(index: Index, overrides: Sequence[str] = (), **settings: Any) -> Change:
    """The settings of an index, changed by overrides (`a.b=c`) and by name, for example `tree=Path("my.tree")`.

    Raises ConfigError if a change would change the shards; only a merge can do that.
    """
    stored = validate(index.provenance["config"], MergeConfig, where="the settings stored in the index")
    before = stored.model_dump(mode="json")  # settings that were added since have their defaults
    values = apply_overrides(before | {"label_map": None}, overrides, model=MergeConfig) | settings
    config = validate(values, MergeConfig, where="relabel")
    fixed, asked = _fixed(before), _fixed(config.model_dump(mode="json"))
    for name in fixed | asked:
        if fixed.get(name) != asked.get(name):
            raise ConfigError(f"{name} decides the content of the shards; only a new merge can change it.")
    given = {_setting_of(override.partition("=")[0].strip().split(".")) for override in overrides}
    return Change(config, frozenset(given | settings.keys()))


def exhaustive_override(text: str) -> str:
    """`coco=person,dog` as an override of the source's setting `exhaustive`."""
    source, names = _parts(text, "--exhaustive", "coco=person,dog")
    return f"sources.{source}.exhaustive={json.dumps([name.strip() for name in names.split(',') if name.strip()])}"


def split_override(text: str) -> str:
    """`coco=val` or `coco=train:0.9,val:0.1` as an override of the source's setting `split`."""
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
    """The name of the setting: `classes` in `classes.top` and in `sources.coco.classes.top`."""
    return key[2] if key[0] == "sources" and len(key) > 2 else key[0]


def _fixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide the content of the shards."""
    sources = settings["sources"]
    fixed = {name: value for name, value in settings.items() if name not in _CHANGEABLE | {"sources"}}
    if any(source["max_images"] for source in sources):
        fixed["seed"] = settings["seed"]  # the seed chose the images
    for number, source in enumerate(sources):
        name = f"sources.{source.get('name', number)}"
        fixed |= {
            f"{name}.{key}": value for key, value in source.items() if key not in _CHANGEABLE_OF_SOURCES
        }
    return fixed
