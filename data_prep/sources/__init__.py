"""One module for each format: class names at once, images as a stream."""

from importlib import import_module

from data_prep.config import Source
from data_prep.sources.contents import OpenSource, SourceError

_MODULE_OF_FORMAT = {"objects365": "coco"}  # where it is not named after its format


def open_source(config: Source) -> OpenSource:
    """The data set that a configuration names; raises SourceError where it is not what it is said to be."""
    module = import_module(f"data_prep.sources.{_MODULE_OF_FORMAT.get(config.format, config.format)}")
    opened: OpenSource = module.open_source(config)
    return opened


__all__ = ["OpenSource", "SourceError", "open_source"]
