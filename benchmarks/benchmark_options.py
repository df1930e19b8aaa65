"""The options --quick and --json of all benchmarks of speed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path


def benchmark_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with --quick and --json; description: the docstring of the program."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="small sizes, in seconds: a test of the program")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the results to FILE")
    return parser


def parse(
    parser: argparse.ArgumentParser, quick: Mapping[str, object], arguments: Sequence[str] | None = None
) -> argparse.Namespace:
    """The arguments; with --quick, the values of `quick` are the defaults."""
    if "--quick" in (sys.argv[1:] if arguments is None else arguments):
        parser.set_defaults(**quick)
    return parser.parse_args(arguments)


def write_json(args: argparse.Namespace, results: object) -> None:
    """Write the results to the file of --json, if it is given."""
    if args.json:
        args.json.write_text(json.dumps(results, indent=1, default=str) + "\n")
