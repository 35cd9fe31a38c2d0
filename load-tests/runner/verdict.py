"""Compares results with the budgets."""

import json
import statistics
from dataclasses import dataclass
from pathlib import Path

from runner.budgets import BUDGETS, Budget, Calls, Figure, Flat, Pages, Ratio
from runner.ghz import Comparison
from runner.load import Found
from runner.paths import TARGET

GHZ_COMMAND = "ghz --config load-tests/ghz/get-user.json"


@dataclass(frozen=True)
class Verdict:
    """One row of the table of budgets. `value` is None if it was not measured; `figure` then says so."""

    budget: Budget
    value: float | None
    figure: str
    command: str


def verdicts(found: dict[str, Found], calls: Comparison | None) -> list[Verdict]:
    return [verdict(budget, found, calls) for budget in BUDGETS]


def verdict(budget: Budget, found: dict[str, Found], calls: Comparison | None) -> Verdict:
    match budget.source:
        case Ratio(measurement, figure, against, of) if measurement in found:
            ratios = found[measurement].ratios(figure, of, against)
            return Verdict(budget, statistics.median(ratios), spread(ratios), found[measurement].command)
        case Figure(measurement, figure, divisor, unit, beside, of) if measurement in found:
            value = found[measurement].figure(figure, of) / divisor
            text = f"{value:.1f} {unit}"
            if beside:
                text += f" ({beside}: {found[measurement].figure(figure, beside) / divisor:.1f} {unit})"
            return Verdict(budget, value, text, found[measurement].command)
        case Flat(measurements, pattern) if all(name in found for _, *names in measurements for name in names if name):
            costs = [
                (title, delivery(found[name], found[alone] if alone else None)) for title, name, alone in measurements
            ]
            return flat(budget, costs, f"load-tests/run --only '{pattern}'")
        case Calls() if calls:
            return Verdict(budget, calls.median, spread(calls.per_second), GHZ_COMMAND)
        case Pages(command):
            return pages(budget, command)
        case _:
            return Verdict(budget, None, "not measured", "")


def delivery(found: Found, alone: Found | None) -> float:
    """Returns the server's CPU time per delivery in microseconds, less the cost of the messages themselves."""
    cpu, deliveries = (found.figure(figure) for figure in ("server_cpu_seconds", "deliveries"))
    if alone:
        cpu -= alone.figure("server_cpu_seconds")
        deliveries -= alone.figure("deliveries")
    return cpu / deliveries * 1e6


def flat(budget: Budget, costs: list[tuple[str, float]], command: str) -> Verdict:
    """Compares the highest cost with the lowest. Shows all costs, since which one is highest matters more."""
    value = max(cost for _, cost in costs) / min(cost for _, cost in costs)
    each = ", ".join(f"{title}: {cost:.2f}" for title, cost in costs)
    return Verdict(budget, value, f"{value:.2f} x (µs of CPU at {each})", command)


def pages(budget: Budget, command: str) -> Verdict:
    few, many = (criterion_time(users) for users in (1_000, 1_000_000))
    if few is None or many is None:
        return Verdict(budget, None, "not measured here", command)
    return Verdict(budget, many / few, f"{many / few:.2f} x ({many / 1e3:.1f} µs)", command)


def criterion_time(users: int) -> float | None:
    """Returns criterion's median in nanoseconds for a page among this number of users; None if it was not measured."""
    estimates = TARGET / "criterion/page of 100 users/anywhere in" / str(users) / "new/estimates.json"
    return median_of(estimates) if estimates.exists() else None


def median_of(estimates: Path) -> float:
    return float(json.loads(estimates.read_text())["median"]["point_estimate"])


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f})"
