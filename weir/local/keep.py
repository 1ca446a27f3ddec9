"""Small things a data directory keeps: private files, ports and passwords that survive a restart."""

import json
import os
import secrets
import socket
from pathlib import Path


def private_dir(path: Path) -> Path:
    """Make a directory that only its owner can enter."""
    path.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.chmod(0o700)
    return path


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, whole or not at all."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    new.unlink(missing_ok=True)
    with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)


def kept_secret(path: Path, size: int = 24) -> str:
    """The secret in this file; a new random one, in hexadecimal, is made when there is none."""
    if not path.exists():
        write_private(path, secrets.token_hex(size))
    return path.read_text().strip()


def free_port() -> int:
    """A TCP port of the loopback interface that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port."""
    with socket.socket() as probe:
        # As servers do: a connection of the last run that the kernel still remembers is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


class Ports:
    """Ports by name, remembered in a file so that a restart keeps them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ports: dict[str, int] = {}
        if path.exists():
            self._ports = {str(name): int(port) for name, port in json.loads(path.read_text()).items()}

    def take(self, name: str, wanted: int | None = None) -> int:
        """The port `wanted`, else the remembered one, else (also when a stranger sits on that) a free one."""
        port = wanted or self._ports.get(name)
        others = {taken for other, taken in self._ports.items() if other != name}
        if port is None or (wanted is None and (port in others or not port_is_free(port))):
            port = free_port()
            while port in others:
                port = free_port()
        if self._ports.get(name) != port:
            self._ports[name] = port
            write_private(self._path, json.dumps(self._ports, indent=2) + "\n")
        return port
