"""The errors of this package that several modules raise, with the base of all of them."""

MAX_MESSAGE = 4000  # characters


def message_line(text: str) -> str:
    """The text as one line of at most 4000 characters, control characters escaped, so that no terminal obeys them."""
    line = " ".join(part.strip() for part in text.splitlines())
    line = "".join(char if char.isprintable() else repr(char)[1:-1] for char in line)
    if len(line) > MAX_MESSAGE:  # a last resort: messages cut the names that they quote
        line = f"{line[: MAX_MESSAGE - 500]} … {line[-450:]}"
    return line


class OneLine:
    """An exception whose text is one line, whatever names of a file it quotes."""

    def __str__(self) -> str:
        return message_line(super().__str__())


class WordTreeError(OneLine, Exception):
    """An error in the input of a user or a file; the message is one line, ready to be shown.

    WordTreeError
    ├── TreeError            the arrays do not make a tree
    │   ├── TreeNamesError   the names do not fit the nodes
    │   ├── HierarchyError   a loop, two names for one node, an invalid id (hierarchies/hierarchy.py)
    │   └── TreeFileError    a file is malformed; the message begins with its name and line
    ├── UnknownNode          the tree has no node with an id; suggests similar ones
    ├── ConfigError          a configuration file or override, of any of the three programs
    ├── YamlProblem          a text is not YAML (support/yaml_values.py)
    ├── OutputError          an output would replace a file of the user (support/outputs.py)
    ├── BuildError           no labels, no such profile, a label that is the root (building/build.py)
    ├── LabelError           WordNet does not know a label, or knows several senses (wordnet/resolve.py)
    ├── QueryError           an expression is malformed; points at the column (tree/query.py)
    ├── NumbersError         numbers do not fit the nodes of the tree (views/page.py)
    ├── ProbabilityError     not one number for each node, or NaN (tree/probability.py)
    └── WordNetError         the data of WordNet are absent, damaged or of another version (wordnet/columns.py)
    """


class ConfigError(WordTreeError):
    """A configuration that cannot be used: missing, not YAML, unknown keys, wrong types or values."""


class TreeError(WordTreeError):
    """The arrays do not make a tree; `node` is the first node at fault, or None."""

    def __init__(self, message: str, node: int | None = None) -> None:
        super().__init__(message)
        self.node = node


class TreeNamesError(TreeError):
    """The names do not fit the nodes."""


class UnknownNode(WordTreeError):
    """The tree has no node with this id."""


class TreeFileError(TreeError):
    """A file is malformed; the message begins with its name and, where there is one, the line."""
