"""Calls made by ghz with the configurations in `ghz/`."""

import json
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.paths import LOAD_TESTS
from runner.program import Failure, Program, run

# Placeholder in a configuration for the id of a user, which the server assigns.
SEEDED = "SEEDED"
SEEDS = 1000
QUICK_PART = 50
SECONDS = 300

SCENARIOS = ("get-user", "create-user", "update-user", "list-users", "create-users", "chat", "publish")

# The parts of ghz's report that do not depend on this machine's paths and settings.
KEPT = ("name", "count", "total", "average", "fastest", "slowest", "rps")
KEPT_DISTRIBUTIONS = ("latencyDistribution", "statusCodeDistribution", "errorDistribution", "histogram")


@dataclass(frozen=True)
class Result:
    """A run of a configuration. Times are in milliseconds."""

    name: str
    calls: int
    concurrency: int
    per_second: float
    per_cpu_second: float | None
    p50: float
    p95: float
    p99: float
    errors: int
    report: dict[str, Any]


@dataclass(frozen=True)
class Comparison:
    """The ratios of the hub to a baseline, run by run."""

    per_second: list[float]
    per_cpu_second: list[float]

    @property
    def median(self) -> float:
        return statistics.median(self.per_second)


class Ghz:
    def __init__(self, binary: Path, folder: Path, quick: bool, tick: Callable[[], None]) -> None:
        self._binary = binary
        self._folder = folder
        self._quick = quick
        self._tick = tick

    def seed(self, address: str) -> None:
        """Creates the users that the scenarios read and update, in one call."""
        config = load("create-users") | {"total": 1, "concurrency": 1, "connections": 1}
        config["data"] = [{"username": f"seeded-{number}", "email": ""} for number in range(SEEDS)]
        check_all_ok(self._call(config, address))

    def run(self, scenario: str, server: Program, address: str, ids: list[str]) -> Result:
        config = filled(load(scenario), ids)
        if self._quick:
            config["total"] = max(config["concurrency"], config["total"] // QUICK_PART)
        before = server.cpu_seconds()
        report = self._call(config, address)
        after = server.cpu_seconds()
        used = after - before if after is not None and before is not None else 0
        result = summary(config, report, used)
        check_all_ok(report, config["total"])
        return result

    def _call(self, config: dict[str, Any], address: str) -> dict[str, Any]:
        """Passes the configuration in a file, since thousands of ids are too long for a command line."""
        name = config["name"]
        path, output = self._folder / f"{name}.json", self._folder / f"{name}.report.json"
        path.write_text(json.dumps(config))
        run([self._binary, "--config", path, "--format", "json", "--output", output, address], SECONDS, self._tick)
        report: dict[str, Any] = json.loads(output.read_text())
        return report


def load(scenario: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((LOAD_TESTS / "ghz" / f"{scenario}.json").read_text())
    return config


def filled(config: dict[str, Any], ids: list[str]) -> dict[str, Any]:
    """Returns the configuration with one set of data per id. ghz takes them in turn, so that updates rarely conflict."""
    data = config["data"]
    if isinstance(data, dict) and data.get("id") == SEEDED:
        return config | {"data": [data | {"id": user} for user in ids]}
    return config


def messages_of(result: Result, scenario: str) -> int:
    """Returns the number of messages or users that a scenario has written."""
    data = load(scenario)["data"]
    return result.calls * (len(data) if isinstance(data, list) else 1)


def summary(config: dict[str, Any], report: dict[str, Any], cpu_seconds: float) -> Result:
    def percentile(wanted: int) -> float:
        found = (entry["latency"] for entry in report["latencyDistribution"] or [] if entry["percentage"] == wanted)
        return next(found, 0) / 1e6

    return Result(
        name=config["name"],
        calls=report["count"],
        concurrency=config["concurrency"],
        per_second=report["rps"],
        per_cpu_second=report["count"] / cpu_seconds if cpu_seconds else None,
        p50=percentile(50),
        p95=percentile(95),
        p99=percentile(99),
        errors=report["count"] - report["statusCodeDistribution"].get("OK", 0),
        report={key: report.get(key) for key in KEPT + KEPT_DISTRIBUTIONS},
    )


def check_all_ok(report: dict[str, Any], calls: int = 1) -> None:
    """Fails unless every call was made and ended with OK."""
    name, statuses, errors = report["name"], report["statusCodeDistribution"], report["errorDistribution"]
    if set(statuses) - {"OK"} or errors:
        listed = "".join(f"\n  {count} x {error}" for error, count in errors.items())
        raise Failure(f"{name}: not every call ended with OK: {statuses}{listed}")
    if report["count"] != calls:
        raise Failure(f"{name}: {report['count']} of {calls} calls were made (end reason: {report['endReason']})")


def compare(ours: list[Result], theirs: list[Result]) -> Comparison:
    return Comparison(
        per_second=[a.per_second / b.per_second for a, b in zip(ours, theirs, strict=True)],
        per_cpu_second=[
            a.per_cpu_second / b.per_cpu_second
            for a, b in zip(ours, theirs, strict=True)
            if a.per_cpu_second and b.per_cpu_second
        ],
    )
