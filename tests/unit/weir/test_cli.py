"""The command `weir`: help, errors in one line, rules lint. What needs no server."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from weir.cli import main

Capture = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory without a Weir, and no addresses in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("WEIR_AMQP_URL", "WEIR_MONGODB_URL", "WEIR_MONGODB_DATABASE", "WEIR_HOME"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.mark.parametrize("word", ["--help", "-h", "help"])
def test_help_names_every_command(word: str, capsys: Capture) -> None:
    assert main([word]) == 0
    shown = capsys.readouterr().out
    for command in ("up", "accounts", "rules", "redrive", "export"):
        assert f"\n  {command} " in shown


def test_without_a_command_the_help_is_shown_and_it_fails(capsys: Capture) -> None:
    assert main([]) == 2
    assert "usage: weir" in capsys.readouterr().out


def test_an_unknown_command_is_named(capsys: Capture) -> None:
    assert main(["acounts"]) == 2
    assert "there is no command 'acounts'" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["up", "accounts", "rules", "redrive", "export"])
def test_every_command_explains_itself(command: str, capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"usage: weir {command}" in capsys.readouterr().out


def test_help_is_quick() -> None:
    started = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "weir", "--help"], check=True, capture_output=True, cwd=Path(__file__).parents[3]
    )
    assert time.monotonic() - started < 3


def one_line(text: str) -> str:
    assert text.count("\n") == 1, text
    assert "Traceback" not in text
    return text


@pytest.mark.parametrize("command", [["accounts", "list"], ["redrive"], ["redrive", "history"]])
def test_without_a_weir_it_says_how_to_point_at_one(command: list[str], capsys: Capture) -> None:
    assert main(command) == 1
    shown = one_line(capsys.readouterr().err)
    assert "weir up" in shown
    assert "WEIR_MONGODB_URL" in shown


@pytest.mark.parametrize("content", ["{", "", '["a"'])
def test_a_spoilt_file_of_addresses_is_told(nowhere: Path, content: str, capsys: Capture) -> None:
    (nowhere / ".weir").mkdir()
    (nowhere / ".weir" / "connections.json").write_text(content)
    assert main(["accounts", "list"]) == 1
    assert "connections.json cannot be read" in one_line(capsys.readouterr().err)


def test_a_server_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("WEIR_AMQP_URL", "amqp://weir:hunter2@127.0.0.1:9/")
    monkeypatch.setenv("WEIR_MONGODB_URL", "mongodb://weir:hunter2@127.0.0.1:9/")
    assert main(["accounts", "list"]) == 1
    shown = one_line(capsys.readouterr().err)
    assert "mongodb cannot be reached" in shown
    assert "hunter2" not in shown


def test_an_address_that_is_none_is_told(monkeypatch: pytest.MonkeyPatch, capsys: Capture) -> None:
    monkeypatch.setenv("WEIR_AMQP_URL", "amqp://x/")
    monkeypatch.setenv("WEIR_MONGODB_URL", "mongodb://weir:p@ss:word@x/")
    assert main(["accounts", "list"]) == 1
    shown = one_line(capsys.readouterr().err)
    assert "WEIR_MONGODB_URL" in shown


@pytest.mark.parametrize("arguments", [["--rate", "0"], ["--rate", "fast"], ["--limit", "x"], ["--rate", "nan"]])
def test_redrive_refuses_numbers_that_are_none(arguments: list[str], capsys: Capture) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["redrive", "history", *arguments])
    assert ended.value.code == 2
    assert arguments[1] in capsys.readouterr().err


def test_redrive_knows_its_queues(capsys: Capture) -> None:
    assert main(["redrive", "histroy"]) == 2
    assert "there is no queue 'histroy'; one of autoreply.question" in one_line(capsys.readouterr().err)


def test_rules_lint(nowhere: Path, capsys: Capture) -> None:
    good, bad = nowhere / "good.yaml", nowhere / "bad.yaml"
    good.write_text("version: 1\nrules: []\n")
    bad.write_text("version: 1\nrules:\n  - id: a\n    when: {}\n    reply: {type: text, content: x}\n")
    assert main(["rules", "lint", str(good)]) == 0
    assert "good.yaml: 0 rules, good" in capsys.readouterr().out
    assert main(["rules", "lint", str(good), str(bad), str(nowhere / "none.yaml")]) == 1
    shown = capsys.readouterr().err
    assert f"{bad}:4: rule 'a': when needs exactly one of" in shown
    assert "none.yaml: cannot be read" in shown
