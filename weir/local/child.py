"""What the supervisor looks after: anything with a name that can be started, asked after and ended."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from weir.local.cores import Cores, give
from weir.local.process import Process

_LOG_LIMIT = 16 * 1024 * 1024


class NotReady(Exception):
    """A child runs but has not become ready in time."""


class Server(Protocol):
    """A child as the supervisor sees it. RabbitServer and MongoServer are such; CommandChild makes one of a command."""

    @property
    def pid(self) -> int | None: ...
    @property
    def port(self) -> int: ...
    @property
    def alive(self) -> bool: ...
    async def start(self) -> None: ...
    async def stop(self, grace: float = 10.0) -> None: ...
    def kill_now(self) -> None: ...
    def tail(self) -> str: ...


class CommandChild:
    """A command that serves HTTP on `port` and is ready when `ready()` says so."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str],
        port: int,
        log: Path,
        ready: Callable[[], Awaitable[bool]],
        after_start: Callable[[], Awaitable[None]] | None = None,
        cores: Cores = frozenset(),
    ) -> None:
        """`after_start` runs after every start, also after a restart: what the command forgets, it tells it again.

        `cores` are those it may use; none named, it may use what its starter may.
        """
        self._cores = cores
        self._argv, self._env, self._port, self._log = argv, env, port, log
        self._ready, self._after_start = ready, after_start
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def port(self) -> int:
        return self._port

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    async def start(self, seconds: float = 60.0) -> None:
        """Start and wait until ready. RuntimeError when it died, NotReady when it lives but is not ready in time."""
        if self._log.exists() and self._log.stat().st_size > _LOG_LIMIT:
            self._log.replace(self._log.with_suffix(".log.1"))
        self._process = Process(self._argv, self._env, self._log)
        give(self._process.pid, self._cores)
        deadline = time.monotonic() + seconds
        while not await self._ready():
            if not self._process.alive:
                raise RuntimeError(f"it ended with status {self._process.returncode}")
            if time.monotonic() > deadline:
                raise NotReady(f"not ready after {seconds:.0f} s")
            await asyncio.sleep(0.05)
        if self._after_start:
            await self._after_start()

    async def stop(self, grace: float = 10.0) -> None:
        if self._process:
            await self._process.end(grace)

    def kill_now(self) -> None:
        if self._process:
            self._process.kill_now()

    def tail(self) -> str:
        return self._process.tail() if self._process else ""
