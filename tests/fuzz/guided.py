"""Fuzzing guided by coverage: Atheris keeps the inputs that reach new code, and mutates them further."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from tests.fuzz import mutations
from tests.fuzz.campaign import MAX_SECONDS
from tests.fuzz.harness import Harness, strict_warnings

MAX_MEMORY_MB = 4096  # of the whole process, which has loaded torch
PACKAGES = ["wordtree", "data_prep", "yolo9000"]


@contextmanager
def instrumented(wanted: bool) -> Iterator[None]:
    """Instrument our packages while they are imported; exit code 2 without Atheris."""
    if not wanted:
        yield
        return
    try:
        import atheris
    except ImportError:
        print("--atheris needs the package atheris: pip install atheris", file=sys.stderr)
        sys.exit(2)
    with atheris.instrument_imports(include=PACKAGES):
        yield


def run_guided(harness: Harness, minutes: float, findings: Path) -> int:
    """Fuzz a reader until the first trouble; libFuzzer saves the input into `findings`, and ends the process."""
    import atheris

    folder = Path(TemporaryDirectory(prefix="fuzz-").name)
    corpus, work = folder / "corpus", folder / "work"
    for made in (corpus, work, findings):
        made.mkdir(parents=True, exist_ok=True)
    seeds = list(harness.prepare(work))
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)

    def read(data: bytes) -> None:
        with strict_warnings():
            harness.check(
                work, harness.repair(data) if harness.repair is not None and len(data) % 4 else data
            )

    options = [
        *(
            f"-max_total_time={round(60 * minutes)}",
            f"-timeout={round(MAX_SECONDS)}",
            f"-rss_limit_mb={MAX_MEMORY_MB}",
        ),
        *(f"-artifact_prefix={findings}/{harness.name}-guided-", "-max_len=262144", str(corpus)),
    ]
    atheris.Setup([sys.argv[0], *options], read, custom_mutator=_mutator(harness, seeds, atheris))
    atheris.Fuzz()
    return 0


def _mutator(harness: Harness, seeds: list[bytes], atheris: object):  # type: ignore[no-untyped-def]
    """Half of the mutations are libFuzzer's, and half those of the harness."""

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        rng = Random(seed)
        if rng.random() < 0.5:
            return bytes(atheris.Mutate(data, max_size))  # type: ignore[attr-defined]
        return mutations.mutated(rng, [data, *seeds], harness.mutators, harness.tokens)[:max_size]

    return mutate
