"""The base of every error that this package raises on purpose."""


class WordTreeError(Exception):
    """A mistake in what the user or a file gave; its text is one line fit to be shown.

    WordTreeError
    ├── TreeError            the arrays do not make a tree
    │   ├── TreeNamesError   its names do not fit its nodes
    │   ├── HierarchyError   a loop, two names for one node, an id that is none
    │   └── TreeFileError    a tree file is malformed; names the file and its line
    ├── UnknownNode          a tree has no node of that id; suggests near ones
    ├── BuildError           no labels, no such profile, a label that is the root
    ├── LabelError           WordNet does not know a label, or knows several senses of it
    ├── QueryError           an expression cannot be read; points at the column
    ├── FiguresError         figures to be shown do not fit the nodes of the tree
    ├── ProbabilityError     numbers that do not fit the tree: not one for each node, or NaN
    └── WordNetError         WordNet's data are absent, damaged or of another version
    """
