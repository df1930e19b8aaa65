"""The text of each problem that pydantic finds in a configuration, in the words of a YAML file."""

from collections.abc import Iterator, Mapping, Sequence
from reprlib import Repr
from typing import Any, get_args

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from wordtree.support.lines import quoted, shortened
from wordtree.support.suggest import did_you_mean_inside, near


def problem_text(details: ErrorDetails, values: Any, model: type[BaseModel]) -> str:
    """The key, the expected value and the one found; values: the whole configuration."""
    key = _written_key(details["loc"], values)
    if details["type"] == "extra_forbidden":
        last = str(details["loc"][-1])
        known = (name for name in _field_names(model) if name != last)  # a valid key of another part
        return f"unknown key {quoted(key)}{did_you_mean_inside(near(last, known, limit=1))}"
    if details["type"] == "missing":
        return f"{key} is missing"
    if details["type"] == "union_tag_invalid" and details.get("ctx"):
        context = details["ctx"]
        return f"{key}.format: expected {context['expected_tags']}, found {context['tag']!r}"
    if details["type"] == "union_tag_not_found":
        return f"{key}.format is missing"
    message = details["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    message = _PLAIN_WORDS.get(details["type"], message)
    if details["type"].startswith(("greater_than", "less_than")):
        message = f"a number {message}"
    if details["type"] in ("model_type", "model_attributes_type"):
        message = "`key: value` lines"
    if details["type"] == "value_error":
        return f"{key}: {message}" if key else message
    return f"{key}: expected {message}, found {shortened_value(details['input'])}"


_PLAIN_WORDS = {  # pydantic's kind of problem -> the expected value
    "tuple_type": "a list",
    "string_type": "a text",
    "int_parsing": "a whole number",
    "float_parsing": "a number",
    "bool_parsing": "true or false",
}


def shortened_value(value: Any) -> str:
    """The value in at most 60 characters, without writing out all of it first: aliases may stand for gigabytes."""
    return shortened(repr(str(value)[:60]) if isinstance(value, str) else _BRIEF.repr(value))


_BRIEF = Repr()
_BRIEF.maxlist = _BRIEF.maxdict = 20
_BRIEF.maxstring = _BRIEF.maxlong = _BRIEF.maxother = 60


def _written_key(location: Sequence[int | str], values: Any) -> str:
    """The dotted key as the user wrote it, without pydantic's own steps into a union."""
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
        for nested in models_in(field.annotation):
            yield from _field_names(nested)


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """The models in the annotation of a field, also inside lists and unions."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for argument in get_args(annotation):
        yield from models_in(argument)
