"""One module for each format: class names at once, pictures as a stream."""

from data_prep.config import CocoSource, ImageNetSource
from data_prep.sources.contents import OpenSource, SourceError


def open_source(config: CocoSource | ImageNetSource) -> OpenSource:
    """The data set that a configuration names; raises SourceError where it is not what it is said to be."""
    from data_prep.sources.coco import open_coco
    from data_prep.sources.imagenet import open_imagenet

    match config:
        case CocoSource():
            return open_coco(config)
        case ImageNetSource():
            return open_imagenet(config)


__all__ = ["OpenSource", "SourceError", "open_source"]
