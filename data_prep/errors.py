"""The base of every error of this package, and the one that plan and merge share."""


class DataPrepError(Exception):
    """A mistake in what the user or a file gave; its text is one line that says what to do.

    DataPrepError
    ├── SourceError     a data set that cannot be read as what it is said to be
    ├── LabelMapError   classes that have no node, or a label map that does not fit
    ├── MergeError      a merge that cannot start or go on
    ├── WorldError      a generated world that cannot be made
    ├── AnchorError     boxes from which no anchors can be found
    ├── ImageError      an image that cannot be used: counted and skipped, never seen by the user
    └── ShardError      shards or an index that are missing, damaged or of a foreign format
    """


class MergeError(DataPrepError):
    """A merge that cannot start or go on."""
