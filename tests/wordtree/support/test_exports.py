import ast
import sys
from importlib import import_module
from pathlib import Path

import pytest

from wordtree.support.exports import lazy_exports

PACKAGES = ("wordtree", "data_prep", "yolo9000")


@pytest.mark.parametrize("package", PACKAGES)
def test_type_checkers_see_the_names_that_a_program_can_import(package):
    module = import_module(package)
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    (for_types,) = (node for node in tree.body if isinstance(node, ast.If))
    imports = {alias.asname: line.module for line in for_types.body for alias in line.names}
    assert sorted(imports) == module.__all__
    for name, home in imports.items():
        assert getattr(module, name) is getattr(import_module(home), name)


@pytest.mark.parametrize("package", PACKAGES)
def test_exported_names_are_listed_by_dir(package):
    module = import_module(package)
    assert set(module.__all__) <= set(dir(module))


def test_an_exported_name_is_loaded_once(monkeypatch):
    loaded = []
    monkeypatch.setattr(
        "wordtree.support.exports.import_module", lambda name: loaded.append(name) or import_module(name)
    )
    load, _, names = lazy_exports(__name__, {"math": ("tau",)})
    assert names == ["tau"]
    assert load("tau") == pytest.approx(6.283185)
    assert loaded == ["math"]
    assert sys.modules[__name__].tau == load("tau")
    del sys.modules[__name__].tau


@pytest.mark.parametrize("package", PACKAGES)
def test_an_unknown_name_is_an_attribute_error(package):
    with pytest.raises(AttributeError, match=f"module '{package}' has no attribute 'wordtrees'"):
        _ = import_module(package).wordtrees
