"""Public names of the package, imports without torch, and the documented error classes."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import yolo9000
from yolo9000.errors import Yolo9000Error


def test_every_public_name_can_be_imported() -> None:
    assert yolo9000.__all__
    for name in yolo9000.__all__:
        assert getattr(yolo9000, name).__name__ == name
        assert name in dir(yolo9000)
    with pytest.raises(AttributeError, match="no attribute 'Detector'"):
        yolo9000.Detector  # noqa: B018 (reading the attribute is the test)


@pytest.mark.parametrize("module", ["yolo9000", "yolo9000.inference.detections"])
def test_importing_needs_no_torch(module: str) -> None:
    code = f"import sys, {module}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_documented_error_classes_are_complete() -> None:
    drawn = dict(re.findall(r"── (\w+) +([\w.]+):", Yolo9000Error.__doc__ or ""))
    for name, module in drawn.items():
        assert issubclass(getattr(import_module(module), name), Yolo9000Error)
    sources = [path.read_text("utf-8") for path in Path(yolo9000.__file__).parent.rglob("*.py")]
    assert len(sources) > 20
    assert set(drawn) == {
        name for text in sources for name in re.findall(r"class (\w+)\(Yolo9000Error\)", text)
    }
