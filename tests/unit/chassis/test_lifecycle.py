"""The life of a process: how it starts, what ends it, and that it ends in good order within 10 s."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

PROGRAM = """\
import asyncio
from aiohttp import web
from chassis.amqp import Bus
from chassis.http import Health, app_runner, application
from chassis.lifecycle import Process, run
from chassis.publisher import Publisher
from contracts import topology
from contracts.errors import SettingsError


class Slow:
    \"\"\"A consumer with a call of {seconds} s in hand.\"\"\"

    queue, failed, idle = topology.HISTORY, False, True

    async def start(self):
        print("started", flush=True)

    async def drain(self):
        await asyncio.sleep({seconds})
        print("drained", flush=True)


async def build(settings):
    {first}
    bus = Bus(settings.amqp_url, "test")
    health = Health()

    async def closed():
        print("closed", flush=True)

    async def broken():
        raise RuntimeError("an index cannot be made")

    async def ended():
        await asyncio.sleep(0.2)

    return Process("test", settings, health, bus, Publisher(bus), app_runner(application(health)), [Slow()],
                   closers=[closed], {more})

run("test", build)
"""


class Service:
    def __init__(self, tmp_path: Path, *, seconds: float = 0, first: str = "pass", more: str = "", **env: str) -> None:
        script = tmp_path / "service.py"
        script.write_text(textwrap.dedent(PROGRAM.format(seconds=seconds, first=first, more=more)))
        clean = {name: value for name, value in os.environ.items() if not name.startswith("WEIR_")}
        self.process = subprocess.Popen(
            [sys.executable, str(script)],
            env=clean
            | {
                "PYTHONPATH": str(Path(__file__).parents[3]),
                "WEIR_AMQP_URL": "amqp://127.0.0.1:9/",
                "WEIR_HTTP_PORT": "0",
            }
            | env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def started(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "started\n"

    def end(self, seconds: float = 15) -> tuple[int, str, str, float]:
        """Its code, what it printed and logged, and how long it took from now."""
        began = time.monotonic()
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err, time.monotonic() - began


@pytest.fixture
def services() -> Iterator[list[Service]]:
    made: list[Service] = []
    yield made
    for service in made:
        service.process.kill()
        service.process.communicate()


def test_sigterm_ends_it_in_good_order(tmp_path: Path, services: list[Service]) -> None:
    services.append(service := Service(tmp_path))
    service.started()
    service.process.send_signal(signal.SIGTERM)
    code, out, _, took = service.end()
    assert (code, out) == (0, "drained\nclosed\n")
    assert took < 4


def test_a_call_in_hand_is_finished_though_it_takes_5_s(tmp_path: Path, services: list[Service]) -> None:
    """Cut off, a call of WeChat's API is of unknown outcome; and yet the process ends within 10 s."""
    services.append(service := Service(tmp_path, seconds=5))
    service.started()
    service.process.send_signal(signal.SIGTERM)
    code, out, _, took = service.end()
    assert (code, out) == (0, "drained\nclosed\n")
    assert took < 10


def test_what_does_not_end_is_left_and_the_process_ends_all_the_same(tmp_path: Path, services: list[Service]) -> None:
    services.append(service := Service(tmp_path, seconds=60))
    service.started()
    service.process.send_signal(signal.SIGTERM)
    code, out, _, took = service.end()
    assert (code, out) == (0, "closed\n")
    assert took < 10


def test_a_second_signal_ends_it_at_once(tmp_path: Path, services: list[Service]) -> None:
    services.append(service := Service(tmp_path, seconds=60))
    service.started()
    service.process.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    service.process.send_signal(signal.SIGTERM)
    code, _, err, took = service.end()
    assert code == 1
    assert "second signal" in err
    assert took < 2


@pytest.mark.parametrize("more", ["before=[broken]", "background=[ended]", "background=[broken]"])
def test_what_cannot_go_on_ends_the_process(tmp_path: Path, services: list[Service], more: str) -> None:
    services.append(service := Service(tmp_path, more=more))
    code, out, err, _ = service.end()
    assert code not in (0, 1)
    assert out.endswith("drained\nclosed\n")
    assert "a background task" in err


@pytest.mark.parametrize(
    ("env", "first", "wanted"),
    [
        ({"WEIR_LOG_LEVEL": "loud"}, "pass", "WEIR_LOG_LEVEL"),
        ({"WEIR_AMQP_URI": "x"}, "pass", "did you mean WEIR_AMQP_URL"),
        ({}, "raise SettingsError('WEIR_JOURNAL_DIR cannot be used')", "WEIR_JOURNAL_DIR cannot be used"),
    ],
)
def test_a_wrong_setting_is_one_line(
    tmp_path: Path, services: list[Service], env: dict[str, str], first: str, wanted: str
) -> None:
    services.append(service := Service(tmp_path, first=first, **env))
    code, _, err, _ = service.end()
    assert code == 1
    assert wanted in err
    assert err.splitlines()[-1].startswith("test: ")
    assert "Traceback" not in err


def test_no_secret_is_logged_at_start(tmp_path: Path, services: list[Service]) -> None:
    services.append(
        service := Service(
            tmp_path,
            WEIR_AMQP_URL="amqp://weir:hunter2@127.0.0.1:9/",
            WEIR_ADMIN_TOKEN="hunter3-hunter3-hunter3-hunter3",
        )
    )
    service.started()
    service.process.send_signal(signal.SIGTERM)
    _, _, err, _ = service.end()
    assert '"event": "starting"' in err
    assert "hunter" not in err
