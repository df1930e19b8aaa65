"""YAML text as plain values, in bounded time and memory: the only place that parses YAML."""

import re
from typing import Any

import yaml

from wordtree.errors import WordTreeError
from wordtree.support.lines import one_line

MAX_VALUES = 1_000_000  # of a document, each alias (*) counted with all that it stands for
MAX_DEPTH = 50
_MAX_NUMBER = 200  # characters
_CORE = "tag:yaml.org,2002:"
_NO_CHARACTER = re.compile("[\0\ud800-\udfff]")
_DEEP = "nested too deeply, or an anchor (&) that contains itself"


class YamlProblem(WordTreeError):
    """A text is not YAML, or not the part of YAML that settings need; `line` is the line from 1, or None."""

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


def parse_yaml(text: str) -> Any:
    """The texts, numbers, truth values, lists and dicts of a YAML text; dates stay texts. Raises YamlProblem.

    A key that occurs twice is an error, as in the YAML standard, and so are whole numbers of more than 64 bits.
    """
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as reason:
        line = reason.problem_mark.line + 1 if reason.problem_mark else None
        raise YamlProblem(one_line(reason.problem or reason.context), line) from None
    except (yaml.YAMLError, ValueError) as reason:
        raise YamlProblem(one_line(reason)) from None
    except RecursionError:
        raise YamlProblem(_DEEP) from None


class _Loader(yaml.SafeLoader):  # not libyaml's, which is faster, but crashes on deep nesting
    """Plain values only, whose number is known before the first is made."""

    def get_single_node(self) -> Any:
        root = super().get_single_node()
        if root is not None:
            self._check_size(root, {}, 1)
        return root

    def _check_size(self, node: yaml.Node, known: dict[int, tuple[int, int]], level: int) -> tuple[int, int]:
        """The number of values in the node and its depth, aliases counted in full; `known`: of nodes seen before."""
        if id(node) not in known:
            if level > MAX_DEPTH:
                raise _problem(_DEEP, node)
            self._check_tag(node)
            below = [self._check_size(inner, known, level + 1) for inner in _inner(node)]
            values, depth = (
                1 + sum(size for size, _ in below),
                1 + max((deep for _, deep in below), default=0),
            )
            known[id(node)] = values, depth
        values, depth = known[id(node)]
        if values > MAX_VALUES:
            raise _problem(f"aliases (*) that stand for more than {MAX_VALUES} values", node)
        if level + depth > MAX_DEPTH + 1:
            raise _problem(_DEEP, node)
        return values, depth

    def _check_tag(self, node: yaml.Node) -> None:
        """Refuse tags such as !!int before a text that is no number, which PyYAML's constructors do not expect."""
        if isinstance(node, yaml.ScalarNode):
            resolved: str = self.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
            fits = node.tag in (f"{_CORE}str", resolved)
            if _NO_CHARACTER.search(node.value):
                raise _problem("a text with NUL or with half of a surrogate pair", node)
        else:
            fits = node.tag == f"{_CORE}{'map' if isinstance(node, yaml.MappingNode) else 'seq'}"
        if not fits:
            raise _problem(f"the tag {node.tag.replace(_CORE, '!!')!r} does not fit its value", node)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != f"{_CORE}merge":
                if (key.tag, key.value) in seen:
                    raise _problem(f"the key {key.value[:60]!r} occurs twice", key)
                seen.add((key.tag, key.value))
        return super().construct_mapping(node, deep)

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        if len(node.value) <= _MAX_NUMBER:
            value: int = super().construct_yaml_int(node)
            if -(2**63) <= value < 2**64:
                return value
        raise _problem("a whole number of more than 64 bits", node)

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        if len(node.value) > _MAX_NUMBER:
            raise _problem(f"a number of more than {_MAX_NUMBER} characters", node)
        value: float = super().construct_yaml_float(node)
        return value


_Loader.yaml_implicit_resolvers = {  # without dates
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_CORE}timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_constructor(f"{_CORE}int", _Loader.construct_yaml_int)
_Loader.add_constructor(f"{_CORE}float", _Loader.construct_yaml_float)


def _inner(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [inner for pair in node.value for inner in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _problem(message: str, node: yaml.Node) -> yaml.constructor.ConstructorError:
    return yaml.constructor.ConstructorError(None, None, message, node.start_mark)
