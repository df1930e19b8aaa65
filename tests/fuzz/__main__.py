"""Fuzz the readers: `python -m tests.fuzz --minutes N [--reader NAME …] [--seed S]`; CONTRIBUTING.md explains it."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz.campaign import Campaign
from tests.fuzz.harness import strict_warnings
from tests.fuzz.readers import HARNESSES


def main() -> int:
    options = _options()
    names = options.reader or list(HARNESSES)
    if options.input is not None:
        return _repeat(options.input, options.reader)
    if options.atheris:
        from tests.fuzz.guided import run_guided

        return run_guided(names[0], options.minutes, options.findings)
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


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="for all readers together (10)")
    parser.add_argument("--inputs", type=int, help="for each reader, instead of a time")
    parser.add_argument(
        "--reader",
        action="append",
        choices=list(HARNESSES),
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


def _repeat(path: Path, readers: list[str] | None) -> int:
    """Read one saved input; its trouble ends in a traceback."""
    name = (
        readers[0]
        if readers
        else next(name for name in HARNESSES if path.stem.rpartition("-")[0].rpartition("-")[0] == name)
    )
    with tempfile.TemporaryDirectory() as folder:
        HARNESSES[name].prepare(Path(folder))
        began = time.monotonic()
        with strict_warnings():
            accepted = HARNESSES[name].check(Path(folder), path.read_bytes())
        print(
            f"{name}: {'accepted' if accepted else 'refused in one line'} in {time.monotonic() - began:.2f} s"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
