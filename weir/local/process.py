"""Children that cannot outlive us: start, watch, pause and end one program."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

_TETHER = Path(__file__).with_name("tether.py")
_POLL = 0.02
FREEZE_SECONDS = 1.0
"""Longest wait for a stop to hold; it takes milliseconds."""


class Process:
    """One running program in a session of its own, so that Ctrl-C in the terminal reaches us and not it.

    It dies with the *thread* that started it (that is how the kernel counts), so start it from the main thread.
    It belongs to no event loop: a server may be started in one loop and stopped in another.
    """

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], log: Path, cwd: Path | None = None) -> None:
        """Start `argv` with exactly `env`; standard output and error are appended to `log`."""
        log.parent.mkdir(parents=True, exist_ok=True)
        tethered = [sys.executable, "-I", "-S", str(_TETHER), str(os.getpid()), *argv]
        with log.open("ab") as out:
            self._popen = subprocess.Popen(
                tethered,
                env=dict(env),
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.log = log

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit status, minus the signal's number when a signal ended it, None while it runs."""
        return self._popen.poll()

    @property
    def alive(self) -> bool:
        return self.returncode is None

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program and to whatever it started in its own process group."""
        if self.alive:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def wait(self, seconds: float | None = None) -> bool:
        """Wait until the program has ended; False when it still runs after `seconds`."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while self.alive:
            if deadline is not None and time.monotonic() > deadline:
                return False
            await asyncio.sleep(_POLL)
        return True

    async def end(self, grace: float = 10.0) -> None:
        """Ask it to end, and kill it after `grace` seconds."""
        self.signal(signal.SIGTERM)
        self.signal(signal.SIGCONT)  # a paused program could not hear the request
        if not await self.wait(grace):
            await self.kill()

    async def kill(self) -> None:
        self.kill_now()
        await self.wait()

    def freeze(self) -> None:
        """SIGSTOP, and wait until it holds: the threads of a process run on for a moment after the signal is sent."""
        self.signal(signal.SIGSTOP)
        deadline = time.monotonic() + FREEZE_SECONDS
        while time.monotonic() < deadline and not _frozen(self.pid):
            time.sleep(0.001)

    def kill_now(self) -> None:
        """SIGKILL, without waiting for the end."""
        self.signal(signal.SIGKILL)

    def tail(self, lines: int = 20) -> str:
        """The last lines of its output, to show when it died."""
        return tail(self.log, lines)


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log file, reading at most its last 64 KiB; empty when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 65536))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _frozen(group: int) -> bool:
    """Whether every thread of a process group is stopped, as far as this system tells."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(process.name)) != group:
                continue
            for thread in (process / "task").iterdir():
                if (thread / "stat").read_text().rpartition(")")[2].split()[0] not in "TtZX":
                    return False
        except OSError:  # gone since it was listed
            continue
    return True
