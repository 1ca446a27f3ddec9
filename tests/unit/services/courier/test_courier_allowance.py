"""The arithmetic of a follower's allowance, with times given."""

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from contracts.facts import Window
from services.gateway.courier.allowance import Allowance, Share, give_back, offer, refusal, spend, take

NOW = datetime(2026, 5, 20, 12, 0, 0, tzinfo=UTC)


def opened(*windows):
    allowance = Allowance()
    for kind, ago in windows:
        allowance = offer(allowance, Window(kind, NOW - ago))
    return allowance


def use(allowance, count, now=NOW, prefix="s"):
    """Take until nothing is left, at most ``count`` times; (allowance, how many were granted)."""
    granted = 0
    for number in range(count):
        taken = take(allowance, Share(f"{prefix}{number}", 1), now)
        if taken is None:
            break
        allowance, granted = taken, granted + 1
    return allowance, granted


def test_a_message_allows_five_and_an_interaction_three():
    assert use(opened(("message", timedelta(hours=1))), 9)[1] == 5
    assert use(opened(("interaction", timedelta(seconds=1))), 9)[1] == 3
    assert use(opened(("message", timedelta(hours=1)), ("interaction", timedelta(seconds=1))), 9)[1] == 8
    assert use(Allowance(), 9)[1] == 0


def test_windows_end_at_their_second():
    message = opened(("message", timedelta(0)))
    assert take(message, Share("a", 1), NOW + timedelta(hours=48) - timedelta(seconds=1)) is not None
    assert take(message, Share("a", 1), NOW + timedelta(hours=48)) is None
    click = opened(("interaction", timedelta(0)))
    assert take(click, Share("a", 1), NOW + timedelta(seconds=59)) is not None
    assert take(click, Share("a", 1), NOW + timedelta(seconds=60)) is None


def test_the_window_that_ends_first_is_used_first():
    both = opened(("message", timedelta(hours=1)), ("interaction", timedelta(seconds=1)))
    taken, _ = use(both, 3)
    assert len(taken.windows["interaction"].used) == 3
    assert not taken.windows["message"].used


def test_a_newer_act_starts_afresh_and_an_older_one_changes_nothing():
    used, _ = use(opened(("message", timedelta(hours=1))), 5)
    assert take(used, Share("x", 1), NOW) is None
    assert offer(used, Window("message", NOW - timedelta(hours=2))) == used
    assert offer(used, Window("message", NOW - timedelta(hours=1))) == used
    fresh = offer(used, Window("message", NOW - timedelta(minutes=1)))
    assert use(fresh, 9, prefix="t")[1] == 5


def test_the_same_act_told_in_finer_time_is_not_newer():
    at = NOW - timedelta(minutes=1) + timedelta(microseconds=123_456)
    used, _ = use(offer(Allowance(), Window("message", at.replace(microsecond=123_000))), 5)
    assert offer(used, Window("message", at)) == used


def test_an_unknown_kind_of_window_opens_nothing():
    assert offer(Allowance(), Window("birthday", NOW)) == Allowance()


def test_a_send_takes_one_share_however_often_it_comes():
    allowance, _ = use(opened(("message", timedelta(0))), 1)
    again = take(allowance, Share("s0", 1), NOW)
    assert again == allowance
    newer = take(allowance, Share("s0", 2), NOW)
    assert newer is not None
    assert newer.windows["message"].used == (Share("s0", 2),)


def test_a_share_is_kept_although_the_window_has_ended():
    allowance, _ = use(opened(("message", timedelta(0))), 1)
    assert take(allowance, Share("s0", 2), NOW + timedelta(days=3)) is not None


def test_giving_back_is_for_the_holder_only():
    allowance, _ = use(opened(("message", timedelta(0))), 5)
    assert use(give_back(allowance, Share("s2", 1)), 9, prefix="t")[1] == 1
    taken_over = take(allowance, Share("s2", 2), NOW)
    assert taken_over is not None
    assert give_back(taken_over, Share("s2", 1)) == taken_over


def test_what_wechat_calls_over_is_over_until_the_next_act():
    allowance = spend(opened(("message", timedelta(hours=1)), ("interaction", timedelta(seconds=1))))
    assert use(allowance, 9)[1] == 0
    assert "WeChat said" in refusal(allowance, NOW)
    assert use(offer(allowance, Window("message", NOW)), 9)[1] == 5


def test_refusals_say_why():
    full, _ = use(opened(("message", timedelta(hours=1))), 5)
    assert "All 5 sends" in refusal(full, NOW)
    clicked, _ = use(opened(("interaction", timedelta(seconds=1))), 3)
    assert "All 3 sends" in refusal(clicked, NOW)
    assert "48 h window is over" in refusal(opened(("message", timedelta(hours=50))), NOW)
    assert "one minute" in refusal(opened(("interaction", timedelta(minutes=2))), NOW)
    assert "nothing is known" in refusal(Allowance(), NOW)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["message", "interaction", "send", "back"]),
            st.integers(min_value=0, max_value=90),
            st.integers(min_value=0, max_value=12),
        ),
        max_size=60,
    )
)
def test_no_act_ever_allows_more_than_its_limit(steps):
    allowance, now = Allowance(), NOW
    acts = {"message": 0, "interaction": 0}
    delivered = set()
    for what, seconds, send in steps:
        now += timedelta(seconds=seconds)
        share = Share(f"s{send}", 1)
        if what in acts:
            before = allowance
            allowance = offer(allowance, Window(what, now))
            acts[what] += allowance != before
        elif what == "send":
            taken = take(allowance, share, now)
            if taken is not None:
                allowance = taken
                delivered.add(share)
        else:
            given = give_back(allowance, share)
            if given != allowance:
                delivered.discard(share)
            allowance = given
        assert len(delivered) <= 5 * acts["message"] + 3 * acts["interaction"]
