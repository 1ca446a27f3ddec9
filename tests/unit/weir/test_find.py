"""Finding the servers' programs, with a PATH of our own making."""

import os
import stat
from pathlib import Path

import pytest

from weir.local import find, servers


def program(path: Path, text: str = "#!/bin/sh\nexit 0\n") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without RabbitMQ, MongoDB, apt and Docker; its empty directory for programs."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setattr(find, "_DEBIAN_RABBITMQ", tmp_path / "none")
    monkeypatch.setattr(find.importlib.util, "find_spec", lambda _name: None)
    return tmp_path / "bin"


def test_a_bare_machine_is_told_what_to_install(bare: Path, tmp_path: Path) -> None:
    with pytest.raises(find.ServerMissing, match="install rabbitmq-server"):
        servers.rabbit(tmp_path)
    with pytest.raises(find.ServerMissing, match="put mongod on PATH"):
        servers.mongo(tmp_path)


def test_a_mongod_on_path_is_taken(bare: Path) -> None:
    assert find.mongod() is None
    mongod = program(bare / "mongod")
    assert find.mongod() == mongod


def test_a_rabbitmq_on_path_is_followed_to_its_own_directory(bare: Path, tmp_path: Path) -> None:
    program(tmp_path / "opt/sbin/rabbitmq-server")
    bare.mkdir()
    (bare / "rabbitmq-server").symlink_to(tmp_path / "opt/sbin/rabbitmq-server")
    assert find.rabbitmq_dir() == tmp_path / "opt/sbin"


def test_docker_whose_daemon_is_silent_is_none(bare: Path) -> None:
    program(bare / "docker", "#!/bin/sh\nexit 1\n")
    assert find.docker() is None
    docker = program(bare / "docker")
    assert find.docker() == docker


def test_the_wheels_mongod_gets_its_executable_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mongod = tmp_path / "fiftyone/db/bin/mongod"
    program(mongod)
    mongod.chmod(0o644)
    monkeypatch.setenv("PATH", "")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(find.importlib.util, "find_spec", lambda _name: Spec([str(tmp_path / "fiftyone")]))
    assert find.mongod() == str(mongod)
    assert os.access(mongod, os.X_OK)
    assert stat.S_IMODE(mongod.stat().st_mode) == 0o755


class Spec:
    def __init__(self, places: list[str]) -> None:
        self.submodule_search_locations = places
