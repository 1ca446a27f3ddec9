"""The supervisor over real processes: it brings back the dead, ends all in order, and leaves no orphan behind."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from weir.local.keep import Ports

PROGRAM = Path(__file__).with_name("supervised.py")


def until(what: Callable[[], Any], seconds: float = 30.0) -> Any:
    """Wait for something to be true and return it."""
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
    return value


class Run:
    """One supervisor in a process of its own."""

    def __init__(self, home: Path, *names: str) -> None:
        self.home = home
        command = [sys.executable, str(PROGRAM), str(home), *names]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def wait_ready(self) -> "Run":
        assert self.process.stdout.readline() == "ready\n"
        return self

    def children(self) -> dict[str, dict[str, int]]:
        return json.loads((self.home / "run.json").read_text())["children"]

    def leftovers(self) -> list[str]:
        """Every process that has our directory in its command line or environment."""
        return [line for process in Path("/proc").glob("[0-9]*") if (line := belongs(process, self.home))]


def belongs(process: Path, home: Path) -> str:
    try:
        seen = (process / "cmdline").read_bytes() + b"\0" + (process / "environ").read_bytes()
        zombie = (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return ""
    return f"{process.name} {seen[:200]!r}" if str(home).encode() in seen and not zombie else ""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Run]]:
    runs: list[Run] = []

    def start(*names: str) -> Run:
        runs.append(Run(tmp_path, *names))
        return runs[-1]

    yield start
    for each in runs:
        each.process.kill()
        each.process.communicate()
    until(lambda: not runs[0].leftovers())


@pytest.mark.integration
def test_kill_9_of_the_supervisor_leaves_no_process(run: Callable[..., Run]) -> None:
    weir = run("rabbitmq", "mongodb").wait_ready()
    assert len(weir.leftovers()) >= 5  # the supervisor, the broker and its helpers, epmd, mongod, the command
    weir.process.kill()
    until(lambda: not weir.leftovers(), 5)


@pytest.mark.integration
@pytest.mark.parametrize("server", ["mongodb", "rabbitmq"])
def test_a_killed_server_comes_back_at_its_address(run: Callable[..., Run], server: str) -> None:
    weir = run(server).wait_ready()
    before = weir.children()[server]
    os.kill(before["pid"], signal.SIGKILL)
    until(lambda: f"{server}: ready again" in weir.process.stderr.readline())
    after = weir.children()[server]
    assert after["pid"] != before["pid"]
    assert (after["port"], after["restarts"]) == (before["port"], 1)


def test_a_dead_command_is_started_again_and_counted(run: Callable[..., Run]) -> None:
    weir = run().wait_ready()
    for restarts in (1, 2):
        os.kill(weir.children()["web"]["pid"], signal.SIGKILL)
        until(lambda: "web: ready again" in weir.process.stderr.readline())
        assert weir.children()["web"]["restarts"] == restarts


def test_sigterm_ends_everything_and_says_nothing_bad(run: Callable[..., Run]) -> None:
    weir = run().wait_ready()
    weir.process.terminate()
    assert weir.process.wait(10) == 0
    assert not weir.leftovers()
    assert not (weir.home / "run.json").exists()


def test_a_second_sigterm_ends_at_once(run: Callable[..., Run]) -> None:
    weir = run("stubborn").wait_ready()
    started = time.monotonic()
    weir.process.terminate()
    until(lambda: "once more to end at once" in weir.process.stderr.readline())
    weir.process.terminate()
    assert weir.process.wait(5) == 1
    assert time.monotonic() - started < 5  # the stubborn one would have had ten
    until(lambda: not weir.leftovers(), 5)


def test_a_child_that_dies_at_its_start_is_named_with_its_last_words(run: Callable[..., Run]) -> None:
    weir = run("broken")
    _, said = weir.process.communicate(timeout=30)
    assert weir.process.returncode == 1
    assert "broken did not start: it ended with status 1\nno such rule: welcome" in said


def test_two_supervisors_in_one_directory_refuse(run: Callable[..., Run]) -> None:
    first = run().wait_ready()
    second = run()
    _, said = second.process.communicate(timeout=30)
    assert f"Weir already runs on {first.home} (process {first.process.pid})" in said
    assert first.process.poll() is None


def test_a_lock_of_a_killed_supervisor_is_no_obstacle(run: Callable[..., Run]) -> None:
    run().wait_ready().process.kill()
    run().wait_ready()


def test_a_port_taken_by_a_stranger_is_given_up(tmp_path: Path) -> None:
    import socket

    kept = Ports(tmp_path / "ports.json").take("web")
    assert Ports(tmp_path / "ports.json").take("web") == kept
    with socket.create_server(("127.0.0.1", kept)):
        assert Ports(tmp_path / "ports.json").take("web") != kept
