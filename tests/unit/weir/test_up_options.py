"""What `weir up` accepts, and what it refuses with which words."""

import re
from pathlib import Path

import pytest

from contracts.errors import SettingsError
from weir.local.up import Options, main, parse, refuse_exposure

TOKEN = {"WEIR_ADMIN_TOKEN": "x" * 24}


def test_defaults_are_the_loopback_and_8000() -> None:
    options = parse([], {})
    assert (options.host, options.port, options.sandbox) == ("127.0.0.1", 8000, True)
    assert options.data_dir == Path.cwd() / ".weir"
    assert options.address == "http://localhost:8000"


def test_the_environment_moves_it_and_the_command_line_wins() -> None:
    environ = {"WEIR_PORT": "9000", "WEIR_HOME": "/srv/weir", "WEIR_HTTP_HOST": "127.0.0.2"}
    assert parse([], environ) == Options(host="127.0.0.2", port=9000, data_dir=Path("/srv/weir"))
    assert parse(["--port", "9001"], environ).port == 9001


@pytest.mark.parametrize("port", ["eighty", "0", "65536", "-1"])
def test_a_port_that_is_none_is_named(port: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(repr(port))):
        parse([], {"WEIR_PORT": port})


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_the_loopback_needs_nothing_more(host: str) -> None:
    refuse_exposure(Options(host=host), {})


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "weir.example.com"])
def test_beyond_the_loopback_the_sandbox_stays_at_home(host: str) -> None:
    with pytest.raises(SettingsError, match="--no-sandbox"):
        refuse_exposure(Options(host=host), TOKEN)


def test_beyond_the_loopback_the_token_is_of_the_users_choosing() -> None:
    exposed = Options(host="0.0.0.0", sandbox=False)
    with pytest.raises(SettingsError, match="WEIR_ADMIN_TOKEN"):
        refuse_exposure(exposed, {})
    refuse_exposure(exposed, TOKEN)


def test_a_short_token_is_refused_everywhere() -> None:
    with pytest.raises(SettingsError, match="WEIR_ADMIN_TOKEN has 23 characters"):
        refuse_exposure(Options(), {"WEIR_ADMIN_TOKEN": "x" * 23})


def test_the_gateway_is_found_from_this_machine_wherever_it_listens() -> None:
    assert Options(host="0.0.0.0", port=9).local_url == "http://127.0.0.1:9"
    assert Options(host="::1", port=9).local_url == "http://[::1]:9"
    assert Options(host="192.0.2.7", port=9).address == "http://192.0.2.7:9"


def test_a_mistake_is_one_sentence_and_status_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("WEIR_REPLY_DEADLINES", "4")
    assert main(["--data-dir", str(tmp_path)]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert err == "weir up: WEIR_REPLY_DEADLINES is not a setting; did you mean WEIR_REPLY_DEADLINE?\n"
