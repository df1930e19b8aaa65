"""Fuzz the readers: `python -m tests.fuzz --minutes N [--reader NAME …] [--seed S]`; CONTRIBUTING.md explains it."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.campaign import Campaign
from tests.fuzz.guided import instrumented, run_guided
from tests.fuzz.harness import Harness, strict_warnings


def main() -> int:
    with instrumented("--atheris" in sys.argv):
        from tests.fuzz.readers import HARNESSES
    options = _options(list(HARNESSES))
    names = options.reader or list(HARNESSES)
    if options.input is not None:
        return _repeat(
            options.input, HARNESSES[options.reader[0] if options.reader else _reader_of(options.input)]
        )
    if options.atheris:
        return run_guided(HARNESSES[names[0]], options.minutes, options.findings)
    seconds = None if options.inputs is not None else 60 * options.minutes / len(names)
    total = troubles = 0
    for name in names:
        campaign = Campaign(
            options.seed, options.first, options.inputs, seconds, options.workers, options.findings
        )
        report = campaign.run(HARNESSES[name])
        print(report, flush=True)
        total += report.inputs
        troubles += len(report.findings)
    print(f"{total:,} inputs, {troubles} findings" + (f" in {options.findings}" if troubles else ""))
    return 1 if troubles else 0


def _options(readers: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for all readers together (10)")
    parser.add_argument("--inputs", type=int, help="for each reader, instead of a time")
    parser.add_argument(
        "--reader",
        action="append",
        choices=readers,
        metavar="NAME",
        help="only this one; may be repeated",
    )
    parser.add_argument("--seed", type=int, default=0, help="of all inputs (0)")
    parser.add_argument("--first", type=int, default=0, help="number of the first input (0)")
    parser.add_argument("--workers", type=int, default=1, help="processes (1)")
    parser.add_argument(
        "--findings", type=Path, default=Path("fuzz-findings"), help="folder for inputs that cause trouble"
    )
    parser.add_argument("--input", type=Path, help="read one saved input, and nothing else")
    parser.add_argument(
        "--atheris", action="store_true", help="guided by coverage, one reader; needs the package atheris"
    )
    return parser.parse_args()


def _reader_of(path: Path) -> str:
    """The reader in the name of a saved input: READER-KIND-INPUT.bin."""
    return path.stem.rsplit("-", 2)[0]


def _repeat(path: Path, harness: Harness) -> int:
    """Read one saved input; its trouble ends in a traceback."""
    with tempfile.TemporaryDirectory() as folder, strict_warnings():
        harness.prepare(Path(folder))
        began = time.monotonic()
        accepted = harness.check(Path(folder), path.read_bytes())
        print(
            f"{harness.name}: {'accepted' if accepted else 'refused in one line'} in {time.monotonic() - began:.2f} s"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
