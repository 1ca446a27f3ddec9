"""The load generator: wrk, driven by `callback.lua`, and what it saw.

wrk is C and its script is compiled by LuaJIT, so it takes little of the two cores from the system it measures;
how much it took is part of the result.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from bench.account import FOLLOWERS, NAME, ORIGINAL_ID, REPLY, TEXTS, Numbers, fresh_numbers, signed_query

_SCRIPT = Path(__file__).with_name("callback.lua")

#: How long an answer may take, in seconds, after the last callback was sent. WeChat itself cuts at 5 s.
GRACE = 6


class LoadError(Exception):
    """wrk is missing, or did not report."""


@dataclass(frozen=True)
class Load:
    """One load: what was sent, what came back, how fast. Times in milliseconds unless named otherwise."""

    connections: int
    seconds: float
    numbers: Numbers
    sent: int
    answered: int  # status 200 and the reply's words in the body, late ones included
    answered_in_time: int  # of these, before the last callback was sent: what the rate is made of
    empty: int  # status 200 with `success` or nothing: accepted, the reply to come another way
    refused: int  # any other status
    other: int  # status 200 with another body
    socket_errors: int
    p50: float
    p90: float
    p99: float
    p999: float
    slowest: float
    generator_cpu_seconds: float

    @property
    def per_second(self) -> float:
        """Callbacks answered with the reply, a second."""
        return self.answered_in_time / self.seconds

    @property
    def accepted(self) -> int:
        """Callbacks that were told 200: from here on the system must not lose them."""
        return self.answered + self.empty + self.other

    @property
    def unanswered(self) -> int:
        """Callbacks that got no answer at all: cut connections, or more than `GRACE` seconds."""
        return self.sent - self.accepted - self.refused

    @property
    def generator_share(self) -> float:
        """The part of one core the generator took."""
        return self.generator_cpu_seconds / self.seconds


def parse(output: str, *, connections: int, seconds: float, numbers: Numbers, cpu_seconds: float) -> Load:
    """The load's result from wrk's standard output: the line that `callback.lua` prints at the end.

    Raises `LoadError` when that line is not there.
    """
    line = re.search(r"^bench ((?:\S+=\S+ ?)+)$", output, re.MULTILINE)
    if line is None:
        raise LoadError(f"wrk ended without its result line; it said:\n{output.strip() or '(nothing)'}")
    seen = {name: float(value) for name, _, value in (pair.partition("=") for pair in line[1].split())}

    def count(name: str) -> int:
        return int(seen[name])

    return Load(
        connections=connections,
        seconds=seen["elapsed"] or seconds,  # 0 when every connection hung before the end
        numbers=numbers,
        sent=count("sent"),
        answered=count("answered"),
        answered_in_time=count("in_time"),
        empty=count("empty"),
        refused=count("refused"),
        other=count("other"),
        socket_errors=count("socket_errors"),
        p50=seen["p50_us"] / 1000,
        p90=seen["p90_us"] / 1000,
        p99=seen["p99_us"] / 1000,
        p999=seen["p999_us"] / 1000,
        slowest=seen["max_us"] / 1000,
        generator_cpu_seconds=cpu_seconds,
    )


def run(port: int, *, connections: int, seconds: int) -> Load:
    """Send callbacks to the server on loopback `port` for `seconds` and wait for the last answers."""
    numbers = fresh_numbers()
    path = f"/wechat/{NAME}?{signed_query(time.time())}&openid="
    command = [
        "wrk",
        "--threads=1",
        f"--connections={connections}",
        f"--duration={seconds + GRACE}s",
        f"--timeout={seconds + GRACE}s",
        f"--script={_SCRIPT}",
        f"http://127.0.0.1:{port}/",
        "--",
        path,
        str(numbers.first),
        str(seconds),
        str(FOLLOWERS),
        ORIGINAL_ID,
        REPLY,
        *TEXTS,
    ]
    wrk = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output, complaints, cpu_seconds = _see_through(wrk)
    if wrk.returncode != 0:
        raise LoadError(f"wrk failed with status {wrk.returncode}: {complaints.strip()}")
    return parse(output, connections=connections, seconds=seconds, numbers=numbers, cpu_seconds=cpu_seconds)


def _see_through(wrk: subprocess.Popen[str]) -> tuple[str, str, float]:
    """wrk's output, its complaints and its CPU seconds. Wakes its main thread once all answers are in."""
    assert wrk.stdout is not None
    complaints: list[str] = []
    ended = threading.Event()
    listener = threading.Thread(target=_listen, args=(wrk, complaints, ended), daemon=True)
    listener.start()
    try:
        output = wrk.stdout.read()
        ended.set()
        listener.join()  # no signal may follow once the process id is free again
        _, status, usage = os.wait4(wrk.pid, 0)
        wrk.returncode = os.waitstatus_to_exitcode(status)
    finally:
        ended.set()
        if wrk.returncode is None:
            wrk.kill()
            wrk.wait()
    return output, "".join(complaints), usage.ru_utime + usage.ru_stime


def _listen(wrk: subprocess.Popen[str], complaints: list[str], ended: threading.Event) -> None:
    assert wrk.stderr is not None
    for line in wrk.stderr:
        if line.strip() != "drained":
            complaints.append(line)
            continue
        # wrk sleeps out its whole duration unless interrupted; then it reports as always. The first signal may
        # reach its other thread, which is just ending, so it is repeated.
        while not ended.wait(0.01):
            os.kill(wrk.pid, signal.SIGINT)  # `send_signal` would reap it and lose its CPU time


def ensure_wrk() -> None:
    """See that wrk is there; install Debian's package when apt can. Raises `LoadError` when it can not."""
    if shutil.which("wrk"):
        return
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if not shutil.which("apt-get") or (as_root and not shutil.which("sudo")):
        raise LoadError("the load generator wrk is not installed: install it (apt, brew and dnf have it) and run again")
    print("installing wrk, the load generator (apt-get install wrk)", file=sys.stderr, flush=True)
    for arguments in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", "wrk"]):
        done = subprocess.run([*as_root, "apt-get", *arguments], stdout=subprocess.DEVNULL, check=False)
        if done.returncode != 0:
            raise LoadError(f"`apt-get {arguments[0]}` failed: install wrk by hand and run again")
