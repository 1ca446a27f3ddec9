from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.content import Article, Image, News, Text
from services.history import roads
from services.history.incident_views import csv_lines
from services.history.roads import STATES, WINDOW, road, room, summed, wrong_with

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


def wrote(ago: timedelta) -> dict[str, Any]:
    return {"direction": "in", "kind": "text", "at": NOW - ago}


def clicked(ago: timedelta) -> dict[str, Any]:
    return {"direction": "in", "kind": "event.click", "at": NOW - ago}


def told(ago: timedelta, via: str = "custom", status: str = "sent") -> dict[str, Any]:
    return {"direction": "out", "kind": "text", "at": NOW - ago, "via": via, "status": status}


@pytest.mark.parametrize(
    ("messages", "kind", "left"),
    [
        ([wrote(HOUR)], "custom", 5),
        ([wrote(48 * HOUR - SECOND)], "custom", 5),
        ([wrote(48 * HOUR)], "mass", 4),
        ([wrote(HOUR), told(MINUTE), told(MINUTE, status="unknown")], "custom", 3),
        ([wrote(HOUR), told(MINUTE, "passive"), told(MINUTE, status="failed")], "custom", 5),
        ([wrote(HOUR), *[told(MINUTE)] * 5], "mass", 4),
        ([*[told(2 * HOUR)] * 5, wrote(HOUR)], "custom", 5),
        ([clicked(59 * SECOND)], "custom", 3),
        ([clicked(MINUTE)], "mass", 4),
        ([clicked(30 * SECOND), *[told(10 * SECOND)] * 3], "mass", 4),
        ([wrote(HOUR), clicked(30 * SECOND), *[told(10 * SECOND)] * 3], "custom", 5),
        ([wrote(HOUR), clicked(30 * SECOND), *[told(10 * SECOND)] * 4], "custom", 4),
        ([*[told(HOUR, "mass")] * 4], "none", 0),
        ([*[told(240 * HOUR, "mass")] * 4], "mass", 4),
        ([], "mass", 4),
    ],
)
def test_the_road_is_what_the_last_acts_allow(messages: list[dict[str, Any]], kind: str, left: int) -> None:
    found = road(None, messages, NOW)
    assert (found.kind, found.left) == (kind, left)
    assert found.reason.endswith(".")
    assert (found.window is not None) == (kind == "custom")


def test_who_left_or_is_forgotten_is_not_reached() -> None:
    assert road({"unsubscribed_at": NOW}, [wrote(HOUR)], NOW).kind == "none"
    assert road({"erased": True}, [wrote(HOUR)], NOW).kind == "none"
    assert road({"unsubscribed_at": NOW - HOUR, "subscribed_at": NOW}, [wrote(HOUR)], NOW).kind == "custom"


def test_the_month_is_that_of_beijing() -> None:
    now = datetime(2026, 2, 28, 17, tzinfo=UTC)
    assert roads.since_month(now) == datetime(2026, 2, 28, 16, tzinfo=UTC)
    assert roads.since(now) == now - roads.MESSAGE


@given(st.integers(0, 10_000))
def test_no_more_than_the_window_are_under_way(released: int) -> None:
    assert 0 <= room(released) <= WINDOW
    assert released + room(released) <= max(released, WINDOW)


@given(st.dictionaries(st.sampled_from(STATES), st.integers(0, 1000)))
def test_the_total_is_the_sum_of_all_states(counts: dict[str, int]) -> None:
    shown = summed({"_id": state, "count": count} for state, count in counts.items())
    assert shown["total"] == sum(shown[state] for state in STATES) == sum(counts.values())


def test_a_correction_is_checked_like_an_answer() -> None:
    assert wrong_with(Text("报" * 682)) == ""
    assert "2048" in wrong_with(Text("报" * 683))
    assert "empty" in wrong_with(Text(" "))
    assert wrong_with(Image("m")) == ""
    one = Article("t", "https://example.com")
    assert wrong_with(News((one,))) == ""
    assert "one article" in wrong_with(News((one, one)))


@pytest.mark.parametrize("cell", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", " =1+1"])
def test_no_cell_becomes_a_formula(cell: str) -> None:
    assert csv_lines([[cell]]).decode().lstrip('"').startswith("'")
    assert csv_lines([["报名"]]) == "报名\r\n".encode()
