from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import MultiDict

from services.history.query import BadParameter, Position, cursor_of, export_query, list_query, moment, position

AT = datetime(2026, 1, 31, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    ["2026-01-31T00:00:00Z", "2026-01-31T08:00:00+08:00", "2026-01-31T08:00:00 08:00", "1769817600", "1769817600.0"],
)
def test_times_as_people_write_them(text):
    assert moment("from", text) == AT


@pytest.mark.parametrize(
    "text",
    [
        "yesterday",
        "2026-01-31",
        "2026-01-31T00:00:00",
        "1" * 12,
        "-5",
        "²",
        "0001-01-01T00:00:00+08:00",
        "9999-12-31T23:59:59-08:00",
    ],
)
def test_a_bad_time_names_the_parameter_and_an_example(text):
    with pytest.raises(BadParameter, match=r"^from: .*2026"):
        list_query({"from": text})


def test_everything_given():
    cursor = cursor_of(Position(AT, "x"))
    query = list_query(
        {
            "account": "demo",
            "openid": "o",
            "from": "1",
            "to": "2",
            "direction": "in",
            "kind": "event.click",
            "text": ".*",
            "limit": "500",
            "cursor": cursor,
        }
    )
    assert (query.account, query.openid, query.direction, query.kind, query.text) == (
        "demo",
        "o",
        "in",
        "event.click",
        ".*",
    )
    assert (query.start.timestamp(), query.end.timestamp(), query.limit) == (1, 2, 500)
    assert query.before == Position(AT, "x")
    assert list_query({}).limit == 50


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("direction", "up"),
        ("limit", "0"),
        ("limit", "501"),
        ("limit", "ten"),
        ("limit", "٣"),
        ("limit", "1e2"),
        ("kind", "a b"),
        ("kind", "x" * 200),
        ("text", "x" * 65),
        ("text", "a\0b"),
        ("account", "x" * 601),
        ("openid", "a\0b"),
        ("cursor", "!"),
        ("cursor", "bm90IGpzb24"),
        ("cursor", "WzFd"),
        ("cursor", "WzFlOTksIngiXQ"),
        ("cursor", "日"),
        ("flavour", "x"),
    ],
)
def test_what_is_wrong_is_named(name, value):
    with pytest.raises(BadParameter, match=f"^{name}: "):
        list_query({name: value})


def test_a_parameter_given_twice_is_refused():
    with pytest.raises(BadParameter, match=r"^kind: must be given once"):
        list_query(MultiDict([("kind", "text"), ("kind", "image")]))


def test_a_range_that_ends_before_it_begins():
    with pytest.raises(BadParameter, match=r"^to: "):
        list_query({"from": "2", "to": "2"})


def test_export_takes_less():
    export = export_query({"account": "demo", "after": "id", "from": "5"})
    assert (export.query.account, export.after, export.query.start.timestamp()) == ("demo", "id", 5)
    with pytest.raises(BadParameter, match=r"^cursor: there is no such parameter"):
        export_query({"cursor": "x"})


@given(st.integers(0, 4_000_000_000_000), st.text(max_size=50))
def test_a_cursor_comes_back_as_it_went(milliseconds, name):
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    assert position(cursor_of(Position(at, name))) == Position(at, name)


@given(st.text(max_size=30))
def test_no_cursor_breaks_anything(text):
    with suppress(BadParameter):
        assert isinstance(position(text), Position)
