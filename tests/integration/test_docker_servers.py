"""The Docker path, against a `docker` that runs the real programs in place of containers."""

import sys
from pathlib import Path

import pytest
from pymongo import MongoClient

from weir.local import find
from weir.local.container import DockerMongo, DockerRabbit

# Knows `run` of our two images, `stop` and `rm`, and writes down what it was asked. The container's process is the
# docker command itself, as far as signals go.
DOCKER = """#!{python}
import os, socket, subprocess, sys
words, here = sys.argv[1:], os.path.dirname(os.path.abspath(sys.argv[0]))
open(here + "/asked", "a").write(" ".join(words) + "\\n")
if words[0] != "run":
    sys.exit(0)
if "mongod" in words:
    os.makedirs(here + "/db", exist_ok=True)
    os.execv({mongod!r}, ["mongod", "--dbpath", here + "/db", "--nounixsocket", *words[words.index("mongod") + 1:]])
port = int(words[words.index("--publish") + 1].split(":")[1])
with socket.create_server(("127.0.0.1", port)) as server:
    while True:
        with server.accept()[0] as client:
            client.recv(8) == b"AMQP\\x00\\x00\\x09\\x01" and client.sendall(b"\\x01")
"""


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    path = tmp_path / "docker"
    path.write_text(DOCKER.format(python=sys.executable, mongod=find.mongod()))
    path.chmod(0o755)
    return path


def asked(docker: Path) -> list[str]:
    return (docker.parent / "asked").read_text().splitlines()


@pytest.mark.integration
async def test_mongodb_becomes_primary_without_a_password(docker: Path, tmp_path: Path) -> None:
    server = DockerMongo(str(docker), tmp_path / "mongodb")
    try:
        await server.start()
        with MongoClient(server.url) as client:
            client["d"]["c"].insert_one({"_id": 1})
    finally:
        await server.kill()
    run = next(line for line in asked(docker) if line.startswith("run "))
    assert f"--publish 127.0.0.1:{server.port}:{server.port}" in run


async def test_rabbitmq_gets_its_password_in_a_private_file(docker: Path, tmp_path: Path) -> None:
    server = DockerRabbit(str(docker), tmp_path / "rabbitmq")
    try:
        await server.start()
        password = server.url.split(":")[2].split("@")[0]
    finally:
        await server.stop()
    lines = asked(docker)
    assert [line.split()[0] for line in lines] == ["rm", "run", "stop"]
    assert f"--publish 127.0.0.1:{server.port}:5672" in lines[1]
    assert not any(password in line for line in lines)
    env = tmp_path / "rabbitmq/container.env"
    assert env.stat().st_mode & 0o777 == 0o600
    assert f"RABBITMQ_DEFAULT_PASS={password}" in env.read_text()
    assert not server.alive


async def test_a_container_that_dies_says_why(docker: Path, tmp_path: Path) -> None:
    docker.write_text("#!/bin/sh\n[ $1 = run ] || exit 0\necho no space left on device\nexit 125\n")
    with pytest.raises(RuntimeError, match="no space left on device"):
        await DockerRabbit(str(docker), tmp_path / "rabbitmq").start()
