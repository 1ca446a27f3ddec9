"""What a long run keeps in memory has a limit."""

from boxes import CONFIG, NOON

from sandbox.accounts import MEDIA_LIFETIME, MEDIA_LIMIT
from sandbox.clock import Clock
from sandbox.followers import TIMELINE_LIMIT, Follower
from sandbox.world import World


def test_a_timeline_drops_its_oldest_entries_and_still_finds_its_place() -> None:
    follower = Follower(openid="o", account="demo", nickname="n")
    for number in range(TIMELINE_LIMIT + 5):
        follower.add({"via": "self" if number % 2 else "passive"})
    assert len(follower.timeline) == TIMELINE_LIMIT
    last = TIMELINE_LIMIT + 5
    assert [entry["seq"] for entry in follower.after(last - 2, own=True)] == [last - 1, last]
    assert follower.after(last, own=True) == []
    assert follower.after(last + 100, own=True) == []
    assert follower.after(0, own=True)[0]["seq"] == 6
    assert {entry["via"] for entry in follower.after(0, own=False)} == {"passive"}


def test_media_ids_are_bounded_and_the_newest_stay() -> None:
    world = World(Clock(lambda: NOON))
    account = world.put_account("demo", {**CONFIG, "url": "http://127.0.0.1:1/"})
    ids = [account.new_media("image", NOON) for _ in range(MEDIA_LIMIT + 10)]
    assert len(account.media) <= MEDIA_LIMIT
    assert account.has_media(ids[-1], NOON)
    assert not account.has_media(ids[0], NOON)
    assert not account.has_media(ids[-1], NOON + MEDIA_LIFETIME)


def test_dead_tokens_are_forgotten_after_a_day() -> None:
    world = World(Clock(lambda: NOON))
    tokens = world.put_account("demo", {**CONFIG, "url": "http://127.0.0.1:1/"}).tokens
    for number in range(50):
        tokens.issue_classic(NOON + number * 3600)
    assert len(tokens.tokens) <= 27
