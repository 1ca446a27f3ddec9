"""The list of processes: every one gets an address of its own and what it needs to find the others."""

import sys

from weir.local import plan

WORDS = {"sandbox": "7001", "history": "7002", "autoreply": "7003", "agent": "7005", "courier": "7004", "home": "/data"}


def test_words_are_filled_in() -> None:
    command = plan.command(plan.SANDBOX, WORDS)
    assert command == [sys.executable, "-m", "sandbox", "--port", "7001", "--state", "/data/sandbox.json"]


def test_each_process_gets_its_own_address_over_the_common_one() -> None:
    for part in plan.WORKERS:
        env = plan.environment(part, {"WEIR_HTTP_PORT": "8000", "A": "b"}, WORDS, 7002, "127.0.0.1")
        assert (env["WEIR_HTTP_HOST"], env["WEIR_HTTP_PORT"], env["A"]) == ("127.0.0.1", "7002", "b")


def test_the_sandbox_sees_no_setting_of_ours() -> None:
    common = {"WEIR_AMQP_URL": "amqp://user:secret@localhost/", "PATH": "/bin"}
    assert plan.environment(plan.SANDBOX, common, WORDS, 7001, "127.0.0.1") == {"PATH": "/bin"}


def test_the_edge_finds_the_others() -> None:
    env = plan.environment(plan.EDGE, {}, WORDS, 8000, "127.0.0.1")
    assert env["WEIR_EDGE_HISTORY_URL"] == "http://127.0.0.1:7002"
    assert env["WEIR_EDGE_COURIER_URL"] == "http://127.0.0.1:7004"
    assert env["WEIR_EDGE_AGENT_URL"] == "http://127.0.0.1:7005"
    assert env["WEIR_EDGE_SANDBOX_URL"] == "http://127.0.0.1:7001"


def test_without_a_sandbox_the_edge_is_not_told_of_one() -> None:
    words = {name: port for name, port in WORDS.items() if name != "sandbox"}
    assert "WEIR_EDGE_SANDBOX_URL" not in plan.environment(plan.EDGE, {}, words, 8000, "127.0.0.1")
