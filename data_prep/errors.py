"""The base of every error of this package, and the error that plan and merge share."""

from wordtree.errors import OneLine


class DataPrepError(OneLine, Exception):
    """A mistake in the user's input or in a file; the message is one line and says what to do.

    DataPrepError
    ├── SourceError     a data set that cannot be read in the stated format
    ├── LabelMapError   classes without a node, or an invalid label map
    ├── MergeError      a merge that cannot start or continue
    ├── WorldError      a synthetic data set that cannot be generated
    ├── MissingDrawings emoji drawings that are not installed, or that a folder lacks
    ├── AnchorError     boxes without usable sizes for anchors
    ├── ImageError      an image that cannot be used: counted and skipped, not reported
    ├── Hdf5Error       a file with another structure than those that we write
    └── ShardError      shards or an index that are missing, damaged or in another format
    """


class MergeError(DataPrepError):
    """A merge that cannot start or continue."""
