"""A private RabbitMQ: its own node, ports, user and files under one directory, nothing shared with the machine's."""

import asyncio
import os
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

from weir.local import find
from weir.local.keep import Ports, kept_secret, private_dir, write_private
from weir.local.process import Process, tail

_HOST = "127.0.0.1"
_USER = "weir"
_HELLO = b"AMQP\x00\x00\x09\x01"
_LOOPBACK_ONLY = "-kernel inet_dist_use_interface {127,0,0,1}"

# Erlang's files, the broker's switches and the locale; everything else RabbitMQ would find by itself is shut out.
_CONFIG = """\
listeners.tcp.loopback = {host}:{amqp}
management.tcp.ip = {host}
management.tcp.port = {management}
prometheus.tcp.ip = {host}
prometheus.tcp.port = {prometheus}
default_user = {user}
default_pass = {password}
# A handler may take a minute at most; a delivery held for five has been forgotten.
consumer_timeout = 300000
# Bodies are batches of at most 256 KiB.
max_message_size = 1048576
vm_memory_high_watermark.absolute = {memory}
disk_free_limit.absolute = 256MB
# Half a gigabyte of write-ahead log, the default, is held in memory too.
raft.wal_max_size_bytes = 134217728
log.console = false
log.file.level = info
log.file.rotation.size = 10485760
log.file.rotation.count = 3
"""


class RabbitServer:
    """One RabbitMQ node with its data under `data_dir`.

    Loopback only, the management and Prometheus plugins on ports of their own, a generated user instead of `guest`, and
    an Erlang port mapper (epmd) of its own that ends with it. Ports and password are kept in `data_dir`, so a restart,
    also after `kill -9`, comes back at the same `url` with the same queues and messages. One thing RabbitMQ 3.10 does
    not survive: a kill in the first second of a quorum queue's life, before it has written the queue's name to disk.
    """

    def __init__(self, data_dir: Path, amqp_port: int | None = None) -> None:
        self._dir = data_dir.absolute()
        self._wanted = amqp_port
        self._ports: dict[str, int] = {}
        self._password = ""
        self._node: Process | None = None
        self._epmd: Process | None = None

    @property
    def data_dir(self) -> Path:
        return self._dir

    @property
    def pid(self) -> int | None:
        """The Erlang machine's process id, None before the first start."""
        return self._node.pid if self._node else None

    @property
    def alive(self) -> bool:
        return self._node is not None and self._node.alive

    @property
    def url(self) -> str:
        """The AMQP address of the default vhost, with user and password: not for logs."""
        return self.url_for("/")

    @property
    def user(self) -> str:
        return _USER

    @property
    def password(self) -> str:
        return self._password

    @property
    def port(self) -> int:
        return self._ports["amqp"]

    @property
    def management_url(self) -> str:
        """The management plugin's address, without credentials."""
        return f"http://{_HOST}:{self._ports['management']}"

    @property
    def prometheus_url(self) -> str:
        """The address of the broker's own metrics."""
        return f"http://{_HOST}:{self._ports['prometheus']}/metrics"

    def url_for(self, vhost: str) -> str:
        """The AMQP address of one vhost, with user and password."""
        path = "" if vhost == "/" else quote(vhost, safe="")
        return f"amqp://{_USER}:{quote(self._password)}@{_HOST}:{self.port}/{path}"

    async def start(self, seconds: float = 90.0) -> None:
        """Start the node and return when it takes AMQP connections.

        Raises ServerMissing when RabbitMQ is not installed, RuntimeError when it does not come up.
        """
        scripts, mapper = find.rabbitmq_dir(), find.epmd()
        if scripts is None or mapper is None:
            raise find.ServerMissing("RabbitMQ is not installed: install the package rabbitmq-server")
        self._prepare()
        log = self._dir / "log" / "console.log"
        self._epmd = Process(
            [mapper, "-address", _HOST, "-port", str(self._ports["epmd"])], self._env(), log, self._dir
        )
        self._node = Process([str(scripts / "rabbitmq-server")], self._env(), log, self._dir)
        deadline = time.monotonic() + seconds
        while not await speaks_amqp(self.port):
            if not self.alive or time.monotonic() > deadline:
                await self.kill()
                raise RuntimeError(f"RabbitMQ did not start; the end of its log ({self._dir / 'log'}):\n{self.tail()}")
            await asyncio.sleep(0.05)

    async def stop(self, grace: float = 10.0) -> None:
        """End the node in good order (killed after `grace` seconds), then its port mapper."""
        if self._node:
            await self._node.end(grace)
        if self._epmd:
            await self._epmd.kill()  # it keeps nothing

    async def kill(self) -> None:
        """SIGKILL, as a crash would: nothing is flushed, nothing is said."""
        if self._node:
            await self._node.kill()
        if self._epmd:
            await self._epmd.kill()

    def kill_now(self) -> None:
        """SIGKILL, without waiting for the end."""
        for process in (self._node, self._epmd):
            if process:
                process.kill_now()

    def pause(self) -> None:
        """Freeze the broker: connections stay open and nothing answers."""
        if self._node:
            self._node.freeze()

    def resume(self) -> None:
        if self._node:
            self._node.signal(signal.SIGCONT)

    def ctl(self, *arguments: str, seconds: float = 60.0) -> str:
        """Run `rabbitmqctl` against this node and return what it printed; raises CalledProcessError on failure."""
        scripts = find.rabbitmq_dir()
        if scripts is None:
            raise find.ServerMissing("RabbitMQ is not installed: install the package rabbitmq-server")
        command = [str(scripts / "rabbitmqctl"), "--quiet", *arguments]
        done = subprocess.run(command, env=self._env(), capture_output=True, text=True, timeout=seconds, check=True)
        return done.stdout

    def tail(self, lines: int = 20) -> str:
        """The end of the node's log and console."""
        return "\n".join(
            filter(None, (tail(self._dir / "log" / name, lines) for name in ("rabbit.log", "console.log")))
        )

    def _prepare(self) -> None:
        private_dir(self._dir)
        private_dir(self._dir / "home")
        ports = Ports(self._dir / "ports.json")
        self._ports = {name: ports.take(name) for name in ("management", "prometheus", "dist", "epmd")}
        self._ports["amqp"] = ports.take("amqp", self._wanted)
        self._password = kept_secret(self._dir / "password")
        config = _CONFIG.format(host=_HOST, user=_USER, password=self._password, memory=_memory(), **self._ports)
        write_private(self._dir / "rabbitmq.conf", config)
        write_private(self._dir / "enabled_plugins", "[rabbitmq_management,rabbitmq_prometheus].\n")

    def _env(self) -> dict[str, str]:
        """Exactly what the node may see: none of the caller's RABBITMQ_* settings, none of the system's files."""
        here = self._dir
        path = os.environ.get("PATH", "") + ":/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        return {
            "PATH": path,
            "HOME": str(here / "home"),  # the Erlang cookie lives there
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "ERL_EPMD_PORT": str(self._ports["epmd"]),
            "ERL_EPMD_ADDRESS": _HOST,
            "RABBITMQ_NODENAME": "weir@localhost",
            "RABBITMQ_DIST_PORT": str(self._ports["dist"]),
            "RABBITMQ_MNESIA_BASE": str(here / "mnesia"),
            "RABBITMQ_LOG_BASE": str(here / "log"),
            "RABBITMQ_LOGS": str(here / "log" / "rabbit.log"),
            "RABBITMQ_CONFIG_FILE": str(here / "rabbitmq.conf"),
            "RABBITMQ_CONFIG_FILES": str(here / "conf.d"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(here / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(here / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(here / "enabled_plugins"),
            "RABBITMQ_SCHEMA_DIR": str(here / "schema"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(here / "config"),
            "RABBITMQ_PID_FILE": str(here / "rabbitmq.pid"),
            # Together these make the start script become the Erlang machine instead of standing in front of it,
            # so that the process we started is the broker.
            "RABBITMQ_ALLOW_INPUT": "1",
            "RABBITMQ_SERVER_START_ARGS": "-noinput",
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": _LOOPBACK_ONLY,
            "RABBITMQ_CTL_ERL_ARGS": _LOOPBACK_ONLY,
        }


def _memory() -> int:
    """Bytes of memory at which the broker holds publishers back: 40 % of the machine's, 2 GiB at most."""
    return min(2 * 1024**3, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 2 // 5)


async def speaks_amqp(port: int) -> bool:
    """Whether a broker answers the protocol header with a method frame (Connection.Start)."""
    try:
        async with asyncio.timeout(2):
            reader, writer = await asyncio.open_connection(_HOST, port)
            try:
                writer.write(_HELLO)
                return await reader.readexactly(1) == b"\x01"
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
