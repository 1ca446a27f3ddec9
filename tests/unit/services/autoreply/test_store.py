"""The rules in force: read again when a file changes; a bad file changes nothing."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from chassis import metrics
from services.autoreply.store import RuleStore

RULES = """\
version: 1
rules:
  - {id: %s, when: {text: {exact: ["a"]}}, reply: {type: text, content: b}}
"""
BAD = [
    "version: 1\nrules: [",
    "version: 3",
    "",
    "version: 1\nrules: &a [*a]",
    "{{ template }}",
    "a: 2024-02-30",
    "version: 1\nrules: [" + "[" * 3000,
    "version: 1\n? [a]\n: b",
    "\x00",
]


def save(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    os.utime(path, ns=(time.time_ns(), time.time_ns()))


@pytest.fixture
def store(tmp_path: Path) -> RuleStore:
    save(tmp_path / "demo.yaml", RULES % "first")
    made = RuleStore(tmp_path)
    made.refresh()
    return made


def rule_of(store: RuleStore, account: str = "demo") -> str | None:
    rules = store.get(account)
    return rules.document.rules[0].id if rules else None


def test_a_changed_file_is_in_force_at_the_next_look(store: RuleStore, tmp_path: Path) -> None:
    assert rule_of(store) == "first"
    save(tmp_path / "demo.yaml", RULES % "second")
    store.refresh()
    assert rule_of(store) == "second"


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_file_is_refused_and_the_old_rules_stay(store: RuleStore, tmp_path: Path, bad: str) -> None:
    kept = store.get("demo")
    save(tmp_path / "demo.yaml", bad)
    store.refresh()
    assert store.get("demo") is kept
    assert store.refused["demo"].startswith("line ")
    assert metrics.rules_refused._value.get() == 1
    save(tmp_path / "demo.yaml", RULES % "third")
    store.refresh()
    assert rule_of(store) == "third"
    assert store.refused == {}


def test_bytes_that_are_no_text_are_refused(store: RuleStore, tmp_path: Path) -> None:
    (tmp_path / "demo.yaml").write_bytes(b"\xff\xfe\x00")
    store.refresh()
    assert rule_of(store) == "first"
    assert "demo" in store.refused


def test_one_bad_file_does_not_touch_another_account(store: RuleStore, tmp_path: Path) -> None:
    save(tmp_path / "other.yaml", "rules")
    save(tmp_path / "third.yaml", RULES % "third")
    store.refresh()
    assert rule_of(store) == "first"
    assert rule_of(store, "other") is None
    assert rule_of(store, "third") == "third"


def test_a_file_that_is_gone_takes_its_rules_along(store: RuleStore, tmp_path: Path) -> None:
    save(tmp_path / "other.yaml", "bad: [")
    store.refresh()
    (tmp_path / "demo.yaml").unlink()
    (tmp_path / "other.yaml").unlink()
    store.refresh()
    assert store.get("demo") is None
    assert store.refused == {}


def test_without_a_directory_there_are_no_rules(tmp_path: Path) -> None:
    store = RuleStore(tmp_path / "none")
    store.refresh()
    assert store.get("demo") is None


async def test_it_keeps_looking_whatever_it_finds(store: RuleStore, tmp_path: Path) -> None:
    keeping = asyncio.create_task(store.keep())
    (tmp_path / "directory.yaml").mkdir()
    (tmp_path / "dangling.yaml").symlink_to(tmp_path / "nowhere")
    save(tmp_path / "demo.yaml", RULES % "new")
    async with asyncio.timeout(5):
        while rule_of(store) != "new":
            await asyncio.sleep(0.02)
    assert not keeping.done()
    keeping.cancel()
