"""`weir accounts` on a real MongoDB."""

import io
import json
from typing import Any

import pytest

from services.gateway.accounts import Account, AccountError, check
from tests.integration.gateway_stage import ACCOUNT
from weir.cli import main

Capture = pytest.CaptureFixture[str]
REQUIRED = ["--appid", ACCOUNT.appid, "--secret", ACCOUNT.secret, "--original-id", ACCOUNT.original_id]


@pytest.fixture(autouse=True)
def addresses(mongo_url: str, mongo_db: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIR_MONGODB_URL", mongo_url)
    monkeypatch.setenv("WEIR_MONGODB_DATABASE", mongo_db)
    monkeypatch.setenv("WEIR_AMQP_URL", "amqp://nobody@127.0.0.1:9/")


def listed(capsys: Capture, *arguments: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert main(["accounts", "list", "--json", *arguments]) == 0
    rows: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    return rows


def test_there_and_back(capsys: Capture) -> None:
    assert listed(capsys) == []
    assert main(["accounts", "list"]) == 0
    assert "weir accounts add" in capsys.readouterr().out
    assert main(["accounts", "add", "shop", *REQUIRED, "--sends-per-second", "20"]) == 0
    shown = capsys.readouterr().out
    (row,) = listed(capsys, "--secrets")
    assert "/wechat/shop" in shown
    assert row["token"] in shown
    assert row["aes_key"] in shown
    assert row["secret"] == ACCOUNT.secret
    check(Account(**row))
    assert (row["mode"], row["sends_per_second"]) == ("safe", 20)
    assert main(["accounts", "remove", "shop"]) == 0
    assert listed(capsys) == []
    capsys.readouterr()
    assert main(["accounts", "remove", "shop"]) == 1
    assert "there is no account 'shop'" in capsys.readouterr().err


def test_secrets_are_shown_only_when_asked_for(capsys: Capture) -> None:
    key, previous = "k" * 43, "p" * 43
    main(
        [
            "accounts",
            "add",
            "shop",
            *REQUIRED,
            "--token",
            "tok3nOfMine",
            "--aes-key",
            key,
            "--previous-aes-key",
            previous,
        ]
    )
    shown = capsys.readouterr()
    for arguments in ([], ["--json"]):
        assert main(["accounts", "list", *arguments]) == 0
    listed_ = capsys.readouterr()
    for secret in (ACCOUNT.secret, "tok3nOfMine", key, previous):
        assert secret not in shown.out + shown.err + listed_.out + listed_.err
    assert main(["accounts", "list", "--secrets"]) == 0
    with_secrets = capsys.readouterr().out
    assert all(secret in with_secrets for secret in (ACCOUNT.secret, "tok3nOfMine", key, previous))


def test_a_change_keeps_what_is_not_given(capsys: Capture) -> None:
    """WeChat's page knows the token and the key: making up new ones would end the callbacks."""
    main(["accounts", "add", "shop", *REQUIRED])
    (before,) = listed(capsys, "--secrets")
    assert main(["accounts", "add", "shop", *REQUIRED, "--sends-per-second", "5"]) == 0
    shown = capsys.readouterr().out
    (after,) = listed(capsys, "--secrets")
    assert after == before | {"sends_per_second": 5}
    assert before["token"] not in shown


def test_the_secret_may_come_from_standard_input(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(ACCOUNT.secret + "\n"))
    arguments = ["--appid", ACCOUNT.appid, "--secret", "-", "--original-id", ACCOUNT.original_id]
    assert main(["accounts", "add", "shop", *arguments]) == 0
    assert listed(capsys, "--secrets")[0]["secret"] == ACCOUNT.secret


def test_plain_mode_is_warned_about_and_has_no_key(capsys: Capture) -> None:
    assert main(["accounts", "add", "shop", *REQUIRED, "--mode", "plain"]) == 0
    assert "forge" in capsys.readouterr().err
    assert listed(capsys, "--secrets")[0]["aes_key"] == ""


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"--appid": "wx123"}, "appid"),
        ({"--secret": "short-s3cr3t"}, "secret"),
        ({"--original-id": "shop"}, "original_id"),
        ({"--token": "no spaces!"}, "token"),
        ({"--aes-key": "short-k3y"}, "aes_key"),
        ({"--api-base": "ftp://x"}, "api_base"),
        ({"--sends-per-second": "0"}, "sends_per_second"),
        ({"--sends-per-second": "nan"}, "sends_per_second"),
        ({"name": "Shop/1"}, "name"),
    ],
)
def test_a_wrong_field_is_named_with_the_fix_and_without_its_value(
    changes: dict[str, str], field: str, capsys: Capture
) -> None:
    values = dict(zip(REQUIRED[::2], REQUIRED[1::2], strict=True)) | changes
    name = values.pop("name", "shop")
    assert main(["accounts", "add", name, *(word for pair in values.items() for word in pair)]) == 1
    shown = capsys.readouterr().err
    assert shown.startswith(f"weir accounts add: {field}: must be ")
    assert shown.count("\n") == 1
    assert "s3cr3t" not in shown
    assert "k3y" not in shown
    assert listed(capsys) == []


def test_safe_mode_needs_a_key() -> None:
    with pytest.raises(AccountError, match="aes_key: mode safe needs"):
        check(Account("a", ACCOUNT.appid, ACCOUNT.secret, "token", ACCOUNT.original_id))
