from dataclasses import replace

import pytest

from bench.stored import Storage, check, message_number
from tests.unit.bench.made import LOAD, NUMBERS


def event_id(number: int, *, first: int = NUMBERS.first) -> str:
    return f"bench|oBench{number:022d}|{first + number}|1714037060"


ALL = [event_id(number) for number in (1, 2, 3, 4)]


def test_everything_once_is_right() -> None:
    found = check(LOAD, ALL, ALL)

    assert found == Storage(4, 4, 0, 0, 0, 0, 0)
    assert found.exactly_once


def test_other_loads_and_other_kinds_of_messages_do_not_count() -> None:
    before = [event_id(1, first=NUMBERS.first - 10**8), "bench|oBench1|1714037060|subscribe|", ""]

    assert check(LOAD, [*before, *ALL], [*ALL, *before]).exactly_once


def test_accepted_and_not_stored_is_lost_and_named() -> None:
    found = check(LOAD, ALL[:-1], ALL[:-1])

    assert (found.lost, found.unrecorded_replies) == (1, 1)
    assert found.examples == (str(NUMBERS.first + 4),)
    assert not found.exactly_once


def test_refused_and_unanswered_callbacks_may_be_missing_or_stored() -> None:
    load = replace(LOAD, answered=2, refused=1)  # one of the four had no answer

    assert check(load, ALL[:2], ALL[:2]).exactly_once
    assert check(load, ALL, ALL).exactly_once
    assert check(load, ALL[:1], ALL[:1]).lost == 1


def test_stored_twice_is_doubled() -> None:
    found = check(LOAD, [*ALL, ALL[0]], ALL)

    assert found.doubled == 1
    assert found.examples == (str(NUMBERS.first + 1),)
    assert not found.exactly_once


def test_two_replies_to_one_message_are_doubled() -> None:
    found = check(LOAD, ALL, [*ALL, ALL[2]])

    assert found.doubled_replies == 1
    assert not found.exactly_once


def test_a_reply_that_was_given_must_be_stored_one_still_to_come_need_not() -> None:
    assert check(LOAD, ALL, ALL[:3]).unrecorded_replies == 1
    assert check(replace(LOAD, answered=3, empty=1), ALL, ALL[:3]).exactly_once


def test_a_message_nobody_sent_is_wrong() -> None:
    assert check(LOAD, [*ALL, event_id(5)], ALL).invented == 1


def test_two_loads_add_up() -> None:
    both = check(LOAD, ALL, ALL) + check(LOAD, ALL[:-1], ALL)

    assert (both.inbound, both.outbound, both.lost) == (7, 8, 1)
    assert both.examples
    assert not both.exactly_once


@pytest.mark.parametrize("event", ["bench|oBench1|1714037060|CLICK|key", "x", "a|b|c|d"])
def test_ids_of_other_happenings_hold_no_message_number(event: str) -> None:
    assert message_number(event) is None
