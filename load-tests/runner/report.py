"""Formats results as Markdown, for the terminal and for README.md."""

import datetime
import json
import os
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from runner.budgets import Budget
from runner.ghz import Comparison, Result
from runner.load import Found
from runner.paths import LOAD_TESTS, RESULTS
from runner.program import Failure
from runner.verdict import Verdict

BEGIN, END = "<!-- results -->", "<!-- /results -->"


def ghz_table(results: Sequence[Result]) -> str:
    rows = [
        [
            result.name,
            f"{result.calls:,}",
            str(result.concurrency),
            f"{result.per_second:,.0f}",
            count(result.per_cpu_second),
            f"{result.p50:.1f}",
            f"{result.p95:.1f}",
            f"{result.p99:.1f}",
            str(result.errors),
        ]
        for result in results
    ]
    head = ["call", "calls", "concurrency", "per second", "per server CPU second", "p50 ms", "p95 ms", "p99 ms", "errors"]
    return table(head, rows, numbers_from=1)


def comparison_line(calls: Comparison) -> str:
    line = (
        f"GetUser over a bare tonic server, in {len(calls.per_second)} alternating runs: "
        f"{calls.median:.2f} x the calls per second ({low_to_high(calls.per_second)})"
    )
    if calls.per_cpu_second:
        middle = statistics.median(calls.per_cpu_second)
        line += f", {middle:.2f} x the calls per server CPU second ({low_to_high(calls.per_cpu_second)})"
    return line + "."


def load_table(found: Sequence[Found]) -> str:
    rows = [
        [
            measured.measurement.name,
            system,
            measure(measured, system, "messages_per_second"),
            measure(measured, system, "deliveries_per_cpu_second"),
            measure(measured, system, "p50_us", 1000, 2),
            measure(measured, system, "p99_us", 1000, 2),
            measure(measured, system, "max_us", 1000, 2),
        ]
        for measured in found
        for system in measured.systems()
    ]
    head = [
        "measurement",
        "system",
        "messages per second",
        "deliveries per server CPU second",
        "p50 ms",
        "p99 ms",
        "longest ms",
    ]
    return table(head, rows, numbers_from=2)


def budget_table(verdicts: Sequence[Verdict]) -> str:
    rows = [
        [
            verdict.budget.what,
            bound(verdict.budget),
            verdict.figure,
            judgement(verdict),
            f"`{verdict.command}`" if verdict.command else "",
        ]
        for verdict in verdicts
    ]
    return table(["what", "budget", "measured", "", "command"], rows, numbers_from=5)


def bound(budget: Budget) -> str:
    return f"{budget.bound} {budget.limit:g} {budget.unit}" if budget.bound else ""


def judgement(verdict: Verdict) -> str:
    if verdict.value is None or not verdict.budget.bound:
        return ""
    return "met" if verdict.budget.allows(verdict.value) else "**missed**"


def measure(found: Found, system: str, figure: str, divisor: float = 1, digits: int = 0) -> str:
    return f"{found.figure(figure, system) / divisor:,.{digits}f}" if found.values(figure, system) else ""


def count(value: float | None) -> str:
    return f"{value:,.0f}" if value is not None else ""


def low_to_high(values: Sequence[float]) -> str:
    return f"{min(values):.2f} to {max(values):.2f}"


def table(head: list[str], rows: list[list[str]], numbers_from: int) -> str:
    """Formats a table. Columns from `numbers_from` on are numbers, aligned to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]

    def line(cells: list[str]) -> str:
        padded = (
            cell.rjust(width) if place >= numbers_from else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return "| " + " | ".join(padded) + " |"

    rule = ("-" * (width - 1) + (":" if place >= numbers_from else "-") for place, width in enumerate(widths))
    return "\n".join([line(head), "| " + " | ".join(rule) + " |", *(line(row) for row in rows)])


def machine() -> str:
    """Describes the machine by what affects the figures."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{os.cpu_count()} cores, {memory:.0f} GiB of memory"


def record(tables: str, results: Sequence[Result], calls: Comparison | None, found: Sequence[Found]) -> None:
    """Replaces the results in README.md and in the folder beside it."""
    readme = LOAD_TESTS / "README.md"
    before, begin, rest = readme.read_text().partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise Failure(f"{readme.name} has no section for results: {BEGIN} or {END} is missing")

    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir()
    write_json(
        "ghz", {"calls": [result.report for result in results], "over_bare_tonic": asdict(calls) if calls else None}
    )
    plots = []
    for measured in found:
        write_json(measured.measurement.name, trimmed(measured.report))
        if measured.plot and measured.plot.exists():
            shutil.copy(measured.plot, RESULTS)
            plots.append(f"![`{measured.command}`](results/{measured.plot.name})\n")

    heading = f"Profile dist, {machine()}, {datetime.date.today()}; all figures are in [`results/`](results)."
    readme.write_text("\n\n".join([before + begin, heading, tables, *plots, end + after]))


def write_json(name: str, content: Any) -> None:
    (RESULTS / f"{name}.json").write_text(json.dumps(content, indent=2) + "\n")


def trimmed(report: dict[str, Any]) -> dict[str, Any]:
    """Removes the curves, which are long and drawn in the charts, and this machine's paths."""
    settings = {
        name: value
        for name, value in report.get("settings", {}).items()
        if not (isinstance(value, str) and Path(value).is_absolute())
    }
    runs = [{"system": run["system"], "figures": run["figures"]} for run in report["runs"]]
    return {"verb": report["verb"], "settings": settings, "runs": runs}
