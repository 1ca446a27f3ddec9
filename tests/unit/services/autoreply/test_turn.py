"""What is remembered of a follower, without a store."""

from datetime import UTC, datetime, timedelta

from contracts.content import Text
from contracts.facts import Because, Handover, Part
from services.autoreply.turn import MAX_DECIDED, Turn, from_document, to_document
from services.autoreply.verdict import Verdict, from_json

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
VERDICT = Verdict("exact", ("hello",), (Part(Text("好"), Because(rule="hello")),), Handover(text="问"), note="x")


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_what_was_decided_about_an_event_is_recalled_whole() -> None:
    turn = Turn(("demo", "oA")).decide("e1", NOW, VERDICT)
    assert turn.recall("e1") == VERDICT
    assert turn.recall("e2") is None
    assert from_json(b'{"matcher": 1}') is None


def test_memory_of_verdicts_is_bounded_in_number_and_time() -> None:
    turn = Turn(("demo", "oA"))
    for number in range(30):
        turn = turn.decide(f"e{number}", later(number), VERDICT)
    assert [one.cause for one in turn.decided] == [f"e{n}" for n in range(30 - MAX_DECIDED, 30)]
    turn = turn.decide("new", later(3600 + 28), VERDICT)
    assert [one.cause for one in turn.decided] == ["e29", "new"]


def test_firings_are_counted_by_day_and_ever() -> None:
    turn = Turn(("demo", "oA")).fire(["a"], NOW, "2026-05-04").fire(["a", "b"], later(9), "2026-05-04")
    assert (turn.fired["a"].today, turn.fired["a"].ever, turn.fired["a"].at) == (2, 2, later(9))
    turn = turn.fire(["a"], later(90_000), "2026-05-05").fire(["a"], NOW, "2026-05-05")
    # An older event handled late does not turn the clock back: the cooldown runs from the last firing.
    assert (turn.fired["a"].today, turn.fired["a"].ever, turn.fired["a"].at) == (2, 4, later(90_000))
    assert turn.fired["b"].ever == 1


def test_turns_that_nothing_answered_count_until_something_does() -> None:
    turn = Turn(("demo", "oA")).left_unanswered("e1", NOW).left_unanswered("e1", NOW)
    assert len(turn.unanswered) == 1
    turn = turn.left_unanswered("e2", later(1)).left_unanswered("e3", later(2))
    assert turn.unanswered == ("e2", "e3")
    assert turn.answered().unanswered == ()
    assert Turn(("demo", "oA")).answered() == Turn(("demo", "oA"))


def test_it_comes_back_from_the_store_as_it_was_with_the_next_revision() -> None:
    turn = Turn(("demo", "oA"), 3, met="", acknowledged_at=NOW).fire(["a.b$"], NOW, "2026-05-04")
    turn = turn.left_unanswered("e1", NOW).decide("e1", NOW, VERDICT)
    document = to_document(turn)
    assert document["_id"] == "demo|oA"
    assert document["expires"] > later(86400 * 300)
    back = from_document(document)
    assert back.revision == 4
    assert back.recall("e1") == VERDICT
    assert (back.fired, back.unanswered, back.met, back.acknowledged_at) == (turn.fired, ("e1",), "", NOW)
    assert from_document(to_document(Turn(("demo", "oA")))).met is None
