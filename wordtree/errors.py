"""The base of every error that this package raises on purpose."""


class WordTreeError(Exception):
    """A mistake in what the user or a file gave; its text is one line fit to be shown.

    WordTreeError
    ├── TreeError            the arrays do not make a tree
    │   ├── TreeNamesError   its names do not fit its nodes
    │   ├── HierarchyError   a loop, two names for one node, an id that is none
    │   └── TreeFileError    a tree file is malformed; names the file and its line
    ├── UnknownNode          a tree has no node of that id; suggests near ones
    ├── ConfigError          a configuration file, or an override of it, of any of the three programs
    ├── BuildError           no labels, no such profile, a label that is the root
    ├── LabelError           WordNet does not know a label, or knows several senses of it
    ├── QueryError           an expression cannot be read; points at the column
    ├── FiguresError         figures to be shown do not fit the nodes of the tree
    ├── ProbabilityError     numbers that do not fit the tree: not one for each node, or NaN
    └── WordNetError         WordNet's data are absent, damaged or of another version
    """


class ConfigError(WordTreeError):
    """A configuration that cannot be used: missing, not YAML, unknown keys, wrong types or values."""


class TreeError(WordTreeError):
    """The arrays do not make a tree; `node` is the first one at fault, if it is one node's fault."""

    def __init__(self, message: str, node: int | None = None) -> None:
        super().__init__(message)
        self.node = node


class TreeNamesError(TreeError):
    """The names do not fit the nodes."""


class UnknownNode(WordTreeError):
    """The tree has no node of that id."""


class TreeFileError(TreeError):
    """A tree file is malformed; the text begins with its name and, where there is one, the line."""
