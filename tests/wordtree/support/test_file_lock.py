import errno
import os
import signal
import subprocess
import sys

import pytest

from wordtree.support.file_lock import locked


class HeldError(Exception):
    pass


def lock(folder):
    return locked(folder, name="run.lock", error=HeldError)


def hold_and_run(folder, code):
    """Run code in another process while it holds the lock."""
    program = (
        "import os, sys; from pathlib import Path; from wordtree.support.file_lock import locked\n"
        f"with locked(Path(sys.argv[1]), name='run.lock', error=ValueError):\n    {code}\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, folder], stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True
    )


def test_a_held_lock_is_refused_with_its_process_and_the_file_disappears(tmp_path):
    with lock(tmp_path):
        message = rf"{tmp_path}: process {os.getpid()} on .* is writing into this folder\. Wait until"
        with pytest.raises(HeldError, match=message), lock(tmp_path):
            pass
        assert [path.name for path in tmp_path.iterdir()] == ["run.lock"]
    assert list(tmp_path.iterdir()) == []
    with lock(tmp_path):
        pass


def test_a_lock_of_another_process_is_refused_until_it_ends(tmp_path):
    with hold_and_run(tmp_path, "print('held', flush=True); input()") as other:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(HeldError, match=f"process {other.pid} on "), lock(tmp_path):
            pass
        other.stdin.write("\n")
    with lock(tmp_path):
        pass


def test_a_lock_ends_with_a_killed_process(tmp_path):
    with hold_and_run(tmp_path, "os.kill(os.getpid(), 9)") as other:
        assert other.wait() == -signal.SIGKILL
    assert (tmp_path / "run.lock").exists()
    with lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_an_error_inside_frees_the_lock(tmp_path):
    with pytest.raises(KeyError), lock(tmp_path):
        raise KeyError
    with lock(tmp_path):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_locks_nobody_out(tmp_path, monkeypatch, number):
    def refuse(*_):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refuse)
    with lock(tmp_path), lock(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
