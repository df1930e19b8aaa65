"""Runs a harness over many inputs in forked workers, which may hang, crash or take too much memory."""

from __future__ import annotations

import faulthandler
import hashlib
import mmap
import os
import resource
import shutil
import signal
import struct
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.fuzz.harness import Fault, Harness, strict_warnings

MAX_SECONDS = 10.0  # of the processor, for one input
MAX_WAIT_SECONDS = 100.0  # also for an input that only waits, on a busy machine
MAX_BYTES = 1 << 30  # of memory for one worker, beyond what it has at its start
INPUTS_PER_WORKER = 20_000  # then it is replaced, so that nothing adds up
SAVED_PER_TROUBLE = 3
ROOT = Path(__file__).parents[2]
_STATE = struct.Struct(
    "<QQQdQQ"
)  # number of the input, inputs done, accepted, longest time, its number, findings


@dataclass
class Report:
    """The result of a campaign: inputs read, those accepted, the longest time for one in s, and files with troubles."""

    reader: str
    inputs: int = 0
    accepted: int = 0
    longest_s: float = 0.0
    longest: int = 0
    findings: list[Path] = field(default_factory=list)
    seconds: float = 0.0

    def __str__(self) -> str:
        rate = self.inputs / self.seconds if self.seconds else 0.0
        return (
            f"{self.reader:18} {self.inputs:9,} inputs, {self.accepted:9,} accepted, {rate:7,.0f} per s, "
            f"longest {self.longest_s:.2f} s (input {self.longest}), {len(self.findings)} findings"
        )


@dataclass(frozen=True)
class Campaign:
    """How a harness is run: the seed of its inputs, the first number, the last or the time, workers and findings."""

    seed: int = 0
    first: int = 0
    inputs: int | None = None
    seconds: float | None = None
    workers: int = 1
    findings: Path = Path("fuzz-findings")

    def run(self, harness: Harness) -> Report:
        """Read inputs until their number or the time is reached."""
        started = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="fuzz-", dir=_scratch()) as folder:
            prepared = Path(folder) / "prepared"
            prepared.mkdir()
            work = _Work(self, harness, prepared, list(harness.prepare(prepared)))
            report = work.run(started)
        report.seconds = time.monotonic() - started
        return report


def _scratch() -> str | None:
    """A folder in memory, where there is one."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


class _Work:
    """The workers of one campaign; worker k reads the inputs k, k + workers, k + 2 workers, …"""

    def __init__(self, campaign: Campaign, harness: Harness, prepared: Path, seeds: Sequence[bytes]) -> None:
        self._campaign, self._harness, self._prepared, self._seeds = campaign, harness, prepared, seeds
        self._state = mmap.mmap(-1, _STATE.size * campaign.workers)
        self._known: dict[str, int] = {}

    def run(self, started: float) -> Report:
        campaign, report = self._campaign, Report(self._harness.name)
        ends = None if campaign.seconds is None else started + campaign.seconds
        running = {
            self._fork(worker, campaign.first + worker, ends): worker for worker in range(campaign.workers)
        }
        while running:
            process, status = os.wait()
            worker = running.pop(process)
            number, done, accepted, longest_s, longest, _ = self._read(worker)
            report.inputs += done
            report.accepted += accepted
            if longest_s > report.longest_s:
                report.longest_s, report.longest = longest_s, longest
            if os.WIFSIGNALED(status) or os.WEXITSTATUS(status):
                self._save_death(worker, number, status)
                report.inputs += 1
            following = number + campaign.workers
            if self._goes_on(following, ends):
                running[self._fork(worker, following, ends)] = worker
        report.findings = sorted(campaign.findings.glob(f"{self._harness.name}-*.bin"))
        return report

    def _goes_on(self, number: int, ends: float | None) -> bool:
        inputs = self._campaign.inputs
        is_left = inputs is None or number < self._campaign.first + inputs
        return is_left and (ends is None or time.monotonic() < ends)

    def _fork(self, worker: int, first: int, ends: float | None) -> int:
        self._write(worker, first, 0, 0, 0.0, 0, 0)
        process = os.fork()
        if process:
            return process
        code = 1
        try:
            with strict_warnings():
                self._work(worker, first, ends)
            code = 0
        except BaseException:
            (self._prepared.parent / f"death-{worker}").write_text(traceback.format_exc())
        finally:
            os._exit(code)

    def _work(self, worker: int, first: int, ends: float | None) -> None:
        folder = Path(tempfile.mkdtemp(prefix="worker-", dir=self._prepared.parent))
        shutil.copytree(self._prepared, folder, dirs_exist_ok=True)
        log = (folder.parent / f"death-{worker}").open("w")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # libtiff prints what it finds
        faulthandler.enable(log)
        for number in (signal.SIGPROF, signal.SIGALRM):
            faulthandler.register(number, log, chain=True)  # the default then ends the process
        limit = _memory_bytes() + MAX_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        done = accepted = longest = 0
        longest_s = 0.0
        last = first + INPUTS_PER_WORKER * self._campaign.workers
        for done, number in enumerate(range(first, last, self._campaign.workers)):
            if not self._goes_on(number, ends):
                break
            data = self._harness.input(self._seeds, self._campaign.seed, number)
            self._write(worker, number, done, accepted, longest_s, longest, 0)
            _set_alarms(MAX_SECONDS, MAX_WAIT_SECONDS)
            began = time.monotonic()
            try:
                accepted += self._harness.check(folder, data)
            except Exception as trouble:
                _set_alarms(0, 0)
                self._save_trouble(data, trouble, number)
            _set_alarms(0, 0)
            if (took := time.monotonic() - began) > longest_s:
                longest_s, longest = took, number
            self._write(worker, number, done + 1, accepted, longest_s, longest, 0)
        shutil.rmtree(folder, ignore_errors=True)

    def _save_trouble(self, data: bytes, trouble: Exception, number: int) -> None:
        cause = trouble.__context__ if isinstance(trouble, Fault) and trouble.__context__ else trouble
        frames = [frame for frame in traceback.extract_tb(cause.__traceback__) if str(ROOT) in frame.filename]
        place = f"{Path(frames[-1].filename).relative_to(ROOT)}:{frames[-1].lineno}" if frames else "?"
        signature = f"{type(trouble).__name__} {place}"
        self._save(data, signature, "".join(traceback.format_exception(trouble)), number)

    def _save_death(self, worker: int, number: int, status: int) -> None:
        code = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        reason = (
            f"no answer in {MAX_SECONDS:g} s"
            if code in (signal.SIGPROF, signal.SIGALRM)
            else f"ended by signal {code}"
        )
        log = (self._prepared.parent / f"death-{worker}").read_text(errors="replace")
        lines = [line for line in log.splitlines() if str(ROOT) in line]
        data = self._harness.input(self._seeds, self._campaign.seed, number)
        self._save(data, f"{reason} {lines[0].strip() if lines else ''}", f"{reason}\n{log}", number)

    def _save(self, data: bytes, signature: str, text: str, number: int) -> None:
        """Keep the input and its trouble, at most three of one kind."""
        folder, name = self._campaign.findings, self._harness.name
        folder.mkdir(parents=True, exist_ok=True)
        kind = hashlib.sha256(signature.encode()).hexdigest()[:8]
        if len(list(folder.glob(f"{name}-{kind}-*.bin"))) >= SAVED_PER_TROUBLE:
            return
        path = folder / f"{name}-{kind}-{hashlib.sha256(data).hexdigest()[:8]}.bin"
        path.write_bytes(data)
        repeat = f"python -m tests.fuzz --input {path}"
        path.with_suffix(".txt").write_text(
            f"{signature}\ninput {number} of seed {self._campaign.seed}\nrepeat: {repeat}\n\n{text}",
            encoding="utf-8",
            errors="backslashreplace",
        )

    def _read(self, worker: int) -> tuple[int, int, int, float, int, int]:
        return _STATE.unpack_from(self._state, worker * _STATE.size)

    def _write(self, worker: int, *values: float) -> None:
        _STATE.pack_into(self._state, worker * _STATE.size, *values)


def _set_alarms(seconds: float, wait_seconds: float) -> None:
    """End the process after so much time of the processor, or so much time at all; 0: never."""
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, wait_seconds)


def _memory_bytes() -> int:
    """The address space of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return pages * resource.getpagesize()
