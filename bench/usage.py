"""What each process took: CPU seconds and peak memory, read before and after a load, at no cost during it.

Read from Linux's /proc, which keeps all of it; nothing has to be sampled while the load runs.
"""

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class ProcessUse:
    """One process, or one server with its helper processes, over one load."""

    name: str
    cpu_seconds: float
    peak_mib: float
    restarted: bool = False

    def microseconds_each(self, callbacks: int) -> float:
        """CPU time a callback, in microseconds."""
        return self.cpu_seconds * 1e6 / callbacks if callbacks else 0.0


@dataclass(frozen=True)
class Reading:
    """CPU seconds so far of the machine and of each process, by name and pid."""

    machine_busy: float
    by_name: Mapping[str, Mapping[int, float]]


def read(processes: Mapping[str, int]) -> Reading:
    """A reading of these processes (name to pid), each with its descendants that have no name of their own."""
    # The fields of the first line: user, nice, system, idle, iowait, irq, softirq, steal; then guests, which
    # are counted in `user` already. Stolen time is another machine's.
    ticks = [int(field) for field in (_PROC / "stat").read_text().split("\n", 1)[0].split()[1:8]]
    busy = sum(ticks) - ticks[3] - ticks[4]
    family, apart = _family(), frozenset(processes.values())
    return Reading(busy / _TICKS, {name: _tree_cpu(pid, family, apart) for name, pid in processes.items()})


def _family() -> dict[int, list[int]]:
    """The children of every process."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdecimal() and (stat := _stat(int(entry.name))):
            children.setdefault(stat.parent, []).append(int(entry.name))
    return children


def _tree_cpu(root: int, family: Mapping[int, list[int]], apart: frozenset[int]) -> dict[int, float]:
    cpu: dict[int, float] = {}
    waiting = [root]
    while waiting:
        pid = waiting.pop()
        waiting += [child for child in family.get(pid, []) if child not in apart]
        if stat := _stat(pid):
            cpu[pid] = stat.cpu_seconds
    return cpu


class _Stat(NamedTuple):
    parent: int
    cpu_seconds: float


def _stat(pid: int) -> _Stat | None:
    """The parent and the CPU seconds of a process, None when it is gone."""
    with contextlib.suppress(OSError):
        # The second field is the program's name in parentheses and may hold anything; count from behind it.
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
        return _Stat(int(fields[1]), (int(fields[11]) + int(fields[12])) / _TICKS)
    return None


def between(before: Reading, after: Reading) -> list[ProcessUse]:
    """What each process took from one reading to the next, and the most memory it ever held."""
    uses = []
    for name, now in after.by_name.items():
        then = before.by_name.get(name, {})
        uses.append(
            ProcessUse(
                name=name,
                cpu_seconds=sum(cpu - then.get(pid, 0.0) for pid, cpu in now.items()),
                peak_mib=sum(peak_mib(pid) for pid in now),
                restarted=bool(then) and min(then) not in now,
            )
        )
    return uses


def peak_mib(pid: int) -> float:
    """The most memory (RSS, MiB) this process has held since it began; 0 for one that is gone."""
    try:
        status = (_PROC / str(pid) / "status").read_text()
    except OSError:
        return 0.0
    found = re.search(r"^VmHWM:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) / 1024 if found else 0.0


def strangers_share(before: Reading, after: Reading, ours: Iterable[float], seconds: float) -> float:
    """The part of the machine (0 to 1, all cores) that neither the servers nor the generator used.

    Much of it means that something else ran beside the measurement and the figures are too low. The kernel's
    own network work is in it too, a few percent.
    """
    cores = os.cpu_count() or 1
    servers = sum(use.cpu_seconds for use in between(before, after))
    rest = after.machine_busy - before.machine_busy - servers - sum(ours)
    return max(0.0, rest / (seconds * cores)) if seconds > 0 else 0.0
