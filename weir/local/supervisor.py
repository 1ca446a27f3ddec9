"""Keeps children running: starts them, starts a dead one again, and ends them all in order."""

import asyncio
import contextlib
import fcntl
import json
import os
import signal
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from weir.local.child import NotReady, Server
from weir.local.keep import write_private

_FIRST_PAUSE = 0.2
_LONGEST_PAUSE = 5.0
# A child that ran this long was well; its next death starts the pauses from the beginning.
_WELL = 30.0


class StartFailed(Exception):
    """A child did not come up; the text has its last lines."""


class AlreadyRunning(Exception):
    """Another supervisor holds this data directory."""


def say(line: str) -> None:
    """A progress line, on standard error."""
    print(line, file=sys.stderr, flush=True)


@contextlib.contextmanager
def sole_owner(home: Path) -> Iterator[None]:
    """Hold the data directory for as long as the block runs; the kernel lets go of it if we are killed."""
    with (home / "lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise AlreadyRunning(
                f"Weir already runs on {home} (process {holder}): stop it first, or choose another --data-dir"
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


@dataclass
class _Kept:
    name: str
    server: Server
    restarts: int = 0
    watch: asyncio.Task[None] | None = field(default=None, repr=False)


class Supervisor:
    """Children in batches: a batch starts together, later batches after earlier ones, and all end in reverse.

    `run_file` is rewritten after each change: {"pid", "address", "children": {name: {"pid", "port", "restarts"}}}.
    """

    def __init__(self, run_file: Path, address: str) -> None:
        self._run_file = run_file
        self._address = address
        self._batches: list[list[_Kept]] = []

    async def start(self, children: Mapping[str, Server]) -> None:
        """Start one batch and keep it running from then on. Raises StartFailed when a child does not become ready."""
        batch = [_Kept(name, server) for name, server in children.items()]
        self._batches.append(batch)
        tasks = [asyncio.create_task(self._first_start(kept)) for kept in batch]
        try:
            await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            raise

    async def stop(self, grace: float = 10.0) -> None:
        """End every child, the last batch first; a child that does not end in `grace` seconds is killed."""
        watches = [kept.watch for kept in self._all() if kept.watch]
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)
        for batch in reversed(self._batches):
            await asyncio.gather(*(kept.server.stop(grace) for kept in batch))
        self._run_file.unlink(missing_ok=True)

    def kill_now(self) -> None:
        """SIGKILL to all, without waiting for anything."""
        for kept in reversed(self._all()):
            kept.server.kill_now()
        self._run_file.unlink(missing_ok=True)

    def _all(self) -> list[_Kept]:
        return [kept for batch in self._batches for kept in batch]

    async def _first_start(self, kept: _Kept) -> None:
        started = time.monotonic()
        say(f"{kept.name}: starting")
        try:
            await kept.server.start()
        except (RuntimeError, OSError, NotReady) as error:
            raise StartFailed(f"{kept.name} did not start: {error}\n{kept.server.tail()}") from error
        say(f"{kept.name}: ready after {time.monotonic() - started:.1f} s")
        kept.watch = asyncio.create_task(self._keep_running(kept))
        self._note()

    async def _keep_running(self, kept: _Kept) -> None:
        pause, since = _FIRST_PAUSE, time.monotonic()
        while True:
            await _ended(kept.server)
            if time.monotonic() - since > _WELL:
                pause = _FIRST_PAUSE
            say(
                f"{kept.name}: ended unasked; starting it again in {pause:.1f} s. Its last lines:\n{kept.server.tail()}"
            )
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
            kept.restarts += 1
            since = time.monotonic()
            await self._start_again(kept)

    async def _start_again(self, kept: _Kept) -> None:
        start = asyncio.create_task(kept.server.start())
        try:
            await asyncio.sleep(0)  # the new process exists from here on, ready or not
            self._note()
            await start
            say(f"{kept.name}: ready again")
        except Exception as error:  # whatever it was, the next try may go better
            say(f"{kept.name}: {error}")
        finally:
            start.cancel()
        self._note()

    def _note(self) -> None:
        children = {
            kept.name: {"pid": kept.server.pid, "port": kept.server.port, "restarts": kept.restarts}
            for kept in self._all()
            if kept.server.pid is not None
        }
        run = {"pid": os.getpid(), "address": self._address, "children": children}
        write_private(self._run_file, json.dumps(run, indent=2) + "\n")


async def _ended(server: Server) -> None:
    while server.alive:  # noqa: ASYNC110  the end of a process sets no event
        await asyncio.sleep(0.05)


@contextlib.contextmanager
def obeying_signals(supervisor: Supervisor) -> Iterator[None]:
    """The first SIGTERM, SIGINT or SIGHUP cancels the current task; the second ends everything at once."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    told = False

    def obey() -> None:
        nonlocal told
        if told:
            supervisor.kill_now()
            os._exit(1)
        told = True
        say("stopping; once more to end at once")
        if task:
            task.cancel()

    signals = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    for number in signals:
        loop.add_signal_handler(number, obey)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
