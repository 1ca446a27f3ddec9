"""The same two servers out of Docker, for machines without packages for them; published on the loopback only."""

import asyncio
import hashlib
import os
import subprocess
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from weir.local.keep import Ports, kept_secret, private_dir, write_private
from weir.local.process import Process
from weir.local.rabbit import speaks_amqp
from weir.local.replica import SET, ReplicaOfOne

RABBIT_IMAGE = "rabbitmq:4-management"
MONGO_IMAGE = "mongo:7"
_USER = "weir"
# The image is fetched on the first start.
_SECONDS = 600.0


class _Container:
    """One container, run in the foreground; its name and its volume follow from the data directory.

    The kernel cannot tie a container to us as it ties a process: after `kill -9` of the runner it lives on until the
    next start, which removes it. Its data is in the volume and stays.
    """

    def __init__(self, docker: str, data_dir: Path, kind: str) -> None:
        self._docker, self._dir = docker, data_dir.absolute()
        self._name = f"weir-{kind}-{hashlib.sha256(str(self._dir).encode()).hexdigest()[:8]}"
        self._kind = kind
        self._process: Process | None = None
        self._port = 0

    @property
    def pid(self) -> int | None:
        """The process id of the docker command that stands for the container."""
        return self._process.pid if self._process else None

    @property
    def port(self) -> int:
        return self._port

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.alive

    async def stop(self, grace: float = 10.0) -> None:
        if self._process:
            await asyncio.to_thread(self._command, "stop", "--time", str(round(grace)), self._name)
            await self._process.end(grace)

    async def kill(self) -> None:
        self.kill_now()
        if self._process:
            await self._process.wait()

    def kill_now(self) -> None:
        self._command("rm", "--force", self._name)
        if self._process:
            self._process.kill_now()

    def tail(self) -> str:
        return self._process.tail() if self._process else ""

    def _take_port(self) -> None:
        private_dir(self._dir)
        self._port = Ports(self._dir / "ports.json").take(self._kind)

    async def _run(self, arguments: Sequence[str], ready: Callable[[], Awaitable[bool]]) -> None:
        await asyncio.to_thread(self._command, "rm", "--force", self._name)  # left over from a run that was killed
        command = [self._docker, "run", "--rm", "--name", self._name, "--hostname", self._name, *arguments]
        self._process = Process(command, os.environ, self._dir / "console.log")
        deadline = time.monotonic() + _SECONDS
        while not await ready():
            if not self.alive or time.monotonic() > deadline:
                await self.kill()
                raise RuntimeError(f"the container {self._name} did not start:\n{self.tail()}")
            await asyncio.sleep(0.2)

    def _command(self, *arguments: str) -> None:
        subprocess.run([self._docker, *arguments], capture_output=True, check=False, timeout=60)


class DockerRabbit(_Container):
    """RabbitMQ in a container."""

    def __init__(self, docker: str, data_dir: Path) -> None:
        super().__init__(docker, data_dir, "rabbitmq")
        self._password = ""

    @property
    def url(self) -> str:
        """The AMQP address with user and password: not for logs."""
        return f"amqp://{_USER}:{self._password}@127.0.0.1:{self._port}/"

    async def start(self) -> None:
        """Start and return when it takes AMQP connections; RuntimeError when it does not come up."""
        self._take_port()
        self._password = kept_secret(self._dir / "password")
        # In a file, because a command line is for everyone on the machine to read.
        env = self._dir / "container.env"
        limits = "-rabbit consumer_timeout 300000 -rabbit max_message_size 1048576"
        write_private(
            env,
            f"RABBITMQ_DEFAULT_USER={_USER}\nRABBITMQ_DEFAULT_PASS={self._password}\n"
            f"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS={limits}\n",
        )
        arguments = ["--env-file", str(env), "--publish", f"127.0.0.1:{self._port}:5672"]
        arguments += ["--volume", f"{self._name}:/var/lib/rabbitmq", RABBIT_IMAGE]
        await self._run(arguments, lambda: speaks_amqp(self._port))


class DockerMongo(_Container):
    """MongoDB in a container: without a password, because the first user can only be made from inside it."""

    def __init__(self, docker: str, data_dir: Path) -> None:
        super().__init__(docker, data_dir, "mongodb")

    @property
    def url(self) -> str:
        return f"mongodb://127.0.0.1:{self._port}/?replicaSet={SET}"

    async def start(self) -> None:
        """Start and return when it is primary; RuntimeError when it does not come up."""
        self._take_port()
        # The same port inside and outside: the member must find itself under the address its clients use.
        port = str(self._port)
        arguments = ["--publish", f"127.0.0.1:{port}:{port}", "--volume", f"{self._name}:/data/db", MONGO_IMAGE]
        arguments += ["mongod", "--bind_ip_all", "--port", port, "--replSet", SET]
        arguments += ["--oplogSize", "990", "--wiredTigerCacheSizeGB", "0.5"]
        await self._run(arguments, ReplicaOfOne(self._port).ready)
