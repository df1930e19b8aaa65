"""The layout of docs/architecture.md as tests: who may import whom, and what an import costs."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("wordtree", "data_prep", "yolo9000")  # each may import those before it
FORBIDDEN = {"wordtree": {"torch", "torchvision", "h5py"}, "data_prep": {"torch", "torchvision"}}
BASE_ERRORS = {"wordtree": "WordTreeError", "data_prep": "DataPrepError", "yolo9000": "Yolo9000Error"}

# Of yolo9000: a module imports lower levels only. The modules of scorecard/ and of darknet/ count as one.
LEVELS = {
    0: ("", "config", "boxes", "batch", "image", "sealed_zip", "distributed"),
    1: (
        "damage",
        "progress",
        "hierarchy",
        "balance",
        "backbone",
        "grid",
        "augment",
        "schedule",
        "optim",
        "scorecard",
        "run_folder",
        "non_exclusive",
        "batch_norm",
    ),
    2: ("sampler", "head", "targets", "vouching", "weak_labels", "detections", "crop", "board", "darknet"),
    3: ("model", "classifier", "loss", "prefetch", "gradients", "charts"),
    4: ("checkpoint", "data", "classifier_data", "postprocess", "draw", "page"),
    5: (
        "predict",
        "report_classes",
        "run",
        "start_from",
        "classifier_score",
        "darknet_import",
        "darknet_export",
        "darknet_results",
    ),
    6: ("evaluate", "journal", "pseudo_boxes", "report", "classifier_report", "class_pictures"),
    7: ("validation", "run_report"),
    8: ("train", "pretrain"),
    9: ("demo", "dry_run", "show_targets"),
    10: ("cli",),
    11: ("__main__",),
}
LEVEL_OF = {name: level for level, names in LEVELS.items() for name in names}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def module_name(file: Path) -> str:
    """yolo9000/scorecard/card.py → yolo9000.scorecard.card; __init__.py is its folder."""
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
            yield node.module
            submodules = (f"{node.module}.{name.name}" for name in node.names)
            yield from (
                name for name in submodules if (ROOT / Path(*name.split("."))).with_suffix(".py").exists()
            )


def level_of(module: str) -> int:
    """The level of a module of yolo9000; the error names a file that has none yet."""
    _, _, rest = module.partition(".")
    part = rest.split(".")[0]
    assert part in LEVEL_OF, (
        f"{module} has no level; give it one in tests/test_layout.py and docs/architecture.md"
    )
    return LEVEL_OF[part]


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


def test_modules_of_yolo9000_import_lower_levels_only():
    wrong = []
    for file in sources("yolo9000"):
        module = module_name(file)
        for name in imported(file):
            if name.split(".")[0] != "yolo9000" or name == "yolo9000":
                continue
            same_part = name.split(".")[1:2] == module.split(".")[1:2]
            if not same_part and level_of(name) >= level_of(module):
                wrong.append(f"{module} (level {level_of(module)}) imports {name} (level {level_of(name)})")
    assert wrong == []


def test_every_file_of_yolo9000_has_a_level():
    for file in sources("yolo9000"):
        level_of(module_name(file))


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
        assert "data/*" in setuptools["package-data"][package]
        assert not [file for file in (ROOT / package / "data").glob("*") if file.is_dir()]


def test_every_shipped_config_loads():
    from data_prep.config import MergeConfig, load_config
    from yolo9000.config import read_config, read_pretrain_config

    kinds = ("merge", "pretrain", "train")
    merges, pretrainings, trainings = (sorted((ROOT / "configs" / kind).glob("*.yaml")) for kind in kinds)
    shipped = sorted((ROOT / "yolo9000" / "data").glob("*.yaml"))
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
        for told in ("command", "hardware", "time", "expect"):
            assert told in header, f"{file.name}: its header does not tell the {told}"


def test_no_committed_file_but_the_ci_script_names_the_shared_folder():
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout")
    needle = "../" + "shared"
    names = [name for name in listed.stdout.decode().split("\0") if name and (ROOT / name).is_file()]
    assert len(names) >= 20
    found = {name for name in names if needle.encode() in (ROOT / name).read_bytes()}
    assert found <= {".ci/run"}
