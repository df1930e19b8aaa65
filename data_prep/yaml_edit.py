"""One setting of a YAML file changed in its text, so that comments, order and all other settings stay."""

from typing import Any

import yaml

from data_prep.yaml_config import ConfigError, one_line


def with_setting(text: str, section: str, key: str, value: str) -> str:
    """The text of a YAML file with `key` in `section` set to a value, which is YAML on one line.

    Raises ConfigError where the text is no mapping, or is written so that only a person can change it.
    """
    changed = _edited(text, section, key, value)
    expected = _settings(text)
    expected[section] = {**(expected.get(section) or {}), key: yaml.safe_load(value)}
    if not _reads_as(changed, expected):
        raise ConfigError(f"{section}.{key} cannot be set in this file; set it by hand to {value}.")
    return changed


def _reads_as(text: str, expected: dict[str, Any]) -> bool:
    try:
        return _settings(text) == expected
    except ConfigError:
        return False


def _settings(text: str) -> dict[str, Any]:
    try:
        settings = yaml.safe_load(text)
    except yaml.YAMLError as reason:
        raise ConfigError(f"not YAML: {one_line(reason)}.") from None
    if not isinstance(settings, dict | None):
        raise ConfigError(f"expected `key: value` lines, found a {type(settings).__name__}.")
    return settings or {}


def _edited(text: str, section: str, key: str, value: str) -> str:
    _settings(text)
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(root, yaml.MappingNode):
        return _appended(text, f"{section}:\n  {key}: {value}\n")
    if (found := _entry(root, section)) is None:
        if root.flow_style:
            return _inserted(text, root, f"{section}: {{{key}: {value}}}")
        return _appended(text, f"{section}:\n  {key}: {value}\n")
    name, settings = found
    if not isinstance(settings, yaml.MappingNode):
        if not settings.tag.endswith(":null"):
            raise ConfigError(f"{section}: expected `key: value` lines, found {settings.value!r}.")
        return _replaced(text, name.end_mark.index, settings.end_mark.index, f": {{{key}: {value}}}")
    if (setting := _entry(settings, key)) is None:
        return _inserted(text, settings, f"{key}: {value}")
    return _replaced(text, setting[0].end_mark.index, _end(setting[1]), f": {value}")


def _entry(mapping: yaml.MappingNode, key: str) -> tuple[yaml.Node, yaml.Node] | None:
    return next(((name, value) for name, value in mapping.value if name.value == key), None)


def _inserted(text: str, mapping: yaml.MappingNode, entry: str) -> str:
    """The text with one entry more: first in a mapping in braces, else on a line of its own after the last."""
    if mapping.flow_style:
        place = mapping.start_mark.index + 1
        return _replaced(text, place, place, f"{entry}, " if mapping.value else entry)
    end = _end(mapping)
    if text[end - 1] != "\n":  # a block of text ends behind its last line
        end = text.find("\n", end) + 1 or len(text)
    indent = " " * mapping.value[0][0].start_mark.column
    line_end = "" if text[:end].endswith("\n") else "\n"
    return _replaced(text, end, end, f"{line_end}{indent}{entry}\n")


def _end(node: yaml.Node) -> int:
    """Where a value ends; the mark of a block is only at the next token, behind comments."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _appended(text: str, lines: str) -> str:
    return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{lines}"


def _replaced(text: str, first: int, end: int, by: str) -> str:
    return text[:first] + by + text[end:]
