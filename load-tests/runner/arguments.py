"""The command line."""

import argparse
import fnmatch
from pathlib import Path

from runner import budgets, ghz

# The part that compares GetUser with a bare tonic server.
BASELINE = "bare-tonic"

DESCRIPTION = """\
Measures the hub: unary and streaming calls with ghz, messages from publish to delivery with rialto-load, both compared
with simpler systems. Prints Markdown tables to standard output, and progress to standard error. Every server runs on
loopback with fresh data, which is removed afterwards.

Exits with 1 if a call does not end with OK, if a message is missing, duplicated or out of order, or if the data file
does not hold everything that was acknowledged. A missed budget is only reported: figures are measurements, not tests.
"""

EPILOG = """\
Examples:
  load-tests/run --quick               a functional check; one or two minutes after the build; the figures mean nothing
  load-tests/run                       everything, in the profile dist; half an hour on an otherwise idle machine
  load-tests/run --record              the same, and updates the figures in load-tests/README.md and load-tests/results
  load-tests/run --only chat --only 'burst*'
                                       parts of it; --list lists them
  load-tests/run --bin-dir target/ci   uses existing binaries

A single ghz run by hand, against a running hub:
  ghz --config load-tests/ghz/chat.json localhost:50051
  ghz --config load-tests/ghz/get-user.json --data '{"username":"ada"}' localhost:50051

load-tests/README.md explains the figures.
"""


def wanted(args: argparse.Namespace, name: str) -> bool:
    return not args.only or any(fnmatch.fnmatch(name, pattern) for pattern in args.only)


def names() -> list[str]:
    return [*ghz.SCENARIOS, BASELINE, *(measurement.name for measurement in budgets.MEASUREMENTS)]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="load-tests/run",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, one alternation, profile ci: a functional check"
    )
    parser.add_argument(
        "--record", action="store_true", help="update the results in load-tests/README.md and load-tests/results"
    )
    parser.add_argument(
        "--bin-dir", type=Path, metavar="DIR", help="the folder with the binaries rialto and rialto-load; default: build them"
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="run only this part, or the parts that match a pattern such as 'burst*'; may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="list the parts and exit")
    args = parser.parse_args()
    if args.record and (args.quick or args.only or args.bin_dir):
        parser.error("--record needs a full run in the profile dist: omit --quick, --only and --bin-dir")
    for pattern in args.only or []:
        if not fnmatch.filter(names(), pattern):
            parser.error(f"no part matches {pattern}; --list lists the parts")
    return args
