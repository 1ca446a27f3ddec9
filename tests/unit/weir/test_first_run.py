"""The first run's account, token and files: made once, private, and taken by those who read them."""

import stat
from pathlib import Path

import yaml

from services.autoreply import rulefile
from services.gateway import triagefile
from services.gateway.accounts import Account, check
from weir.local import firstrun
from weir.local.keep import kept_secret


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_demo_account_is_one_the_gateway_takes(tmp_path: Path) -> None:
    for attempt in range(20):  # the key is drawn until it suits
        home = tmp_path / str(attempt)
        home.mkdir()
        account = firstrun.demo_account(home)
        check(Account(name="demo", **account))
        assert account["mode"] == "safe"


def test_secrets_are_made_once_and_private(tmp_path: Path) -> None:
    account = firstrun.demo_account(tmp_path)
    token, new = firstrun.admin_token(tmp_path)
    assert new
    assert len(token) >= 24
    assert firstrun.demo_account(tmp_path) == account
    assert firstrun.admin_token(tmp_path) == (token, False)
    assert kept_secret(tmp_path / "password") == kept_secret(tmp_path / "password")
    assert {mode(tmp_path / name) for name in ("demo-account.json", "admin-token", "password")} == {0o600}


def test_what_the_user_changed_is_left_alone(tmp_path: Path) -> None:
    rules, triage = tmp_path / "rules", tmp_path / "triage.yaml"
    firstrun.copy_files(rules, triage)
    (rules / "demo.yaml").write_text("mine")
    firstrun.copy_files(rules, triage)
    assert (rules / "demo.yaml").read_text() == "mine"


def test_every_menu_key_has_a_rule(tmp_path: Path) -> None:
    firstrun.copy_files(tmp_path, tmp_path / "triage.yaml")
    rules = yaml.safe_load((tmp_path / "demo.yaml").read_text())["rules"]
    answered = {key for rule in rules for key in rule["when"].get("click", [])}
    assert {button["key"] for button in firstrun._MENU if button["type"] == "click"} <= answered


def test_the_files_are_ones_the_services_take(tmp_path: Path) -> None:
    firstrun.copy_files(tmp_path, tmp_path / "triage.yaml")
    rules = rulefile.read((tmp_path / "demo.yaml").read_text())
    assert "hello" in {rule.id for rule in rules.document.rules}
    assert "demo" in triagefile.read((tmp_path / "triage.yaml").read_text())
