"""The loader of YAML configurations, shared by merging and training.

A configuration is a YAML file plus overrides (`--set a.b=c`). An override selects an entry of a list by its number or
its `name`: `sources.0.images=DIR` and `sources.coco.images=DIR` are equivalent if `coco` is the first source.
Paths in a file are relative to that file; paths in an override are relative to the working directory.

Former names of settings and values keep working, with one FutureWarning for a file (`StrictModel.old_names`).
"""

import warnings
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainValidator, ValidationError
from pydantic_core.core_schema import ValidationInfo

from wordtree.errors import ConfigError, WordTreeError
from wordtree.support.config_problems import models_in, problem_text, shortened_value
from wordtree.support.files import system_message
from wordtree.support.lines import quoted, shortened
from wordtree.support.suggest import did_you_mean_inside, near
from wordtree.support.yaml_values import MAX_DEPTH, YamlProblem, parse_yaml

MAX_FILE_BYTES = 16 << 20
MAX_PROBLEMS = 20  # in one message


class StrictModel(BaseModel):
    """A part of a configuration: frozen; an unknown key is an error.

    old_names: former names of settings, to their present names.
    old_values: for settings by their present name, former values to the present ones.
    """

    model_config = ConfigDict(allow_inf_nan=False, frozen=True, extra="forbid")
    old_names: ClassVar[Mapping[str, str]] = {}
    old_values: ClassVar[Mapping[str, Mapping[str, str]]] = {}


class _OverrideText(str):
    """The text of an override; a relative path in it starts at the working directory."""

    __slots__ = ()


def _resolve_path(value: Any, info: ValidationInfo) -> Path:
    if isinstance(value, Path):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError(f"expected a path, found {shortened_value(value)}")
    folder = (info.context or {}).get("folder")
    try:
        path = Path(value).expanduser()
    except RuntimeError:
        user = value.partition("/")[0].removeprefix("~")
        missing = f"there is no user {user!r}" if user else "the home directory is unknown"
        raise ValueError(f"{missing} ({shortened(value)})") from None
    if "\0" in value:
        raise ValueError(f"expected a path, found {shortened_value(value)}")
    return path if folder is None or isinstance(value, _OverrideText) else folder / path


def _resolve_location(value: Any, info: ValidationInfo) -> Path | str:
    return str(value) if isinstance(value, str) and "://" in value else _resolve_path(value, info)


ConfigPath = Annotated[Path, BeforeValidator(_resolve_path)]
ConfigLocation = Annotated[Path | str, PlainValidator(_resolve_location)]  # a path or an address (s3://…)

ConfigModel = TypeVar("ConfigModel", bound=BaseModel)


def with_paths(settings: ConfigModel, changed: Callable[[Path], Path]) -> ConfigModel:
    """A copy of the settings in which every path is changed, also in their sections."""
    changes: dict[str, Any] = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, Path):
            changes[name] = changed(value)
        elif isinstance(value, BaseModel):
            changes[name] = with_paths(value, changed)
    return settings.model_copy(update=changes)


def load_config(
    path: Path | str,
    model: type[ConfigModel],
    overrides: Sequence[str] = (),
    error: type[Exception] = ConfigError,
) -> ConfigModel:
    """The configuration of a YAML file with its overrides (`a.b=c`); one `error` lists all its problems."""
    path = Path(path)
    renames = _Renames()
    try:
        values = renames.apply(read_yaml(path, error), [model])
    except _TwoNames as reason:
        raise error(f"{path}: {reason}") from None
    values = _with_overrides(values, overrides, model, renames, error)
    renames.warn(str(path))
    return validate(values, model, where=str(path), folder=path.parent, error=error)


def apply_overrides(
    values: Mapping[str, Any],
    overrides: Sequence[str],
    error: type[Exception] = ConfigError,
    *,
    model: type[BaseModel] | None = None,
) -> dict[str, Any]:
    """The settings with overrides (`a.b=c`); `error` where an override cannot be applied.

    model: the model of the settings, whose former names an override may use.
    """
    renames = _Renames()
    changed = _with_overrides(values, overrides, model, renames, error)
    renames.warn("--set")
    return changed


def with_present_names(values: Mapping[str, Any], model: type[BaseModel], *, source: str) -> dict[str, Any]:
    """The settings of a model under their present names; a FutureWarning names the former ones, and the source."""
    renames = _Renames()
    present = dict(renames.apply(values, [model]))
    renames.warn(source)
    return present


def validate(
    values: Mapping[str, Any],
    model: type[ConfigModel],
    *,
    where: str,
    folder: Path | None = None,
    error: type[Exception] = ConfigError,
) -> ConfigModel:
    """The settings as a model; former names are accepted without a warning.

    where: the source of the settings, for errors. folder: where relative paths start.
    """
    try:
        values = _Renames().apply(values, [model])
        return model.model_validate(values, context={"folder": folder})
    except _TwoNames as reason:
        raise error(f"{where}: {reason}") from None
    except ValidationError as problems:
        details = problems.errors(include_url=False)
        texts = [problem_text(each, values, model) for each in details[:MAX_PROBLEMS]]
        count = f"{len(details)} problems: " if len(details) > 1 else ""
        more = "; …" if len(details) > MAX_PROBLEMS else "."
        raise error(f"{where}: {count}{'; '.join(texts)}{more}") from None


# --- YAML


def read_yaml(
    path: Path, error: type[Exception] = ConfigError, *, content: str = "configuration"
) -> dict[str, Any]:
    """The values of a YAML file by key; `error` if it is not YAML, or if a key occurs twice.

    content: of the file, for errors.
    """
    try:
        with path.open("rb") as file:
            payload = file.read(MAX_FILE_BYTES + 1)
        if len(payload) > MAX_FILE_BYTES:
            raise error(
                f"{path}: expected a {content}, found a file of more than {MAX_FILE_BYTES >> 20} MiB."
            )
        values = parse_yaml(payload.decode())
    except OSError as reason:
        raise error(f"{path}: cannot read this {content} ({system_message(reason)}).") from None
    except UnicodeDecodeError:
        raise error(f"{path}: not YAML: the file is not UTF-8 text; save it as UTF-8.") from None
    except YamlProblem as reason:
        line = f", line {reason.line}" if reason.line else ""
        raise error(f"{path}{line}: not YAML: {reason}.") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise error(f"{path}: expected `key: value` lines, found a {type(values).__name__}.")
    return values


# --- former names


class _TwoNames(WordTreeError):
    """A setting is given under its former and its present name."""


class _Renames:
    """Replaces former names and values by the present ones, and collects them for one warning."""

    def __init__(self) -> None:
        self._replaced: dict[str, str] = {}

    def apply(self, values: Any, models: Sequence[type[BaseModel]]) -> Any:
        """The values of these models under their present names; _TwoNames if a setting has both names."""
        if isinstance(values, list | tuple):
            return [self.apply(entry, models) for entry in values]
        if not isinstance(values, Mapping):
            return values
        changed: dict[Any, Any] = {}
        for key, value in values.items():
            name = self.name(key, models)
            if name != key and name in values:
                raise _TwoNames(f"{key} is the former name of {name}, which is set too; remove {key}.")
            changed[name] = self._value(name, self.apply(value, _models_of(name, models)), models)
        return changed

    def name(self, key: Any, models: Sequence[type[BaseModel]]) -> Any:
        """The present name of a setting of these models."""
        for model in models:
            if issubclass(model, StrictModel) and key in model.old_names:
                self._replaced[key] = model.old_names[key]
                return model.old_names[key]
        return key

    def _value(self, name: Any, value: Any, models: Sequence[type[BaseModel]]) -> Any:
        for model in models:
            if isinstance(value, str) and issubclass(model, StrictModel):
                present = model.old_values.get(name, {}).get(value)
                if present is not None:
                    self._replaced[f"{name}: {value}"] = f"{name}: {present}"
                    return present
        return value

    def warn(self, source: str) -> None:
        """Warn of the former names that were used, if there were any."""
        if self._replaced:
            names = ", ".join(f"{old} is now {new}" for old, new in self._replaced.items())
            warnings.warn(f"{source}: settings with former names: {names}.", FutureWarning, stacklevel=3)


def _models_of(name: Any, models: Sequence[type[BaseModel]]) -> list[type[BaseModel]]:
    """The models that the setting `name` of these models may hold."""
    fields = [model.model_fields[name] for model in models if name in model.model_fields]
    return [inner for field in fields for inner in models_in(field.annotation)]


# --- overrides


def _with_overrides(
    values: Mapping[str, Any],
    overrides: Sequence[str],
    model: type[BaseModel] | None,
    renames: _Renames,
    error: type[Exception],
) -> dict[str, Any]:
    changed = deepcopy(dict(values))
    models = [] if model is None else [model]
    for override in overrides:
        _apply_override(changed, override, models, renames, error)
    try:
        return dict(renames.apply(changed, models))
    except _TwoNames as reason:
        raise error(f"--set: {reason}") from None


def _apply_override(
    values: dict[str, Any],
    override: str,
    models: Sequence[type[BaseModel]],
    renames: _Renames,
    error: type[Exception],
) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key.strip():
        raise error(f"--set {shortened(override)}: expected KEY=VALUE, for example `--set seed=1`.")
    try:
        value = _mark_texts(parse_yaml(text))
    except YamlProblem as reason:
        raise error(f"--set {shortened(key)}: the value is not YAML: {reason}.") from None
    *parents, last = key.strip().split(".")
    if len(parents) >= MAX_DEPTH:
        raise error(f"--set {shortened(key)}: expected at most {MAX_DEPTH} names between dots.")
    target: Any = values
    for part in parents:
        if isinstance(target, dict):
            name = renames.name(part, models)
            models = _models_of(name, models)
            if not isinstance(target.get(name), (dict, list)):
                target[name] = {}
            target = target[name]
        else:
            target = target[_list_entry(target, part, override, error)]
    if isinstance(target, dict):
        target[renames.name(last, models)] = value
    else:
        target[_list_entry(target, last, override, error)] = value


def _list_entry(entries: Any, part: str, override: str, error: type[Exception]) -> int:
    """The index of the entry that an override selects, by number or by name."""
    if not isinstance(entries, list):
        raise error(
            f"--set {shortened(override)}: {quoted(part)} cannot be set, because its parent is a plain value."
        )
    names = [str(entry["name"]) for entry in entries if isinstance(entry, dict) and "name" in entry]
    for number, entry in enumerate(entries):
        if part == str(number) or (isinstance(entry, dict) and str(entry.get("name")) == part):
            return number
    known = f"0 to {len(entries) - 1}" if entries else "none"
    named = (
        f" or by name: {', '.join(map(shortened, names[:20]))}{', …' * (len(names) > 20)}" if names else ""
    )
    suggestion = did_you_mean_inside(near(part, names, limit=1))
    raise error(
        f"--set {shortened(override)}: no entry {quoted(part)}{suggestion}; there are {known}{named}."
    )


def _mark_texts(value: Any) -> Any:
    """The value with each text as an _OverrideText."""
    if isinstance(value, str):
        return _OverrideText(value)
    if isinstance(value, list):
        return [_mark_texts(entry) for entry in value]
    if isinstance(value, dict):
        return {key: _mark_texts(entry) for key, entry in value.items()}
    return value
