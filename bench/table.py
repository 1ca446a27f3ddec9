"""A run as a person reads it: aligned plain text."""

from collections.abc import Sequence

from bench.results import WEIR, Measurement, Ratio, Row, Verdict, ratios, verdicts
from bench.results import rows as medians

#: Share of the machine that others may take before a figure says more about them than about the system.
DISTURBED = 0.15


def render(measurements: Sequence[Measurement]) -> str:
    """Speeds, ratios, where the time and the memory went, and what the figures are held against."""
    table = medians(measurements)
    parts = [
        _speeds(table),
        _disturbance(table),
        _ratios(ratios(table)),
        _costs(table),
        _verdicts(verdicts(table, measurements)),
    ]
    return "\n\n".join(part for part in parts if part)


def grid(head: Sequence[str], lines: Sequence[Sequence[str]], *, left: int = 1) -> str:
    """Columns under their heads; the first `left` begin at their left edge, the others end at their right one."""
    widths = [max(len(line[column]) for line in [head, *lines]) for column in range(len(head))]

    def one(line: Sequence[str]) -> str:
        cells = [
            cell.ljust(width) if column < left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        return "  ".join(cells).rstrip()

    return "\n".join([one(head), one(["-" * width for width in widths]), *(one(line) for line in lines)])


def _speeds(table: Sequence[Row]) -> str:
    head = ("system", "connections", "callbacks/s", "p50 ms", "p99 ms", "late", "failed", "unanswered",
            "drain s", "generator", "others")  # fmt: skip
    lines = [
        (
            row.system,
            str(row.connections),
            f"{row.per_second:.0f}",
            f"{row.p50:.1f}",
            f"{row.p99:.1f}",
            str(row.late),
            str(row.failed),
            str(row.unanswered),
            "" if row.drain_seconds is None else f"{row.drain_seconds:.1f}",
            f"{row.generator_share:.0%}",
            f"{row.strangers_share:.0%}",
        )
        for row in table
    ]
    return grid(head, lines)


def _disturbance(table: Sequence[Row]) -> str:
    """A warning when other programs took enough of the machine to spoil the comparison."""
    disturbed = [f"{row.system} at {row.connections}" for row in table if row.strangers_share > DISTURBED]
    if not disturbed:
        return ""
    return (
        f"NOT COMPARABLE: other programs took more than {DISTURBED:.0%} of the machine while these were measured:"
        f" {', '.join(disturbed)}. Run it again on a quiet machine."
    )


def _ratios(found: Sequence[Ratio]) -> str:
    if not found:
        return ""
    peers = list(dict.fromkeys(ratio.peer for ratio in found))
    values = {(ratio.connections, ratio.peer): f"{ratio.value:.2f}" for ratio in found}
    counts = list(dict.fromkeys(ratio.connections for ratio in found))
    lines = [[str(count), *(values.get((count, peer), "") for peer in peers)] for count in counts]
    return grid(["connections", *(f"weir/{peer}" for peer in peers)], lines)


def _costs(table: Sequence[Row]) -> str:
    """CPU time a callback and peak memory of each of Weir's processes."""
    mine = [row for row in table if row.system == WEIR]
    if not mine:
        return ""
    names = list(dict.fromkeys(name for row in mine for name in row.cpu_microseconds))
    head = ["weir process", *(f"µs each at {row.connections}" for row in mine), "peak MiB"]
    lines = [
        [
            name,
            *(f"{row.cpu_microseconds.get(name, 0.0):.0f}" for row in mine),
            f"{max(row.peak_mib.get(name, 0.0) for row in mine):.0f}",
        ]
        for name in names
    ]
    total = ["all", *(f"{sum(row.cpu_microseconds.values()):.0f}" for row in mine), ""]
    return grid(head, [*lines, total])


def _verdicts(found: Sequence[Verdict]) -> str:
    if not found:
        return ""
    return grid(("held to", "aim", "measured", ""), [(v.what, v.aim, v.value, v.level) for v in found], left=4)
