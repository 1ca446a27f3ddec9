"""Triage: a question is never buried, an entry never stands in front of one."""

import os
import time
from pathlib import Path

import pytest

from services.gateway.triage import DESK, ENTRY, NO_PATTERNS, QUESTION, SIGNAL, lane
from services.gateway.triagefile import TriageFile, TriageFileError, read

CONTEST = read('accounts: {demo: {entry: ["^#抽奖", "参加", "报名"]}}')["demo"]


def text(content: object) -> dict[str, object]:
    return {"MsgType": "text", "Content": content}


def event(name: str) -> dict[str, object]:
    return {"MsgType": "event", "Event": name}


@pytest.mark.parametrize("content", ["#抽奖 123", "我要参加", "报名！", "参加吧"])
def test_what_matches_a_pattern_is_an_entry(content: str) -> None:
    assert lane(text(content), CONTEST) == ENTRY
    assert lane(text(content), NO_PATTERNS) == QUESTION


@pytest.mark.parametrize(
    "content",
    [
        "报名怎么操作",
        "参加要多少钱",
        "还能参加吗",
        "还能参加吗！！",
        "参加?",
        "报名？谢谢",
        "如何参加",
        "参加的地点在哪",
        "为什么不能报名",
    ],
)
def test_a_question_stays_one_though_it_matches(content: str) -> None:
    assert lane(text(content), CONTEST) == QUESTION


@pytest.mark.parametrize("content", ["你好", "", None, "抽奖在哪", "我昨天买的东西坏了", 12345])
def test_any_other_text_is_a_question(content: object) -> None:
    assert lane(text(content), CONTEST) == QUESTION


def test_a_repetition_is_an_entry() -> None:
    assert lane(text("666"), NO_PATTERNS, repeats=True) == ENTRY


@pytest.mark.parametrize("fields", [text("我要参加"), text("你好"), {"MsgType": "image"}, event("CLICK")])
def test_what_is_said_in_a_conversation_is_the_persons(fields: dict[str, object]) -> None:
    assert lane(fields, CONTEST, repeats=True, in_conversation=True) == DESK


@pytest.mark.parametrize("name", ["LOCATION", "unsubscribe"])
def test_signals_are_nobodys_to_answer_even_in_a_conversation(name: str) -> None:
    assert lane(event(name), CONTEST, in_conversation=True) == SIGNAL


@pytest.mark.parametrize("kind", ["image", "voice", "video", "location", "file", "hologram"])
def test_other_messages_are_questions(kind: str) -> None:
    assert lane({"MsgType": kind}, CONTEST) == QUESTION


@pytest.mark.parametrize("name", ["subscribe", "SCAN", "CLICK", "scancode_waitmsg", "pic_weixin", "location_select"])
def test_interactive_events_are_questions(name: str) -> None:
    assert lane(event(name), CONTEST) == QUESTION


@pytest.mark.parametrize("name", ["LOCATION", "VIEW", "unsubscribe", "TEMPLATESENDJOBFINISH", "new_in_2030"])
def test_the_rest_are_signals(name: str) -> None:
    assert lane(event(name), CONTEST) == SIGNAL


@pytest.mark.parametrize("filling", [" ", "吗", "!", "吗 ", "?吗" * 2, "怎", "。！~ "])
def test_no_text_takes_long_to_judge(filling: str) -> None:
    """64 KiB that almost match, as a follower may send them: the event loop stands still meanwhile."""
    content = "参加吗" + filling * (60_000 // len(filling)) + "x"
    started = time.perf_counter()
    lane(text(content), CONTEST)
    assert time.perf_counter() - started < 0.05


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        ("accounts:\n  demo:\n  entry: [", "line 3"),
        ("accounts: {demo: {entry: ['[']}}", r"accounts.demo.entry: '\['"),
        ("accounts: {demo: {entry: ['.*']}}", "matches every text"),
        ("accounts: {demo: {entry: ['a{99999999999}']}}", "no regular expression"),
        ("accounts: {demo: {entries: ['a']}}", "unknown field `entries`"),
        ("accounts: {demo: {entry: a}}", "accounts"),
        ("accounts: {demo: {entry: [2024-02-30]}}", "day is out of range"),
        ("accounts: {demo: {entry: [7]}}", "Expected `str`"),
        ("[1, 2]", "Expected `object`"),
        ("accounts:", "accounts"),
        ("a: &a [*a]", "unknown field `a`|alias"),
        ("{{ template }}", "line 1"),
        ("\x00", "special characters"),
    ],
)
def test_a_bad_file_is_refused_with_its_reason(content: str, wanted: str) -> None:
    with pytest.raises(TriageFileError, match=wanted):
        read(content)


def test_an_empty_file_has_no_patterns() -> None:
    assert read("") == read("accounts: {}") == {}


def saved(path: Path, content: str) -> None:
    path.write_text(content, encoding="utf-8")
    os.utime(path, ns=(time.time_ns(), time.time_ns()))


def test_a_file_is_read_again_when_it_changes_and_a_bad_one_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "triage.yaml"
    file = TriageFile(path)
    file.refresh()
    assert file.get("demo") is NO_PATTERNS
    saved(path, "accounts: {demo: {entry: ['^#抽奖']}}")
    file.refresh()
    assert file.get("demo").match("#抽奖")
    kept = file.get("demo")
    for bad in ("accounts: {demo: {entry: ['[']}}", "accounts: {demo: {entry: [2024-02-30]}}", "a: &a [*a]", ": :"):
        saved(path, bad)
        file.refresh()
        assert file.get("demo") is kept
    path.write_bytes(b"\xff\xfe not utf-8")
    file.refresh()
    assert file.get("demo") is kept
    saved(path, "accounts: {demo: {entry: ['^参加']}}")
    file.refresh()
    assert not file.get("demo").match("#抽奖")
    path.unlink()
    file.refresh()
    assert file.get("demo") is NO_PATTERNS
