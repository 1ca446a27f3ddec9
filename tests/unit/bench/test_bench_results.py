import json
from dataclasses import replace

import pytest

from bench import results
from bench.results import BELOW, MET, NOT_DONE, WRONG
from bench.usage import ProcessUse
from tests.unit.bench.made import STORED_WELL, measurement


def levels(measurements: list[results.Measurement]) -> dict[str, str]:
    table = results.rows(measurements)
    return {verdict.what: verdict.level for verdict in results.verdicts(table, measurements)}


def test_repeats_become_one_row_of_medians() -> None:
    measured = [measurement("weir", speed, repeat=n) for n, speed in enumerate((5000, 9000, 6000), start=1)]

    (row,) = results.rows(measured)

    assert (row.per_second, row.repeats) == (6000, 3)


def test_rows_keep_connection_counts_apart() -> None:
    measured = [measurement("weir", 5000, connections=16), measurement("weir", 6000, connections=256)]

    assert [(row.connections, row.per_second) for row in results.rows(measured)] == [(16, 5000), (256, 6000)]


def test_ratios_compare_within_a_connection_count_only() -> None:
    measured = [
        measurement("aiohttp", 16000, connections=16),
        measurement("weir", 4000, connections=16),
        measurement("werobot", 3000),
        measurement("weir", 7500),
        measurement("aiohttp", 10000, connections=1000),
    ]

    found = [(r.connections, r.peer, r.value) for r in results.ratios(results.rows(measured))]

    assert found == [(16, "aiohttp", 0.25), (256, "werobot", 2.5)]


@pytest.mark.parametrize(("speed", "level"), [(7500, MET), (7400, BELOW), (4800, BELOW), (4700, NOT_DONE)])
def test_speed_is_held_against_werobot(speed: int, level: str) -> None:
    found = levels([measurement("werobot", 3000), measurement("weir", speed)])

    assert found["callbacks a second, Weir over werobot, 256 connections"] == level


@pytest.mark.parametrize(("speed", "level"), [(8000, MET), (7900, BELOW), (4800, BELOW), (4700, NOT_DONE)])
def test_speed_is_held_against_bare_aiohttp(speed: int, level: str) -> None:
    found = levels([measurement("aiohttp", 16000), measurement("weir", speed)])

    assert found["callbacks a second, Weir over aiohttp, 256 connections"] == level


def test_latency_is_held_at_256_connections() -> None:
    assert levels([measurement("weir", 5000, p99=249)])["p99, 256 connections"] == MET
    assert levels([measurement("weir", 5000, p99=251)])["p99, 256 connections"] == NOT_DONE
    assert "p99, 256 connections" not in levels([measurement("weir", 5000, connections=1000, p99=900)])


def test_memory_is_held_for_our_processes_and_not_for_the_servers_we_use() -> None:
    used = (ProcessUse("gateway", 1.0, 151.0), ProcessUse("history", 1.0, 90.0), ProcessUse("mongodb", 1.0, 700.0))

    found = levels([measurement("weir", 5000, processes=used)])

    assert found["peak memory of gateway"] == NOT_DONE
    assert found["peak memory of history"] == MET
    assert "peak memory of mongod" not in found


def test_one_lost_message_is_wrong() -> None:
    well = measurement("weir", 5000, storage=STORED_WELL)
    badly = measurement("weir", 5000, storage=replace(STORED_WELL, lost=1))

    what = "accepted messages and their replies, stored exactly once"
    assert levels([well])[what] == MET
    assert levels([well, badly])[what] == WRONG
    assert results.is_correct([well])
    assert not results.is_correct([well, badly])


def test_json_holds_the_run_and_survives_encoding() -> None:
    used = (ProcessUse("gateway", cpu_seconds=1.0, peak_mib=80.0),)
    measured = [
        measurement("werobot", 3000),
        measurement("weir", 7500, processes=used, storage=STORED_WELL),
    ]

    run = json.loads(json.dumps(results.as_json({"cores": 2}, {"seconds": 2}, measured)))

    assert run["schema"] == 1
    assert run["correct"] is True
    assert run["ratios"] == [{"connections": 256, "peer": "werobot", "value": 2.5}]
    weir = run["measurements"][1]
    assert weir["processes"][0]["cpu_microseconds"] == pytest.approx(1e6 / 15000)
    assert weir["storage"]["inbound"] == 4
