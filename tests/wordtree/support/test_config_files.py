"""The loader of configurations: paths, overrides, errors, and former names of settings."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field

from wordtree.errors import ConfigError
from wordtree.support.config_files import (
    ConfigLocation,
    ConfigPath,
    StrictModel,
    apply_overrides,
    load_config,
    validate,
)


class Mosaic(StrictModel):
    old_names: ClassVar[Mapping[str, str]] = {"cuts": "crops"}
    crops: int = 4
    seed: int = 0


class Folder(StrictModel):
    old_names: ClassVar[Mapping[str, str]] = {"vouches": "exhaustive"}
    format: Literal["folder"]
    name: str
    images: ConfigPath
    exhaustive: tuple[str, ...] = ()


class Table(StrictModel):
    old_names: ClassVar[Mapping[str, str]] = {"file": "table"}
    format: Literal["table"]
    name: str
    table: ConfigLocation


class Settings(StrictModel):
    old_names: ClassVar[Mapping[str, str]] = {"balance": "power", "scenes": "mosaic"}
    old_values: ClassVar[Mapping[str, Mapping[str, str]]] = {"backbone": {"small": "tiny"}}
    sources: tuple[Annotated[Folder | Table, Field(discriminator="format")], ...] = ()
    mosaic: Mosaic = Mosaic()
    power: float = 0.0
    backbone: Literal["tiny", "darknet19"] = "tiny"
    weights: ConfigPath | None = None


SOURCES = (
    "sources: [{format: folder, name: pets, images: pets}, {format: table, name: cars, table: s3://cars}]\n"
)


# Thirty lists, each with the one before it twice.
BILLIONS = "&x0 [l], " + ", ".join(f"&x{n} [*x{n - 1}, *x{n - 1}]" for n in range(1, 30))


def written(folder: Path, text: str) -> Path:
    path = folder / "settings.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def load(folder: Path, text: str, *overrides: str) -> Settings:
    """The settings; a warning fails the test."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return load_config(written(folder, text), Settings, overrides)


def load_warned(folder: Path, text: str, *overrides: str) -> tuple[Settings, str]:
    """The settings and the one warning."""
    with pytest.warns(FutureWarning) as caught:
        settings = load_config(written(folder, text), Settings, overrides)
    (warning,) = caught
    assert warning.filename == __file__
    return settings, str(warning.message)


def problem(folder: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(folder, text, *overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


# --- files and overrides


def test_an_empty_file_gives_the_defaults(tmp_path: Path) -> None:
    assert load(tmp_path, "") == Settings()


def test_paths_in_a_file_are_relative_to_it_and_in_overrides_to_the_working_directory(tmp_path: Path) -> None:
    settings = load(tmp_path, f"{SOURCES}weights: a.pt\n", "sources.pets.images=elsewhere")
    assert settings.weights == tmp_path / "a.pt"
    assert settings.sources[0].images == Path("elsewhere")
    assert settings.sources[1].table == "s3://cars"
    assert load(tmp_path, f"weights: {Path.home()}\n").weights == Path.home()
    assert load(tmp_path, "weights: ~\n", "weights='~/a.pt'").weights == Path.home() / "a.pt"


@pytest.mark.parametrize("entry", ["0", "pets"])
def test_an_override_selects_an_entry_of_a_list_by_number_or_by_name(tmp_path: Path, entry: str) -> None:
    settings = load(tmp_path, SOURCES, f"sources.{entry}.exhaustive=[cat]", "power=0.5")
    assert (settings.sources[0].exhaustive, settings.power) == (("cat",), 0.5)
    replaced = load(tmp_path, SOURCES, f"sources.{entry}={{format: table, name: dogs, table: a.csv}}")
    assert [source.name for source in replaced.sources] == ["dogs", "cars"]


def test_an_override_creates_the_sections_that_the_file_lacks(tmp_path: Path) -> None:
    assert load(tmp_path, "", "mosaic.crops=9").mosaic == Mosaic(crops=9)


def test_overrides_leave_the_given_settings_as_they_are() -> None:
    given = {"mosaic": {"crops": 4}}
    assert apply_overrides(given, ["mosaic.crops=9"]) == {"mosaic": {"crops": 9}}
    assert given == {"mosaic": {"crops": 4}}


def test_all_problems_are_reported_at_once_with_a_suggestion_for_a_misspelt_key(tmp_path: Path) -> None:
    source = "{format: folder, name: pets, images: 3, exhaustve: [cat]}"
    message = problem(tmp_path, f"sources: [{source}]\nbackbone: vgg\nmosaic: 3\nwights: a\npower: much\n")
    for part in (
        "settings.yaml: 6 problems: ",
        "sources.0.images: expected a path, found 3",
        "unknown key 'sources.0.exhaustve' (did you mean 'exhaustive'?)",
        "backbone: expected 'tiny' or 'darknet19', found 'vgg'",
        "mosaic: expected `key: value` lines, found 3",
        "unknown key 'wights' (did you mean 'weights'?)",
        "power: expected a number, found 'much'",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: [", "line 1: not YAML", id="not YAML"),
        pytest.param("- a", "expected `key: value` lines, found a list", id="a list"),
        pytest.param("power: 1\npower: 2", "line 2: not YAML: the key 'power' occurs twice", id="a key twice"),
        pytest.param("power: 2001-99-99", "expected a number, found '2001-99-99'", id="an impossible date"),
        pytest.param(f"power: {'9' * 5000}", "not YAML: a whole number of more than 64 bits", id="a huge number"),
        pytest.param(f"power: 0x{'f' * 5000}", "not YAML: a whole number of more", id="a huge hexadecimal number"),
        pytest.param(f"power: {'1:' * 900}1.5", "not YAML: a number of more than 200", id="a huge number to base 60"),
        pytest.param('power: !!int ""', "line 1: not YAML: the tag '!!int' does not fit", id="no number"),
        pytest.param("power: !!map [a]", "line 1: not YAML: the tag '!!map' does not fit", id="a list as a mapping"),
        pytest.param('weights: "a\\0b"', "not YAML: a text with NUL", id="NUL"),
        pytest.param('weights: "\\ud800"', "not YAML: a text with NUL or with half", id="half a surrogate pair"),
        pytest.param("weights: ~nobody-here/a.pt", "there is no user 'nobody-here' (~nobody-here/a.pt)", id="~"),
        pytest.param(f"power: [{BILLIONS}]", "not YAML: aliases (*) that stand for more than", id="aliases"),
        pytest.param(f"<<: [{BILLIONS}]", "not YAML: aliases (*) that stand for more", id="merged aliases"),
        pytest.param("power: &a [*a]", "not YAML: nested too deeply, or an anchor (&)", id="a list in itself"),
        pytest.param(f"power: [&a {'[' * 30}{']' * 30}, {'[' * 30}*a{']' * 30}]", "nested too deeply", id="deep alias"),
        pytest.param(f"{'k' * 999}: 1", "unknown key 'kkkkkkkkkkkkkkkkkk", id="a long key"),
        pytest.param("sources: [" + "3, " * 500 + "3]", "501 problems: sources.0: ", id="many problems"),
        pytest.param("[" * 100_000, "not YAML: nested too deeply", id="deep nesting"),
        pytest.param("sources: &a {power: *a}", "nested too deeply, or an anchor", id="an anchor in itself"),
        pytest.param("sources: [{name: a}]", "sources.0.format is missing", id="no format"),
        pytest.param("sources: [{format: csv}]", "sources.0.format: expected 'folder', 'table'", id="no such format"),
        pytest.param("sources: [{format: folder, name: a}]", "sources.0.images is missing", id="no images"),
    ],
)  # fmt: skip
def test_a_malformed_file_is_refused_in_one_line(tmp_path: Path, text: str, expected: str) -> None:
    message = problem(tmp_path, text)
    assert expected in message
    assert len(message) < 5000


def test_a_long_text_behind_aliases_is_cut_before_it_is_written_out(tmp_path: Path) -> None:
    text = f"power: [&a {'x' * 1_000_000}{', *a' * 100_000}]"  # 100 GB
    message = problem(tmp_path, text)
    assert "power: expected a valid number, found ['xxx" in message
    assert len(message) < 500


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match=r"found a file of more than 16 MiB"):
        load_config(path, Settings)


@pytest.mark.parametrize("number", [".nan", ".inf", "-.inf"])
def test_a_number_that_is_not_finite_is_refused(tmp_path: Path, number: str) -> None:
    assert "power: expected a finite number" in problem(tmp_path, f"power: {number}\n")
    assert "power: expected a finite number" in problem(tmp_path, "", f"power={number}")


def test_aliases_and_dates_keep_their_meaning(tmp_path: Path) -> None:
    text = "sources: [&a {format: folder, name: 2001-01-01, images: p}, {<<: *a, name: b}]\n"
    assert [source.name for source in load(tmp_path, text).sources] == ["2001-01-01", "b"]


def test_a_file_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_bytes(b"backbone: L\xf6we\n")
    with pytest.raises(ConfigError, match=r"settings\.yaml: not YAML: the file is not UTF-8 text"):
        load_config(path, Settings)


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        pytest.param(
            "power=" + "[" * 10_000,
            "--set power: the value is not YAML: nested too deeply",
            id="deep nesting",
        ),
        pytest.param(
            "power=2001-99-99", "power: expected a number, found '2001-99-99'", id="an impossible date"
        ),
        pytest.param("power=" + "9" * 5000, "--set power: the value is not YAML: a whole number", id="huge"),
        pytest.param(
            "power=&a [*a]", "--set power: the value is not YAML: nested too deeply", id="in itself"
        ),
        pytest.param("x" * 9999, "expected KEY=VALUE", id="long"),
        pytest.param("a" + ".a" * 5000 + "=1", "expected at most 50 names between dots", id="a deep key"),
        pytest.param("weights=~nobody-here/a", "weights: there is no user 'nobody-here'", id="~"),
        pytest.param("power", "expected KEY=VALUE", id="no value"),
        pytest.param("=1", "expected KEY=VALUE", id="no key"),
        pytest.param("power=[", "the value is not YAML", id="not YAML"),
        pytest.param("sources.pet.images=x", "no entry 'pet' (did you mean 'pets'?)", id="no such name"),
        pytest.param(
            "sources.2.images=x", "no entry '2'; there are 0 to 1 or by name: pets, cars", id="no such number"
        ),
        pytest.param("sources.0.images.x=1", "expected a path", id="below a path"),
        pytest.param("power=much", "power: expected a number, found 'much'", id="wrong type"),
    ],
)
def test_a_wrong_override_is_refused_in_one_line(tmp_path: Path, override: str, expected: str) -> None:
    message = problem(tmp_path, SOURCES, override)
    assert expected in message
    assert len(message) < 500


def test_a_missing_file_raises_the_error_that_the_caller_wants(tmp_path: Path) -> None:
    class OwnError(Exception):
        pass

    with pytest.raises(OwnError, match=r"nowhere\.yaml: cannot read this configuration"):
        load_config(tmp_path / "nowhere.yaml", Settings, error=OwnError)


# --- former names


def test_a_former_name_in_a_file_works_with_a_warning(tmp_path: Path) -> None:
    settings, warning = load_warned(tmp_path, "balance: 0.5\n")
    assert settings == Settings(power=0.5)
    assert warning == f"{tmp_path / 'settings.yaml'}: settings with former names: balance is now power."


def test_a_former_name_of_a_section_and_in_a_section_works(tmp_path: Path) -> None:
    settings, warning = load_warned(tmp_path, "scenes: {cuts: 9}\n")
    assert settings.mosaic == Mosaic(crops=9)
    assert "scenes is now mosaic" in warning
    assert "cuts is now crops" in warning


def test_a_former_name_in_an_entry_of_a_list_works(tmp_path: Path) -> None:
    text = "sources: [{format: folder, name: pets, images: p, vouches: [cat]}, {format: table, name: t, file: t.csv}]\n"
    settings, warning = load_warned(tmp_path, text)
    assert settings.sources[0].exhaustive == ("cat",)
    assert settings.sources[1].table == tmp_path / "t.csv"
    assert "vouches is now exhaustive, file is now table" in warning


def test_a_former_value_works(tmp_path: Path) -> None:
    settings, warning = load_warned(tmp_path, "backbone: small\n")
    assert settings.backbone == "tiny"
    assert warning.endswith("settings with former names: backbone: small is now backbone: tiny.")
    assert load_warned(tmp_path, "", "backbone=small")[0].backbone == "tiny"


def test_many_former_names_give_one_warning(tmp_path: Path) -> None:
    text = "balance: 1\nmosaic: {cuts: 2}\nbackbone: small\n"
    _, warning = load_warned(tmp_path, text, "balance=0.5", "mosaic.cuts=3")
    assert warning.count(" is now ") == 3


def test_both_names_in_a_file_are_refused(tmp_path: Path) -> None:
    message = problem(tmp_path, "balance: 1\npower: 1\n")
    assert message.endswith(
        "settings.yaml: balance is the former name of power, which is set too; remove balance."
    )
    assert "cuts is the former name of crops" in problem(tmp_path, "mosaic: {crops: 1, cuts: 1}\n")


@pytest.mark.parametrize("text", ["", "power: 1\n", "balance: 1\n"])
def test_an_override_by_a_former_name_wins_over_the_file(tmp_path: Path, text: str) -> None:
    settings, warning = load_warned(tmp_path, text, "balance=0.5")
    assert settings.power == 0.5
    assert "balance is now power" in warning


def test_an_override_by_the_present_name_wins_over_a_former_name_in_the_file(tmp_path: Path) -> None:
    assert load_warned(tmp_path, "balance: 1\n", "power=0.5")[0].power == 0.5


def test_the_last_override_wins_whichever_name_it_uses(tmp_path: Path) -> None:
    assert load_warned(tmp_path, "", "balance=0.5", "power=0.25")[0].power == 0.25
    assert load_warned(tmp_path, "", "power=0.25", "balance=0.5")[0].power == 0.5


def test_an_override_below_a_former_name_of_a_section_keeps_the_rest_of_the_section(tmp_path: Path) -> None:
    settings, _ = load_warned(tmp_path, "mosaic: {seed: 7, crops: 1}\n", "scenes.cuts=9")
    assert settings.mosaic == Mosaic(crops=9, seed=7)


def test_an_override_by_a_former_name_reaches_an_entry_of_a_list(tmp_path: Path) -> None:
    for entry in ("0", "pets"):
        settings, _ = load_warned(tmp_path, SOURCES, f"sources.{entry}.vouches=[cat]")
        assert settings.sources[0].exhaustive == ("cat",)


def test_a_section_given_by_an_override_may_use_former_names(tmp_path: Path) -> None:
    assert load_warned(tmp_path, "", "mosaic={cuts: 9}")[0].mosaic == Mosaic(crops=9)
    with pytest.raises(ConfigError, match="--set: cuts is the former name of crops, which is set too"):
        load_config(written(tmp_path, ""), Settings, ["mosaic={cuts: 9, crops: 1}"])


def test_the_name_of_an_entry_is_not_taken_for_a_former_name(tmp_path: Path) -> None:
    text = "sources: [{format: folder, name: balance, images: a}]\n"
    assert load(tmp_path, text, "sources.balance.images=b").sources[0].images == Path("b")


def test_a_key_of_another_section_is_not_taken_for_a_former_name(tmp_path: Path) -> None:
    assert "unknown key 'mosaic.balance'" in problem(tmp_path, "mosaic: {balance: 1}\n")


@pytest.mark.filterwarnings("error")
def test_stored_settings_with_former_names_are_read_without_a_warning() -> None:
    stored: dict[str, Any] = {"balance": 0.5, "scenes": {"cuts": 9}, "backbone": "small"}
    assert validate(stored, Settings, where="a checkpoint") == Settings(power=0.5, mosaic=Mosaic(crops=9))
    with pytest.raises(ConfigError, match=r"a checkpoint: mosaic\.crops: expected a whole number, found 'x'"):
        validate({"scenes": {"cuts": "x"}}, Settings, where="a checkpoint")


def test_overrides_of_stored_settings_warn_of_former_names() -> None:
    with pytest.warns(FutureWarning, match="^--set: settings with former names: balance is now power"):
        assert apply_overrides({"power": 1.0}, ["balance=0.5"], model=Settings) == {"power": 0.5}
