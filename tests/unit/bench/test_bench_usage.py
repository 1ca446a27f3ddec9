import os
import subprocess
import sys

import pytest

from bench import usage
from bench.usage import ProcessUse, Reading


def test_cpu_time_is_the_difference_summed_over_a_server_and_its_helpers() -> None:
    before = Reading(machine_busy=10.0, by_name={"rabbitmq": {1: 5.0, 2: 1.0}})
    after = Reading(machine_busy=14.0, by_name={"rabbitmq": {1: 7.0, 2: 1.5, 3: 0.25}})

    (use,) = usage.between(before, after)

    assert use.cpu_seconds == pytest.approx(2.75)
    assert not use.restarted


def test_a_process_with_a_new_pid_was_restarted() -> None:
    before = Reading(machine_busy=0.0, by_name={"history": {11: 5.0}})
    after = Reading(machine_busy=0.0, by_name={"history": {12: 1.0}})

    assert usage.between(before, after)[0].restarted


def test_microseconds_each() -> None:
    use = ProcessUse("gateway", cpu_seconds=2.0, peak_mib=80.0)

    assert use.microseconds_each(20_000) == pytest.approx(100.0)
    assert use.microseconds_each(0) == 0.0


def test_strangers_are_what_the_machine_did_besides() -> None:
    cores = os.cpu_count() or 1
    before = Reading(machine_busy=0.0, by_name={"gateway": {1: 0.0}})
    after = Reading(machine_busy=4.0, by_name={"gateway": {1: 2.0}})

    assert usage.strangers_share(before, after, [1.0], seconds=10.0) == pytest.approx(1.0 / (10.0 * cores))


def test_peak_memory_remembers_what_was_given_back() -> None:
    hold = "import sys; held = b'x' * 80_000_000; del held; print('freed', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        peak = usage.peak_mib(process.pid)
        process.communicate("")

    assert 76 < peak < 150


def test_a_process_that_is_gone_holds_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()

    assert usage.peak_mib(process.pid) == 0.0


def test_reading_counts_a_server_with_the_helpers_it_started() -> None:
    helper = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"
    server = (
        "import subprocess, sys\n"
        f"code = {helper + chr(10)!r} + 'import sys; print(0, flush=True); sys.stdin.read()'\n"
        "subprocess.run([sys.executable, '-c', code])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", server], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()  # the helper has done its work
        reading = usage.read({"server": process.pid})
        (helper_pid,) = reading.by_name["server"].keys() - {process.pid}
        apart = usage.read({"server": process.pid, "helper": helper_pid})
        process.communicate("")

    assert len(reading.by_name["server"]) == 2
    assert sum(reading.by_name["server"].values()) >= 0.28
    assert reading.machine_busy > 0
    assert {name: list(cpu) for name, cpu in apart.by_name.items()} == {
        "server": [process.pid],
        "helper": [helper_pid],
    }


def test_reading_a_process_that_is_gone_is_empty() -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()

    assert usage.read({"server": process.pid}).by_name == {"server": {}}
