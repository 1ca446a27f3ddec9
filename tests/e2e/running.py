"""A whole Weir as a user runs it: `weir up` in a directory of its own, and the ways to look at it from outside."""

import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weir.local.keep import free_port
from weir.local.process import Process, tail

REPOSITORY = Path(__file__).resolve().parents[2]
PROCESSES = ("history", "autoreply", "agent", "courier", "edge")
"""Those of ours that serve /metrics."""


@dataclass
class RunningWeir:
    """`weir up` with its data under `home`, on a port of its own. `openids` and `error_bodies` gather what was seen."""

    home: Path
    port: int = field(default_factory=free_port)
    openids: set[str] = field(default_factory=set, repr=False)
    error_bodies: list[str] = field(default_factory=list, repr=False)
    _process: Process | None = field(default=None, repr=False)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def console(self) -> Path:
        """What `weir up` itself printed."""
        return self.home.parent / "up.log"

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    @property
    def returncode(self) -> int | None:
        return self._process.returncode if self._process else None

    def start(self, seconds: float = 100.0) -> float:
        """Start and return when the ready line is there; how many seconds it took."""
        self.console.unlink(missing_ok=True)
        arguments = ["-m", "weir", "up", "--port", str(self.port), "--data-dir", str(self.home)]
        started = time.monotonic()
        self._process = Process([sys.executable, *arguments], self.environment(), self.console, self.home.parent)
        while "Weir is ready at " not in self.console.read_text():
            assert self.alive, f"weir up ended with {self.returncode}:\n{self.console.read_text()}"
            assert time.monotonic() - started < seconds, f"weir up is not ready:\n{self.console.read_text()}"
            time.sleep(0.1)
        return time.monotonic() - started

    def stop(self, *, again: bool = False) -> float:
        """SIGTERM, as `kill` sends it, or twice; how many seconds until `weir up` has ended."""
        assert self._process is not None
        started = time.monotonic()
        os.kill(self._process.pid, signal.SIGTERM)
        if again:
            time.sleep(0.5)
            os.kill(self._process.pid, signal.SIGTERM)
        while self.alive:
            assert time.monotonic() - started < 60, f"weir up does not end:\n{tail(self.console)}"
            time.sleep(0.05)
        return time.monotonic() - started

    def end(self) -> None:
        """Whatever state it is in, leave nothing running."""
        if not self.alive:
            return
        for name in self.children():
            self.signal(name, signal.SIGCONT)
        try:
            self.stop()
        finally:
            if self._process:
                self._process.kill_now()  # what it started is tied to it and goes with it

    def environment(self) -> dict[str, str]:
        """What its processes and commands see: nothing of the developer's own Weir."""
        mine = {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}
        return {**mine, "PYTHONPATH": str(REPOSITORY), "WEIR_HOME": str(self.home)}

    async def command(self, *arguments: str) -> tuple[int, str, str]:
        """Run `weir ...` against it: exit status, standard output and standard error."""
        program = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "weir", *arguments),
            env=self.environment(),
            cwd=self.home.parent,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(program.communicate(), 30)
        return program.returncode or 0, out.decode(), err.decode()

    def children(self) -> dict[str, dict[str, int]]:
        """Its processes by name, each with pid, port and restarts."""
        found: dict[str, dict[str, int]] = json.loads((self.home / "run.json").read_text())["children"]
        return found

    def pid(self, name: str) -> int:
        return self.children()[name]["pid"]

    def url(self, name: str) -> str:
        """The address of one process behind the one address."""
        return f"http://127.0.0.1:{self.children()[name]['port']}"

    def signal(self, name: str, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid(name), number)

    @property
    def admin_token(self) -> str:
        return (self.home / "admin-token").read_text().strip()

    @property
    def connections(self) -> dict[str, str]:
        found: dict[str, str] = json.loads((self.home / "connections.json").read_text())
        return found

    @property
    def demo(self) -> dict[str, str]:
        """The demo account with its secrets."""
        found: dict[str, str] = json.loads((self.home / "demo-account.json").read_text())
        return found

    def log(self, name: str) -> str:
        return (self.home / "logs" / f"{name}.log").read_text()

    def tails(self, lines: int = 25) -> str:
        """The end of every log, for a test that failed."""
        paths = [self.console, *sorted((self.home / "logs").glob("*.log"))]
        return "\n".join(f"--- {path.name}\n{tail(path, lines)}" for path in paths)

    def journal(self) -> int:
        """Bytes in the gateway's journal."""
        return sum(path.stat().st_size for path in (self.home / "journal").glob("*.journal"))

    def processes(self) -> list[str]:
        """Command lines of everything alive that belongs to it, by the data directory in arguments or environment."""
        mark, found = str(self.home).encode(), []
        for directory in Path("/proc").iterdir():
            if not directory.name.isdigit() or int(directory.name) == os.getpid():
                continue
            try:
                line, environment = (directory / "cmdline").read_bytes(), (directory / "environ").read_bytes()
            except OSError:
                continue
            if line and (mark in line or mark in environment):
                found.append(f"{directory.name} {line.replace(bytes(1), b' ').decode(errors='replace')[:160]}")
        return found

    async def gone(self, seconds: float = 5.0) -> list[str]:
        """What is still alive of it; waits for it to be nothing: Erlang's helpers end a moment after what they served."""
        deadline = time.monotonic() + seconds
        while (left := self.processes()) and time.monotonic() < deadline:
            await asyncio.sleep(0.05)
        return left


def metric(text: str, name: str, **labels: Any) -> float:
    """The sum of the samples of a metric that carry these labels."""
    total = 0.0
    for line in text.splitlines():
        head, _, value = line.rpartition(" ")
        wanted = all(f'{label}="{content}"' in head for label, content in labels.items())
        if (head == name or head.startswith(name + "{")) and wanted:
            total += float(value)
    return total
