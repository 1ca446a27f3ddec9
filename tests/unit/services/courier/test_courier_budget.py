"""Speed, shares of the classes, and pauses, with times given."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.gateway.courier import budget as policy
from services.gateway.courier.budget import Budget, capacity, grant, midnight, pause, paused

START = 1_779_300_000.0


def run(wants, seconds, speed=100.0, step=0.1):
    """Everybody asks every ``step`` for the same; how much each class got."""
    budget, got = Budget(counted_at=START), dict.fromkeys(wants, 0)
    for tick in range(1, round(seconds / step) + 1):
        budget, grants = grant(budget, wants, speed, START + tick * step)
        for name, count in grants.items():
            got[name] += count
    return got


@pytest.mark.parametrize(("name", "share"), [("urgent", 1.0), ("reply", 0.9), ("bulk", 0.7)])
def test_a_class_alone_gets_its_share_and_no_more(name, share):
    got = run({name: 1000}, 10)[name]
    assert got == pytest.approx(share * 1000, abs=1)


def test_people_go_first_then_replies_then_campaigns():
    assert run({"urgent": 1000, "reply": 1000, "bulk": 1000}, 10) == {"urgent": 1000, "reply": 0, "bulk": 0}
    got = run({"urgent": 4, "reply": 3, "bulk": 1000}, 10)
    assert got["urgent"] == 400
    assert got["reply"] == 300
    assert got["bulk"] <= 300


def test_an_agent_finds_room_in_the_middle_of_a_campaign():
    budget = Budget(counted_at=START)
    for tick in range(1, 51):
        budget, _ = grant(budget, {"bulk": 1000}, 100, START + tick / 10)
    _, grants = grant(budget, {"urgent": 20, "bulk": 1000}, 100, START + 5.1)
    assert grants["urgent"] == 20


def test_a_want_of_another_process_holds_the_lower_classes_back():
    budget, grants = grant(Budget(counted_at=START), {"urgent": 1000}, 100, START + 10)
    assert grants["urgent"] == 25
    budget, grants = grant(budget, {"bulk": 5}, 100, START + 10.2)
    assert grants["bulk"] == 0
    _, grants = grant(budget, {"bulk": 5}, 100, START + 10.2 + policy.HUNGER_SECONDS)
    assert grants["bulk"] == 5


def test_slow_accounts_send_too():
    assert run({"bulk": 10}, 100, speed=0.5)["bulk"] == pytest.approx(35, abs=1)


def test_a_clock_that_goes_back_makes_nothing():
    budget, _ = grant(Budget(counted_at=START), {"urgent": 1000}, 100, START + 10)
    budget, grants = grant(budget, {"urgent": 10}, 100, START)
    assert grants["urgent"] == 0
    _, grants = grant(budget, {"urgent": 1000}, 100, START + 10.1)
    assert grants["urgent"] == 10


@given(
    st.floats(min_value=0.1, max_value=500),
    st.lists(
        st.tuples(
            st.floats(min_value=0, max_value=1.5),
            st.dictionaries(st.sampled_from(["urgent", "reply", "bulk"]), st.integers(0, 200)),
        ),
        max_size=60,
    ),
)
def test_never_more_than_speed_and_burst_for_any_class_and_all(speed, asks):
    budget, now = Budget(counted_at=START), START
    got = {"urgent": 0, "reply": 0, "bulk": 0}
    for passed, wants in asks:
        now += passed
        budget, grants = grant(budget, wants, speed, now)
        for name, count in grants.items():
            assert 0 <= count <= wants[name]
            got[name] += count
    passed = now - START
    for level, counted in (("urgent", ("urgent", "reply", "bulk")), ("reply", ("reply", "bulk")), ("bulk", ("bulk",))):
        bound = capacity(level, speed) + passed * speed * policy.SHARES[level]
        assert sum(got[name] for name in counted) <= bound + 0.01


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-05-20T03:00:00", "2026-05-20T16:00:05"),
        ("2026-05-20T15:59:59", "2026-05-20T16:00:05"),
        ("2026-05-20T16:00:00", "2026-05-21T16:00:05"),
        ("2026-12-31T17:00:00", "2027-01-01T16:00:05"),
        ("2028-02-28T20:00:00", "2028-02-29T16:00:05"),
    ],
)
def test_midnight_is_that_of_shanghai(now, expected):
    assert midnight(at(now)) == at(expected)


def test_backing_off_grows_while_it_goes_on_and_starts_again_after_calm():
    budget, now, waits = Budget(), START, []
    for _ in range(6):
        budget = pause(budget, policy.THROTTLED, now)
        # Others of the same moment do not add up.
        assert pause(budget, policy.THROTTLED, now + 0.5) is budget
        waits.append(budget.pause.until - now)
        now = budget.pause.until + 1
    assert waits == [5, 15, 30, 60, 60, 60]
    budget = pause(budget, policy.THROTTLED, now + policy.CALM_SECONDS)
    assert budget.pause.step == 0


def test_the_longer_pause_stays():
    quota = pause(Budget(), policy.QUOTA, START)
    assert pause(quota, policy.TOKEN, START + 1) is quota
    assert pause(quota, policy.THROTTLED, START + 1) is quota
    assert pause(pause(Budget(), policy.TOKEN, START), policy.QUOTA, START + 1).pause.reason == policy.QUOTA
    assert paused(quota, START + 1).reason == policy.QUOTA
    assert paused(quota, midnight(START)) is None
    assert paused(Budget(), START) is None
