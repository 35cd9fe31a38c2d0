"""Runs rialto-load, which starts the systems that it measures, and reads its report."""

import json
import shlex
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runner.budgets import Measurement
from runner.program import Failure, run
from runner.tools import Binaries

ALTERNATIONS = 5
SECONDS = 1800
QUICK_SECONDS = 90


@dataclass(frozen=True)
class Found:
    """The report of one measurement."""

    measurement: Measurement
    command: str
    report: dict[str, Any]
    plot: Path | None

    def systems(self) -> list[str]:
        return list(dict.fromkeys(run["system"] for run in self.report["runs"]))

    def figure(self, name: str, system: str = "rialto") -> float:
        """Returns the median over all runs."""
        values = self.values(name, system)
        if not values:
            raise Failure(f"`{self.command}` does not report {name} of {system}")
        return statistics.median(values)

    def values(self, name: str, system: str = "rialto") -> list[float]:
        figures = (run["figures"] for run in self.report["runs"] if run["system"] == system)
        return [figure[name] for figure in figures if figure.get(name) is not None]

    def ratios(self, name: str, of: str, against: str) -> list[float]:
        """Returns the ratios of one system to another, run by run."""
        ours, theirs = self.values(name, of), self.values(name, against)
        if not ours or len(ours) != len(theirs):
            raise Failure(f"`{self.command}` does not report {name} of {of} and {against}")
        return [own / other for own, other in zip(ours, theirs, strict=True)]


class Load:
    def __init__(self, binaries: Binaries, nats: Path, folder: Path, quick: bool, tick: Callable[[], None]) -> None:
        self._binaries = binaries
        self._nats = nats
        self._folder = folder
        self._quick = quick
        self._tick = tick

    def run(self, measurement: Measurement) -> Found:
        arguments = shlex.split(self._size(measurement))
        for system in measurement.against:
            arguments += ["--against", system]
        alternations = 1 if self._quick or measurement.once else ALTERNATIONS
        command = shlex.join(["rialto-load", *arguments])

        found, plot = self._folder / f"{measurement.name}.json", self._folder / f"{measurement.name}.svg"
        arguments += ["--alternations", str(alternations), "--json", str(found)]
        arguments += ["--rialto", str(self._binaries.rialto), "--nats-server", str(self._nats)]
        if measurement.plot:
            arguments += ["--svg", str(plot)]
        # If it must be killed, its files are removed with our folder.
        environment = {"TMPDIR": str(self._folder)}
        seconds = QUICK_SECONDS if self._quick else SECONDS
        run([self._binaries.load, *arguments], seconds, self._tick, environment)
        return Found(measurement, command, json.loads(found.read_text()), plot if measurement.plot else None)

    def _size(self, measurement: Measurement) -> str:
        return measurement.quick or measurement.command if self._quick else measurement.command
