import subprocess

import pytest

from bench import load, results, servers, systems


@pytest.mark.integration
@pytest.mark.parametrize("name", [results.AIOHTTP, results.AIOHTTP_UVLOOP])  # WeRoBot comes with `make bench` only
def test_every_peer_answers_the_callbacks_of_the_load(name: str) -> None:
    load.ensure_wrk()

    with systems.PEERS[name]() as running:
        seen = load.run(running.port, connections=2, seconds=1)

    assert seen.answered == seen.sent > 0


def test_a_server_that_ends_early_is_an_error_with_what_it_said() -> None:
    with (
        pytest.raises(servers.StartError, match="No module named"),
        servers.started(["bench.no_such_module"], ready="ready", within=20),
    ):
        pass


def test_a_server_is_gone_afterwards() -> None:
    with servers.started(["bench.peers.aiohttp_bare"], ready="ready", within=20) as (pid, _):
        assert subprocess.run(["kill", "-0", str(pid)]).returncode == 0

    assert subprocess.run(["kill", "-0", str(pid)], stderr=subprocess.DEVNULL).returncode != 0
