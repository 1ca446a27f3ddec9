"""Who waits for which answer, with a clock of the test's own."""

from datetime import UTC, datetime

import pytest

from contracts.envelope import Event, decode, join
from services.gateway import answers as module
from services.gateway.answers import Answers, Asked, State, Waiting
from services.gateway.journal import JournalError
from services.gateway.load import EASY, FULL, SHORTEST, seconds_to_wait
from services.gateway.repeats import Repeats

AT = datetime(2026, 11, 22, tzinfo=UTC)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def answers(clock: Clock) -> Answers:
    return Answers(clock)


def asked(key: str) -> Asked:
    event = Event(id=key, source="/accounts/a", type="t", time=AT, account="a", replyto="gateway.reply", deadline=AT)
    return Asked("question.t", event)


def wait(answers: Answers, key: str, seconds: float = 4.5) -> Waiting:
    return answers.wait(key, seconds, asked(key), "oA", "gh_1", careful=False)


async def test_a_wait_ends_at_its_deadline(answers: Answers, clock: Clock) -> None:
    waiting = wait(answers, "a")
    clock.now += 4.4
    assert answers.expire() == 0
    clock.now += 0.2
    assert answers.expire() == 1
    assert waiting.answered.result() is None


async def test_a_short_wait_is_not_held_up_by_a_longer_one_before_it(answers: Answers, clock: Clock) -> None:
    """Under load those who come later get less time."""
    long, short = wait(answers, "long", 4.5), wait(answers, "short", 1.0)
    clock.now += 1.1
    assert answers.expire() == 1
    assert short.answered.done()
    assert not long.answered.done()


async def test_a_settled_event_is_remembered_for_a_minute(answers: Answers, clock: Clock) -> None:
    wait(answers, "a")
    answers.settle("a", State.PASSIVE)
    assert answers.waiting("a") is None
    clock.now += 59
    answers.expire()
    assert answers.settled("a") == (59, State.PASSIVE)
    clock.now += 2
    answers.expire()
    assert answers.settled("a") is None


async def test_memory_is_bounded_whatever_the_rate(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "KEEP_ENTRIES", 100)
    monkeypatch.setattr(module, "KEEP_UNDECIDED", 50)
    answers = Answers(clock)
    for number in range(1000):
        wait(answers, str(number))
        answers.settle(str(number), State.API)
    assert 50 <= len(answers._settled) <= 100
    assert answers.settled("999")
    assert answers.settled("1") is None
    assert len(answers._undecided) == 50
    assert len(answers) == 0


async def test_what_was_not_kept_is_an_error_for_every_connection(answers: Answers) -> None:
    waiting = wait(answers, "a")
    error = JournalError("disk full")
    answers.forget("a", error)
    assert answers.waiting("a") is None
    assert answers.settled("a") is None
    for future in (waiting.accepted, waiting.answered):
        with pytest.raises(JournalError):
            await future
    answers.forget("a", error)  # the second connection finds nothing left to do


async def test_undecided_events_are_asked_again_when_the_bus_was_lost(answers: Answers, clock: Clock) -> None:
    for key in ("told", "decided", "passive"):
        wait(answers, key)
    answers.settle("told", State.API)
    answers.settle("decided", State.API)
    answers.decided("decided")
    answers.settle("passive", State.PASSIVE)
    open_ = wait(answers, "open")
    clock.now += 1
    assert answers.bus_lost() == [asked("told")]
    assert answers.bus_lost() == []
    # One that still waited when it happened is asked again when its time is up.
    assert answers.settle("open", State.API) == open_.asked
    clock.now += 1
    wait(answers, "later")
    assert answers.settle("later", State.API) is None


def test_what_is_asked_again_has_nobody_waiting_for_it() -> None:
    (event,) = decode(join([asked("a").encoded]))
    assert (event.id, event.replyto, event.deadline) == ("a", "", None)


def test_under_load_the_wait_gets_shorter() -> None:
    assert seconds_to_wait(0, 4.5) == seconds_to_wait(EASY, 4.5) == 4.5
    assert 4.5 > seconds_to_wait((EASY + FULL) // 2, 4.5) > SHORTEST
    assert seconds_to_wait(FULL, 4.5) == seconds_to_wait(FULL * 10, 4.5) == SHORTEST
    assert seconds_to_wait(FULL, 0.5) == 0.5


class TestRepeats:
    def test_the_same_text_within_a_minute_repeats(self, clock: Clock) -> None:
        repeats = Repeats(clock)
        assert not repeats.seen("demo", "oA", "抽奖", "1")
        clock.now += 30
        assert repeats.seen("demo", "oA", " 抽奖 ", "2")
        clock.now += 61
        assert not repeats.seen("demo", "oA", "抽奖", "3")

    def test_another_text_follower_or_account_does_not(self, clock: Clock) -> None:
        repeats = Repeats(clock)
        repeats.seen("demo", "oA", "抽奖", "1")
        assert not repeats.seen("demo", "oB", "抽奖", "2")
        assert not repeats.seen("other", "oA", "抽奖", "3")
        assert not repeats.seen("demo", "oA", "在吗", "4")
        assert not repeats.seen("demo", "oA", "抽奖", "5")

    def test_wechats_second_try_of_a_message_is_no_repetition(self, clock: Clock) -> None:
        repeats = Repeats(clock)
        assert not repeats.seen("demo", "oA", "几点开门", "1")
        clock.now += 5
        assert not repeats.seen("demo", "oA", "几点开门", "1")
        assert repeats.seen("demo", "oA", "几点开门", "2")

    def test_it_remembers_a_bounded_number(self, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("services.gateway.repeats.ENTRIES", 10)
        repeats = Repeats(clock)
        for number in range(100):
            repeats.seen("demo", f"o{number}", "x", str(number))
        assert len(repeats._last) <= 10
