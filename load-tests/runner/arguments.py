"""What can be said on the command line, and what it means."""

import argparse
import fnmatch
from pathlib import Path

from runner import budgets, ghz

# The part that calls a bare server beside the hub.
BASELINE = "bare-tonic"

DESCRIPTION = """\
Measures the hub: unary and streaming calls by ghz, messages from publish to delivery by rialto-load, both beside
simpler systems. Prints Markdown tables on standard output, and on standard error what it is doing. Every server runs
on loopback, on fresh data that is removed.

Fails (1) if any call ends with something else than OK, if any message is lost, doubled or out of order, or if the data
file does not hold what was acknowledged. A missed budget is only shown: figures are measurements, not tests.
"""

EPILOG = """\
Try it:
  load-tests/run --quick               does everything work? a minute or two once it is built; the figures mean nothing
  load-tests/run                       everything, in a release build; half an hour on a machine that does nothing else
  load-tests/run --record              the same, and renews the figures in load-tests/README.md and load-tests/results
  load-tests/run --only chat --only 'burst*'
                                       a part of it; --list names the parts
  load-tests/run --bin-dir target/ci   builds nothing

One of the calls by hand, against a hub that is running:
  ghz --config load-tests/ghz/chat.json localhost:50051
  ghz --config load-tests/ghz/get-user.json --data '{"username":"ada"}' localhost:50051

load-tests/README.md says what the figures mean.
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
        "--quick", action="store_true", help="small sizes, one alternation, the profile ci: for errors, not for speed"
    )
    parser.add_argument(
        "--record", action="store_true", help="rewrite the results in load-tests/README.md and load-tests/results"
    )
    parser.add_argument(
        "--bin-dir", type=Path, metavar="DIR", help="the folder of rialto and rialto-load; default: build them"
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="only this part; a pattern such as 'burst*'; may be repeated"
    )
    parser.add_argument("--list", action="store_true", help="name the parts, and end")
    args = parser.parse_args()
    if args.record and (args.quick or args.only or args.bin_dir):
        parser.error("--record is of everything, in full and in a release: without --quick, --only and --bin-dir")
    for pattern in args.only or []:
        if not fnmatch.filter(names(), pattern):
            parser.error(f"nothing is called {pattern}; --list names the parts")
    return args
