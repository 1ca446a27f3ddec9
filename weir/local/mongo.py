"""A private MongoDB: one mongod, a replica set of one, its own user, port and files under one directory."""

import asyncio
import signal
import time
from pathlib import Path

from weir.local import find
from weir.local.keep import Ports, kept_secret, private_dir
from weir.local.process import Process, tail
from weir.local.replica import SET, ReplicaOfOne

_HOST = "127.0.0.1"
_USER = "weir"
_LOG_LIMIT = 32 * 1024 * 1024


class MongoServer:
    """One mongod with its data under `data_dir`.

    Loopback only, with a generated user and password; primary of a replica set of one, so that transactions and change
    streams work. Port and password are kept in `data_dir`, so a restart, also after `kill -9`, comes back at the same
    `url` with its data.
    """

    def __init__(self, data_dir: Path, port: int | None = None) -> None:
        self._dir = data_dir.absolute()
        self._wanted = port
        self._port = 0
        self._password = ""
        self._process: Process | None = None

    @property
    def pid(self) -> int | None:
        """The server's process id, None before the first start."""
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        """The address with user and password: not for logs."""
        return f"mongodb://{_USER}:{self._password}@{_HOST}:{self._port}/?replicaSet={SET}&authSource=admin"

    async def start(self, seconds: float = 60.0) -> None:
        """Start the server and return when it is primary and its user exists.

        Raises ServerMissing when there is no mongod, RuntimeError with the end of its log when it does not come up.
        """
        program = find.mongod()
        if program is None:
            raise find.ServerMissing("MongoDB is not installed: put mongod on PATH, or set WEIR_MONGODB_URL")
        self._prepare()
        self._process = Process(self._command(program), {"LC_ALL": "C.UTF-8"}, self._dir / "console.log", self._dir)
        deadline = time.monotonic() + seconds
        replica = ReplicaOfOne(self._port, _USER, self._password)
        while not await replica.ready():
            if not self.alive or time.monotonic() > deadline:
                await self.kill()
                raise RuntimeError(
                    f"mongod did not start; the end of its log ({self._dir / 'mongod.log'}):\n{self.tail()}"
                )
            await asyncio.sleep(0.05)

    async def stop(self, grace: float = 10.0) -> None:
        """End the server in good order; killed after `grace` seconds."""
        if self._process:
            await self._process.end(grace)

    async def kill(self) -> None:
        """SIGKILL, as a crash would."""
        if self._process:
            await self._process.kill()

    def kill_now(self) -> None:
        """SIGKILL, without waiting for the end."""
        if self._process:
            self._process.kill_now()

    def pause(self) -> None:
        """Freeze the server: connections stay open and nothing answers."""
        if self._process:
            self._process.freeze()

    def resume(self) -> None:
        if self._process:
            self._process.signal(signal.SIGCONT)

    def tail(self, lines: int = 10) -> str:
        """The end of the server's log and console."""
        return "\n".join(filter(None, (tail(self._dir / name, lines) for name in ("mongod.log", "console.log"))))

    def _prepare(self) -> None:
        private_dir(self._dir)
        private_dir(self._dir / "db")
        self._port = Ports(self._dir / "ports.json").take("mongod", self._wanted)
        self._password = kept_secret(self._dir / "password")
        kept_secret(self._dir / "keyfile", 48)  # members of a set that asks for passwords know each other by it
        log = self._dir / "mongod.log"
        if log.exists() and log.stat().st_size > _LOG_LIMIT:
            log.replace(log.with_suffix(".log.1"))

    def _command(self, program: str) -> list[str]:
        command = [program, "--dbpath", str(self._dir / "db"), "--bind_ip", _HOST, "--port", str(self._port)]
        command += ["--replSet", SET, "--keyFile", str(self._dir / "keyfile"), "--nounixsocket"]
        command += ["--oplogSize", "512", "--wiredTigerCacheSizeGB", "0.5"]
        command += ["--quiet", "--logpath", str(self._dir / "mongod.log"), "--logappend"]
        return [*command, "--setParameter", "diagnosticDataCollectionEnabled=false"]
