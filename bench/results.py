"""What a run found: one measurement each, the medians of repeats, the ratios, and what they are held against."""

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bench.load import Load
from bench.stored import Storage
from bench.usage import ProcessUse

AIOHTTP = "aiohttp"
AIOHTTP_UVLOOP = "aiohttp-uvloop"
WEROBOT = "werobot"
WEIR = "weir"

#: Child processes of `weir up` that are other people's servers: their memory is theirs.
BORROWED = frozenset({"rabbitmq", "mongodb"})

#: The connection count that the aims are stated for.
AIM_AT = 256


@dataclass(frozen=True)
class Measurement:
    """One system under one load."""

    system: str
    repeat: int
    load: Load
    processes: tuple[ProcessUse, ...]
    strangers_share: float  # of the machine, by neither the system nor the generator
    drain_seconds: float | None = None  # Weir: from the last answer to the last message stored
    storage: Storage | None = None


@dataclass(frozen=True)
class Row:
    """One system at one number of connections: the median of its repeats, figure by figure."""

    system: str
    connections: int
    repeats: int
    per_second: float
    p50: float
    p99: float
    late: int  # the sum over the repeats, like the next two: `success` instead of the reply
    failed: int
    unanswered: int
    generator_share: float
    strangers_share: float
    drain_seconds: float | None
    peak_mib: dict[str, float] = field(default_factory=dict)  # the highest of the repeats
    cpu_microseconds: dict[str, float] = field(default_factory=dict)  # a callback, by process


def rows(measurements: Sequence[Measurement]) -> list[Row]:
    """The medians, in the order in which system and connection count were first measured."""
    groups: dict[tuple[int, str], list[Measurement]] = {}
    for measurement in measurements:
        groups.setdefault((measurement.load.connections, measurement.system), []).append(measurement)
    return [_row(group) for group in groups.values()]


def _row(group: Sequence[Measurement]) -> Row:
    loads = [measurement.load for measurement in group]
    drains = [m.drain_seconds for m in group if m.drain_seconds is not None]
    peaks: dict[str, list[float]] = {}
    costs: dict[str, list[float]] = {}
    for measurement in group:
        for use in measurement.processes:
            peaks.setdefault(use.name, []).append(use.peak_mib)
            costs.setdefault(use.name, []).append(use.microseconds_each(measurement.load.accepted))
    return Row(
        system=group[0].system,
        connections=loads[0].connections,
        repeats=len(group),
        per_second=statistics.median(load.per_second for load in loads),
        p50=statistics.median(load.p50 for load in loads),
        p99=statistics.median(load.p99 for load in loads),
        late=sum(load.empty for load in loads),
        failed=sum(load.refused + load.other for load in loads),
        unanswered=sum(load.unanswered for load in loads),
        generator_share=statistics.median(load.generator_share for load in loads),
        strangers_share=statistics.median(m.strangers_share for m in group),
        drain_seconds=statistics.median(drains) if drains else None,
        peak_mib={name: max(values) for name, values in peaks.items()},
        cpu_microseconds={name: statistics.median(values) for name, values in costs.items()},
    )


@dataclass(frozen=True)
class Ratio:
    """Weir's callbacks a second over a peer's, at the same number of connections in the same run."""

    connections: int
    peer: str
    value: float


def ratios(table: Iterable[Row]) -> list[Ratio]:
    """Weir over every peer, wherever both were measured."""
    speeds = {(row.connections, row.system): row.per_second for row in table}
    return [
        Ratio(connections, peer, weir / speed)
        for (connections, peer), speed in speeds.items()
        if peer != WEIR and speed > 0 and (weir := speeds.get((connections, WEIR))) is not None
    ]


@dataclass(frozen=True)
class Verdict:
    """One figure against what it is held to. `level` is `met`, `below the aim`, `not done` or `wrong`."""

    what: str
    value: str
    aim: str
    level: str


MET, BELOW, NOT_DONE, WRONG = "met", "below the aim", "not done", "wrong"


def verdicts(table: Sequence[Row], measurements: Sequence[Measurement]) -> list[Verdict]:
    """Every figure that has an aim and was measured."""
    found = []
    for ratio in ratios(table):
        bounds = {WEROBOT: (2.5, 1.6), AIOHTTP: (0.5, 0.3)}.get(ratio.peer)
        if bounds and ratio.connections == AIM_AT:
            aim, floor = bounds
            level = MET if ratio.value >= aim else BELOW if ratio.value >= floor else NOT_DONE
            what = f"callbacks a second, Weir over {ratio.peer}, {AIM_AT} connections"
            found.append(Verdict(what, f"{ratio.value:.2f}", f"at least {aim}; under {floor} is not done", level))
    for row in table:
        if row.system == WEIR and row.connections == AIM_AT:
            level = MET if row.p99 < 250 else NOT_DONE
            found.append(Verdict(f"p99, {AIM_AT} connections", f"{row.p99:.0f} ms", "under 250 ms", level))
    found += _memory(table)
    found += _correctness(measurements)
    return found


def _memory(table: Iterable[Row]) -> list[Verdict]:
    peaks: dict[str, float] = {}
    for row in table:
        if row.system == WEIR:
            for name, mib in row.peak_mib.items():
                if name not in BORROWED:
                    peaks[name] = max(peaks.get(name, 0.0), mib)
    return [
        Verdict(f"peak memory of {name}", f"{mib:.0f} MiB", "under 150 MiB", MET if mib < 150 else NOT_DONE)
        for name, mib in sorted(peaks.items())
    ]


def _correctness(measurements: Sequence[Measurement]) -> list[Verdict]:
    checked = [m.storage for m in measurements if m.storage is not None]
    if not checked:
        return []
    lost = sum(storage.lost + storage.unrecorded_replies for storage in checked)
    doubled = sum(storage.doubled + storage.doubled_replies + storage.invented for storage in checked)
    kept = sum(storage.inbound for storage in checked)
    right = all(storage.exactly_once for storage in checked)
    value = f"{kept} stored, {lost} lost, {doubled} doubled"
    return [
        Verdict(
            "accepted messages and their replies, stored exactly once",
            value,
            "0 lost, 0 doubled",
            MET if right else WRONG,
        )
    ]


def is_correct(measurements: Iterable[Measurement]) -> bool:
    """Whether everything accepted was stored exactly once, in every load."""
    return all(m.storage.exactly_once for m in measurements if m.storage is not None)


def as_json(machine: dict[str, Any], settings: dict[str, Any], measurements: Sequence[Measurement]) -> dict[str, Any]:
    """The whole run for machines; docs/performance.md describes it."""
    table = rows(measurements)
    return {
        "schema": 1,
        "machine": machine,
        "settings": settings,
        "rows": [dataclasses.asdict(row) for row in table],
        "ratios": [dataclasses.asdict(ratio) for ratio in ratios(table)],
        "verdicts": [dataclasses.asdict(verdict) for verdict in verdicts(table, measurements)],
        "correct": is_correct(measurements),
        "measurements": [_measurement(m) for m in measurements],
    }


def _measurement(measurement: Measurement) -> dict[str, Any]:
    load = measurement.load
    return {
        "system": measurement.system,
        "repeat": measurement.repeat,
        **{key: value for key, value in dataclasses.asdict(load).items() if key != "numbers"},
        "per_second": load.per_second,
        "accepted": load.accepted,
        "unanswered": load.unanswered,
        "strangers_share": measurement.strangers_share,
        "processes": [
            {**dataclasses.asdict(use), "cpu_microseconds": use.microseconds_each(load.accepted)}
            for use in measurement.processes
        ],
        "drain_seconds": measurement.drain_seconds,
        "storage": dataclasses.asdict(measurement.storage) if measurement.storage else None,
    }
