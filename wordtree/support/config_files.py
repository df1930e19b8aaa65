"""The loader of YAML configurations, which merging and training share.

A configuration is a YAML file plus overrides (`--set a.b=c`). Within a list an entry is named by its number
or by its `name`: `sources.0.images=DIR` and `sources.coco.images=DIR` say the same where `coco` comes first.
Paths in a file are relative to that file; paths in an override are relative to the working directory.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator, ValidationError
from pydantic_core import ErrorDetails
from pydantic_core.core_schema import ValidationInfo

from wordtree.errors import ConfigError, WordTreeError
from wordtree.support.files import system_message
from wordtree.support.suggest import did_you_mean_inside, near


class StrictModel(BaseModel):
    """A part of a configuration: frozen, and a key that nobody reads is an error.

    old_names: former names of settings, to their present ones. Both are read; the former with a warning.
    old_values: the same for the values of a setting, by its present name.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    old_names: ClassVar[Mapping[str, str]] = {}
    old_values: ClassVar[Mapping[str, Mapping[str, str]]] = {}


class _FromCommandLine(str):
    """A text given by an override: its relative path starts at the working directory."""

    __slots__ = ()


def _resolve_path(value: Any, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected a path, found {_shown(value)}")
    folder = (info.context or {}).get("folder")
    path = Path(value).expanduser()
    return path if folder is None or isinstance(value, _FromCommandLine) else folder / path


def _resolve_location(value: Any, info: ValidationInfo) -> Path | str:
    return str(value) if isinstance(value, str) and "://" in value else _resolve_path(value, info)


ConfigPath = Annotated[Path, BeforeValidator(_resolve_path)]  # in a file: relative to that file
ConfigLocation = Annotated[
    Path | str, PlainValidator(_resolve_location)
]  # a path, or an address such as s3://…


ConfigModel = TypeVar("ConfigModel", bound=BaseModel)


def load_config(
    path: Path | str,
    model: type[ConfigModel],
    overrides: Sequence[str] = (),
    error: type[Exception] = ConfigError,
) -> ConfigModel:
    """The configuration of a YAML file with its overrides (`a.b=c`); one `error` tells all its problems."""
    path = Path(path)
    replaced: dict[str, str] = {}
    try:
        values = _with_new_names(read_yaml(path, error), [model], replaced)
        values = overridden(values, overrides, error, model=model, replaced=replaced)
    except _TwoNames as reason:
        raise error(f"{path}: {reason}") from None
    if replaced:
        names = ", ".join(f"{old} is now {new}" for old, new in replaced.items())
        warnings.warn(f"{path}: settings with former names: {names}.", FutureWarning, stacklevel=2)
    return validated(values, model, place=str(path), folder=path.parent, error=error)


def overridden(
    values: Mapping[str, Any],
    overrides: Sequence[str],
    error: type[Exception] = ConfigError,
    *,
    model: type[BaseModel] | None = None,
    replaced: dict[str, str] | None = None,
) -> dict[str, Any]:
    """The settings with overrides (`a.b=c`); an `error` where an override cannot be applied.

    model: whose former names of settings an override may use; `replaced` collects those that it used.
    """
    changed = deepcopy(dict(values))
    for override in overrides:
        _apply_override(changed, override, error)
        if model is not None:
            changed = _with_new_names(changed, [model], {} if replaced is None else replaced, old_wins=True)
    return changed


def validated(
    values: Mapping[str, Any],
    model: type[ConfigModel],
    *,
    place: str,
    folder: Path | None = None,
    error: type[Exception] = ConfigError,
) -> ConfigModel:
    """The settings as the model, former names allowed.

    place: how the error names the source of the settings; folder: where relative paths start.
    """
    try:
        present = _with_new_names(values, [model], {})
        return model.model_validate(present, context={"folder": folder})
    except _TwoNames as reason:
        raise error(f"{place}: {reason}") from None
    except ValidationError as problems:
        texts = [_problem(details, values, model) for details in problems.errors()]
        count = f"{len(texts)} problems: " if len(texts) > 1 else ""
        raise error(f"{place}: {count}{'; '.join(texts)}.") from None


def one_line(text: object) -> str:
    """The text of another library's error without its line breaks."""
    return " ".join(str(text).split())


def read_yaml(
    path: Path, error: type[Exception] = ConfigError, *, what: str = "configuration"
) -> dict[str, Any]:
    """The values of a YAML file by key; one `error` where it is none, or where a key occurs twice."""
    try:
        values = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as reason:
        raise error(f"{path}: cannot read this {what} ({system_message(reason)}).") from None
    except UnicodeDecodeError:
        raise error(f"{path}: not YAML: the file is not UTF-8 text.") from None
    except yaml.MarkedYAMLError as reason:
        line = f", line {reason.problem_mark.line + 1}" if reason.problem_mark else ""
        raise error(f"{path}{line}: not YAML: {reason.problem}.") from None
    except yaml.YAMLError as reason:
        raise error(f"{path}: not YAML: {one_line(reason)}.") from None
    except ValueError as reason:  # a date or number that cannot be
        raise error(f"{path}: not YAML: {one_line(reason)}.") from None
    except RecursionError:
        raise error(f"{path}: nested too deeply.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise error(f"{path}: expected `key: value` lines, found a {type(values).__name__}.")
    return values


class _Loader(yaml.SafeLoader):  # not libyaml's, three times as fast: deep nesting ends the process there
    """Plain values only; a key that occurs twice is an error, as YAML has it."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in seen:
                    message = f"the key {key.value!r} occurs twice"
                    raise yaml.constructor.ConstructorError(None, None, message, key.start_mark)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)


class _TwoNames(WordTreeError):
    """A setting is given under its former and its present name."""


def _with_new_names(
    values: Any, models: Sequence[type[BaseModel]], replaced: dict[str, str], *, old_wins: bool = False
) -> Any:
    """The settings under the present names of these models; `replaced` collects the former ones that occurred.

    old_wins: a former name takes the place of the present one. Otherwise both together raise _TwoNames.
    """
    if isinstance(values, list | tuple):
        return [_with_new_names(entry, models, replaced, old_wins=old_wins) for entry in values]
    if not isinstance(values, Mapping):
        return values
    strict = [model for model in models if issubclass(model, StrictModel)]
    names = {old: new for model in strict for old, new in model.old_names.items()}
    changed: dict[Any, Any] = {}
    for key in sorted(values, key=lambda key: key in names):  # former names last
        name = names.get(key, key)
        if name != key:
            if name in values and not old_wins:
                raise _TwoNames(f"{key} is the former name of {name}, which is set too; remove {key}.")
            replaced[key] = name
        fields = [model.model_fields[name] for model in models if name in model.model_fields]
        parts = [part for field in fields for part in _models_in(field.annotation)]
        changed[name] = _with_new_names(values[key], parts, replaced, old_wins=old_wins)
        for model in strict:
            new = (
                model.old_values.get(name, {}).get(changed[name]) if isinstance(changed[name], str) else None
            )
            if new is not None:
                replaced[f"{name}: {changed[name]}"], changed[name] = f"{name}: {new}", new
    return changed


def _apply_override(values: dict[str, Any], override: str, error: type[Exception]) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise error(f"--set {override}: expected KEY=VALUE, for example `--set seed=1`.")
    try:
        value = _mark(yaml.safe_load(text))
    except yaml.YAMLError as reason:
        raise error(f"--set {override}: the value is not YAML: {one_line(reason)}.") from None
    *parents, last = key.strip().split(".")
    place: Any = values
    for part in parents:
        if isinstance(place, dict):
            if not isinstance(place.get(part), (dict, list)):
                place[part] = {}
            place = place[part]
        else:
            place = place[_list_entry(place, part, override, error)]
    if isinstance(place, dict):
        place[last] = value
    else:
        place[_list_entry(place, last, override, error)] = value


def _list_entry(entries: Any, part: str, override: str, error: type[Exception]) -> int:
    """The number of the entry that an override means, by number or by name."""
    if not isinstance(entries, list):
        raise error(f"--set {override}: nothing can be set under {part!r}: its parent is a plain value.")
    names = [str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry]
    for number, entry in enumerate(entries):
        if part == str(number) or (isinstance(entry, dict) and str(entry.get("name")) == part):
            return number
    known = f"0 to {len(entries) - 1}" if entries else "none"
    named = f" or by name: {', '.join(names)}" if names else ""
    offer = did_you_mean_inside(near(part, names, limit=1))
    raise error(f"--set {override}: no entry {part!r}{offer}; there are {known}{named}.")


def _mark(value: Any) -> Any:
    if isinstance(value, str):
        return _FromCommandLine(value)
    if isinstance(value, list):
        return [_mark(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _mark(entry) for key, entry in value.items()}
    return value


def _problem(details: ErrorDetails, values: Any, model: type[BaseModel]) -> str:
    place = _written_place(details["loc"], values)
    if details["type"] == "extra_forbidden":
        key = str(details["loc"][-1])
        known = (name for name in _field_names(model) if name != key)  # of other parts it may be one
        return f"unknown key {place!r}{did_you_mean_inside(near(key, known, limit=1))}"
    if details["type"] == "missing":
        return f"{place} is missing"
    if details["type"] == "union_tag_invalid" and details.get("ctx"):
        context = details["ctx"]
        return f"{place}.format: expected {context['expected_tags']}, found {context['tag']!r}"
    if details["type"] == "union_tag_not_found":
        return f"{place}.format is missing"
    message = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    message = _PLAIN_WORDS.get(details["type"], message)
    if details["type"] in ("model_type", "model_attributes_type"):
        message = "`key: value` lines"
    if details["type"] == "value_error":
        return f"{place}: {message}" if place else message
    return f"{place}: expected {message}, found {_shown(details['input'])}"


_PLAIN_WORDS = {  # pydantic's kind of problem: what was expected
    "tuple_type": "a list",
    "string_type": "a text",
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
}


def _shown(value: Any) -> str:
    text = repr(str(value) if isinstance(value, str) else value)
    return text if len(text) <= 60 else text[:57] + "..."


def _written_place(location: Sequence[int | str], values: Any) -> str:
    """The dotted place as the user wrote it: pydantic's own steps into a union are left out."""
    parts = []
    for part in location[:-1]:
        in_list = isinstance(values, list) and isinstance(part, int) and part < len(values)
        if not in_list and not (isinstance(values, Mapping) and part in values):
            continue
        values = values[part]
        parts.append(str(part))
    is_tag = isinstance(values, Mapping) and location[-1:] in ((values.get("format"),), ("shares",))
    inside_union = location and (is_tag or not isinstance(values, (Mapping, list))) and parts
    return ".".join(parts if inside_union else [*parts, *map(str, location[-1:])])


def _field_names(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield name
        for nested in _models_in(field.annotation):
            yield from _field_names(nested)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)
