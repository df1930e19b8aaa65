"""The layout of docs/architecture.md as tests: who may import whom, and what an import costs."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from importlib import import_module
from pathlib import Path

import pytest

from wordtree.support.exports import folder_exports

ROOT = Path(__file__).parents[1]
PACKAGES = ("wordtree", "data_prep", "yolo9000")  # each may import those before it
FORBIDDEN = {"wordtree": {"torch", "torchvision", "h5py"}, "data_prep": {"torch", "torchvision"}}
BASE_ERRORS = {"wordtree": "WordTreeError", "data_prep": "DataPrepError", "yolo9000": "Yolo9000Error"}

# The folders and single files of each package, lowest first: a module imports its own folder and those before it.
FOLDERS = {
    "wordtree": (
        "errors",
        "support",
        "wordnet",
        "tree",
        "hierarchies",
        "building",
        "views",
        "cli",
        "__main__",
    ),
    "data_prep": (
        *("errors", "records", "config", "shards", "dataset", "anchors", "sources", "classes", "planning"),
        *("merging", "maintenance", "synthetic", "tables", "cli", "__main__"),
    ),
    "yolo9000": (
        *(
            "errors",
            "config",
            "distributed",
            "darknet",
            "data",
            "models",
            "losses",
            "checkpoints",
            "export",
            "engines",
            "inference",
            "predictions",
        ),
        *(
            "evaluation",
            "comparison",
            "reports",
            "training",
            "demo",
            "demo_photographs",
            "commands",
            "cli",
            "__main__",
        ),
    ),
}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_name(file: Path) -> str:
    """yolo9000/evaluation/scorecard.py → yolo9000.evaluation.scorecard; __init__.py is its folder."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(file: Path) -> Iterator[str]:
    """Every module that a file imports anywhere, those for type checking only left out."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            assert node.module is not None
            names = [f"{node.module}.{name.name}" for name in node.names]
            submodules = [
                name for name in names if (ROOT / Path(*name.split("."))).with_suffix(".py").exists()
            ]
            yield from submodules
            if len(submodules) < len(names):
                yield node.module


def folder_of(module: str) -> str:
    """The part of a package that a module belongs to: yolo9000.data.image → data, yolo9000.demo → demo."""
    return module.split(".")[1]


def imports_between_modules() -> dict[str, set[str]]:
    """The modules of the three packages that each module imports."""
    modules = {module_name(file): file for package in PACKAGES for file in sources(package)}
    return {module: {name for name in imported(file) if name in modules} for module, file in modules.items()}


# --- who imports whom


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_import_only_those_below_them(package):
    allowed = PACKAGES[: PACKAGES.index(package) + 1]
    files = sources(package)
    assert len(files) >= 5
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in files
        for name in imported(file)
        if name.split(".")[0] in PACKAGES and name.split(".")[0] not in allowed
    ]
    assert wrong == []


@pytest.mark.parametrize("package", FORBIDDEN)
def test_the_lower_packages_import_no_heavy_library(package):
    wrong = [
        f"{file.relative_to(ROOT)} imports {name}"
        for file in sources(package)
        for name in imported(file)
        if name.split(".")[0] in FORBIDDEN[package]
    ]
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_folders_import_only_those_before_them(package):
    order = FOLDERS[package]
    wrong = []
    for module, names in imports_between_modules().items():
        if module.split(".")[0] != package or module == package:
            continue
        for name in names:
            if name == package:
                wrong.append(f"{module} imports {package}, which is for users; import from the module itself")
            elif name.split(".")[0] == package and order.index(folder_of(name)) > order.index(
                folder_of(module)
            ):
                wrong.append(f"{module} imports {name}, which comes later in FOLDERS")
    assert wrong == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_has_a_place_in_the_order_and_one_line_on_what_it_is(package):
    found = {folder_of(module_name(file)) for file in sources(package) if module_name(file) != package}
    assert found == set(FOLDERS[package])
    for folder in (ROOT / package).rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(folder.read_text(encoding="utf-8"))), f"{folder} has no docstring"


def test_no_module_imports_itself_through_others():
    try:
        TopologicalSorter(imports_between_modules()).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle of imports: {' → '.join(error.args[1])}")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_tests_mirror_the_folders(package):
    folders = {
        file.parent.relative_to(ROOT / package) for file in sources(package) if file.stem != "__init__"
    }
    found = {
        file.parent.relative_to(ROOT / "tests" / package)
        for file in (ROOT / "tests" / package).rglob("test_*.py")
    }
    assert found <= folders


def test_the_tests_have_a_folder_for_each_package_golden_files_and_fuzzing():
    found = {folder.name for folder in (ROOT / "tests").iterdir() if (folder / "__init__.py").is_file()}
    assert found == {*PACKAGES, "golden", "fuzz"}


# --- what an import costs


def run_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("package", PACKAGES)
def test_importing_a_package_loads_no_heavy_library(package):
    heavy = ("torch", "torchvision", "h5py", "nltk", "pydantic", "PIL", "rich", "typer")
    loaded = f"import sys, {package}; print([name for name in {heavy} if name in sys.modules])"
    assert run_python(loaded) == "[]"


@pytest.mark.parametrize("package", PACKAGES)
def test_help_loads_no_heavy_library(package):
    code = (
        "import sys, runpy\n"
        f"sys.argv = ['{package}', '--help']\n"
        f"try: runpy.run_module('{package}', run_name='__main__')\n"
        "except SystemExit as done: assert not done.code\n"
        "print([name for name in ('torch', 'torchvision', 'h5py', 'nltk') if name in sys.modules])"
    )
    assert run_python(code).endswith("[]")


# --- names


def test_no_file_is_named_for_its_leftovers():
    leftovers = {"utils", "util", "helpers", "common", "misc"}
    assert [file for package in PACKAGES for file in sources(package) if file.stem in leftovers] == []


@pytest.mark.parametrize("package", PACKAGES)
def test_every_name_in_all_is_importable_even_after_every_submodule_was(package):
    code = (
        "import importlib, inspect, pkgutil, types\n"
        f"import {package} as package\n"
        "for found in pkgutil.walk_packages(package.__path__, package.__name__ + '.'):\n"
        "    if not found.name.endswith('__main__'):\n"
        "        importlib.import_module(found.name)\n"
        "values = {name: getattr(package, name) for name in package.__all__}\n"
        "print([name for name, value in values.items() if isinstance(value, types.ModuleType)])"
    )
    assert run_python(code) == "[]"


def test_each_folder_exports_the_names_that_other_folders_import_from_it():
    files = {module_name(file): file for package in PACKAGES for file in sources(package)}
    folders = {name for name, file in files.items() if file.stem == "__init__"} - {
        *PACKAGES,
        "data_prep.sources",
    }
    assert len(folders) >= 25
    for folder in folders:
        modules = {name for name in files if name.rpartition(".")[0] == folder} - {folder_exports.__module__}
        elsewhere = {
            name.name
            for importer, file in files.items()
            if importer not in modules | {folder}
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
            if isinstance(node, ast.ImportFrom) and node.module in modules
            for name in node.names
        }
        public = {name for name in elsewhere if not name.isupper() and f"{folder}.{name}" not in modules}
        exported = getattr(import_module(folder), "__all__", [])
        assert sorted(public - set(exported)) == [], folder
        for name in exported:
            getattr(import_module(folder), name)


@pytest.mark.parametrize("package", PACKAGES)
def test_errors_derive_from_the_base_of_their_package(package):
    base = getattr(import_module(package), BASE_ERRORS[package])
    strays = []
    for file in sources(package):
        if file.stem == "__main__":
            continue
        module = import_module(module_name(file))
        own = [
            value for value in vars(module).values() if getattr(value, "__module__", "") == module.__name__
        ]
        errors = [
            one
            for one in own
            if isinstance(one, type) and issubclass(one, Exception) and not issubclass(one, Warning)
        ]
        strays += [error.__qualname__ for error in errors if not issubclass(error, base)]
    assert strays == []


# --- what is shipped


def test_every_package_and_its_data_are_in_the_wheel():
    import tomllib

    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
    folders = {file.parent.relative_to(ROOT) for package in PACKAGES for file in sources(package)}
    assert {".".join(folder.parts) for folder in folders} == set(setuptools["packages"])
    for package in PACKAGES:
        assert "assets/*" in setuptools["package-data"][package]
        assert not [file for file in (ROOT / package / "assets").glob("*") if file.is_dir()]


def test_every_shipped_config_loads():
    from data_prep.config import MergeConfig
    from wordtree.support.config_files import load_config
    from yolo9000.config import read_config, read_pretrain_config

    kinds = ("merge", "pretrain", "train")
    merges, pretrainings, trainings = (sorted((ROOT / "configs" / kind).glob("*.yaml")) for kind in kinds)
    shipped = sorted((ROOT / "yolo9000" / "assets").glob("*.yaml"))
    for file in [*pretrainings, *(file for file in shipped if "classifier" in file.stem)]:
        read_pretrain_config(file)
    for file in merges:
        load_config(file, MergeConfig)
    for file in [*trainings, *(file for file in shipped if "classifier" not in file.stem)]:
        read_config(file)
    assert len(merges) >= 1
    assert len(pretrainings) >= 1
    assert len(trainings) >= 1
    for file in [*merges, *pretrainings, *trainings]:
        header = file.read_text(encoding="utf-8").split("\n\n")[0].lower()
        for message in ("command", "hardware", "time", "expect"):
            assert message in header, f"{file.name}: its header does not tell the {message}"


def test_no_committed_file_but_the_ci_script_names_the_shared_folder():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    needle = "../" + "shared"
    names = [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    assert len(names) >= 20
    found = {name for name in names if needle.encode() in (ROOT / name).read_bytes()}
    assert found <= {".ci/run"}


def test_one_module_names_part_files():
    home = ROOT / "wordtree" / "support" / "files.py"
    named = {
        file
        for package in PACKAGES
        for file in sources(package)
        if re.search(r"\.part\b[\"'`]", file.read_text())
    }
    assert named == {home}
