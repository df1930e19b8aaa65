"""One reader for each format of data set; a reader returns the class names and a stream of images."""

import re
from dataclasses import replace
from importlib import import_module

from data_prep.config import Source
from data_prep.sources.source import OpenSource, SourceError

_WNID = re.compile(r"(n[0-9]{8})[-_ .].*[^\W\d_]")  # of Stanford Dogs: n02085620-Chihuahua
_MODULE_OF_FORMAT = {"objects365": "coco"}  # formats without a module of their name


def open_source(config: Source) -> OpenSource:
    """The data set of a configuration; raises SourceError if it is not in the stated format."""
    module = import_module(f"data_prep.sources.{_MODULE_OF_FORMAT.get(config.format, config.format)}")
    opened: OpenSource = module.open_source(config)
    wnids = [_WNID.match(name) for name in opened.classes]
    if not opened.aliases and any(wnids):
        return replace(opened, aliases=tuple(wnid[1] if wnid else "" for wnid in wnids))
    return opened


__all__ = ["OpenSource", "SourceError", "open_source"]
