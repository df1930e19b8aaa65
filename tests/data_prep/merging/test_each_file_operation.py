"""Relabel and repair, interrupted at each file operation in turn: the process is killed, or the disk is full.

The folder then holds the old state or the new one, never a broken one. The same command afterwards ends as it would
have without the interruption.
"""

import errno
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep import DataPrepError, ShardReader
from data_prep.dataset.index_file import BACKUP_NAME, read_index
from data_prep.maintenance.check import check_shards
from data_prep.maintenance.relabel import relabel, write_relabelled
from data_prep.maintenance.relabel_settings import change_of
from data_prep.maintenance.repair import repair

# Functions in C that change files, or open one to change it; most operations of HDF5 are writes.
STEPS = frozenset({"open", "truncate", "flush", "fsync", "sendfile", "replace", "unlink", "flock", "pwrite"})
ALL = STEPS | {"write", "close"}
FULL, KILLED = "full", "killed"
# Exit codes: the action had fewer operations; it ended with one line; it finished in spite of the failure.
FINISHED, REFUSED, PASSED_OVER = (0, 3, 4)


class AtOperation:
    """A profile function that kills the process, or fails the operation, at the n-th change of a file."""

    def __init__(self, number: int, changes: frozenset[str], how: str, folder: Path) -> None:
        self.left, self.changes, self.how, self.folder = number, changes, how, folder

    def __call__(self, frame, event, function):
        if event != "c_call" or getattr(function, "__name__", "") not in self.changes:
            return
        self.left -= 1
        if self.left == 0:
            if self.how == KILLED:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(self.folder))


def ended_at(hook: AtOperation, action: Callable[[Path], object]) -> int:
    """The exit code of a process that runs the action with the hook."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            sys.setprofile(hook)
            action(hook.folder)
            code = FINISHED if hook.left > 0 else PASSED_OVER
        except (DataPrepError, OSError):
            code = REFUSED
        except BaseException:
            traceback.print_exc()
        finally:
            sys.setprofile(None)
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def relabel_without_cats(folder: Path) -> None:
    index = read_index(folder)
    write_relabelled(folder, relabel(folder, index, change_of(index, ["sources.coco.classes.drop=[cat]"])))


def repair_damages(folder: Path) -> None:
    report = check_shards(folder, read_index(folder))
    if report.damages:
        repair(report)


def damage(folder: Path) -> None:
    shard = read_index(folder).shards[1]
    with (folder / shard.name).open("r+b") as file:
        file.seek(shard.bytes_start + 100)
        file.write(b"damaged")


@pytest.mark.parametrize("changes", [STEPS, pytest.param(ALL, marks=pytest.mark.slow)], ids=["steps", "all"])
@pytest.mark.parametrize("how", [FULL, KILLED])
@pytest.mark.parametrize(
    ("prepare", "action"),
    [
        pytest.param(lambda _: None, relabel_without_cats, id="relabel"),
        pytest.param(damage, repair_damages, id="repair"),
    ],
)
def test_an_interruption_anywhere_leaves_the_old_or_the_new_index(
    shards, tmp_path, prepare, action, how, changes
):
    prepare(shards)
    before = contents(shards)
    whole = shutil.copytree(shards, tmp_path / "whole")
    action(whole)
    after = contents(whole)
    assert before["index.h5"] != after["index.h5"]
    out, number, states, ends = tmp_path / "out", 0, [before], set()
    shutil.copytree(shards, out)
    while FINISHED not in ends:
        number += 1
        ends.add(ended_at(AtOperation(number, changes, how, out), action))
        left = contents(out)
        state = {name: data for name, data in left.items() if not name.endswith((".part", ".lock"))}
        if state not in states:
            states.append(state)
            for name, data in before.items():
                assert state[name] in (data, after[name]), (number, name)
            assert state.get(BACKUP_NAME, before["index.h5"]) == before["index.h5"], number
            assert len(ShardReader(out)) > 0
            action(out)
            again = contents(out)
            assert {name: again[name] for name in before} == {name: after[name] for name in before}, number
        for name in {*contents(out), *before}:
            if name in before:
                (out / name).write_bytes(before[name])
            else:
                (out / name).unlink()
    assert number > (15 if changes == STEPS else 60)
    assert len(states) > 2
    if how == KILLED:
        assert ends == {FINISHED, -signal.SIGKILL}
    else:  # a failed `close` is passed over, a failed step never
        assert ends == {FINISHED, REFUSED} | ({PASSED_OVER} if changes == ALL else set())
