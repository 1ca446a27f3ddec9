"""The core that is kept free, in processes of its own: an affinity cannot be put back where others depend on it."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a process choose its cores this way")

SCRIPT = """
import os, subprocess, sys
from weir.local.cores import give, keep_one_free
before = frozenset(os.sched_getaffinity(0))
cores = keep_one_free()
ask = [sys.executable, "-c", "import os, sys; sys.stdin.read(); print(sorted(os.sched_getaffinity(0)))"]
inherits = subprocess.Popen(ask, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
given = subprocess.Popen(ask, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
give(given.pid, cores)
print(sorted(before), sorted(cores), inherits.communicate()[0].strip(), given.communicate()[0].strip(), sep="\\n")
"""


def run(script: str, cores: set[int]) -> list[list[int]]:
    def bound() -> None:
        os.sched_setaffinity(0, cores)

    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, preexec_fn=bound, timeout=60
    )
    return [[int(core) for core in line.strip("[]").split(",")] for line in done.stdout.splitlines()]


def test_what_is_started_stays_off_the_first_core_and_the_gateway_does_not() -> None:
    mine = set(os.sched_getaffinity(0))
    before, cores, inherits, given = run(SCRIPT, mine)
    assert before == cores == given == sorted(mine)
    assert inherits == (sorted(mine)[1:] if len(mine) > 1 else sorted(mine))


def test_one_core_is_for_all() -> None:
    only = min(os.sched_getaffinity(0))
    assert run(SCRIPT, {only}) == [[only]] * 4


def test_a_process_that_is_gone_is_no_error() -> None:
    gone = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    code = f"from weir.local.cores import give; give({int(gone.stdout)}, {{0}})"
    assert subprocess.run([sys.executable, "-c", code], check=True).returncode == 0
