"""Tags on a real MongoDB: told in any order and however often, the later word about a tag stands."""

import itertools
from datetime import UTC, datetime, timedelta

import pytest

from chassis.mongo import connect
from contracts import facts
from contracts.envelope import Event, raw
from contracts.errors import Reject
from contracts.facts import Because, Tagged
from services.history.followers import Followers
from services.history.tagging import tag_change

NOW = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)


def told(seconds: int, add: tuple[str, ...] = (), remove: tuple[str, ...] = (), openid: str = "oA") -> Event:
    return Event(
        id=f"{openid}|{seconds}#tags",
        source="/accounts/demo",
        type=facts.FOLLOWER_TAGGED,
        subject=openid,
        time=NOW + timedelta(seconds=seconds),
        account="demo",
        lane="signal",
        data=raw(Tagged(add, remove, Because(rule="vip"))),
    )


FACTS = [told(1, ("vip", "$a.b")), told(2, remove=("vip",)), told(3, ("vip",), ("$a.b",)), told(3, ("$a.b",))]
"""The last two are of the same second, which is as exact as WeChat's clock gets: there the one that gives a tag wins."""


async def test_the_later_word_about_a_tag_stands_in_any_order_and_however_often(mongo_url: str, mongo_db: str) -> None:
    client, database = connect(mongo_url, mongo_db, name="test")
    followers = Followers(database)
    try:
        for order in itertools.permutations(range(len(FACTS))):
            changes = [tag_change(FACTS[number]) for number in (*order, order[0])]
            for change in changes:
                assert change is not None
                await followers.apply([change])
            stored = await followers.get("demo", "oA")
            assert stored is not None
            assert set(stored["tags"]) == {"vip", "$a.b"}, order
            await database.followers.delete_many({})
        only = tag_change(told(1, ("a", "b"), ("c",), openid="oB"))
        gone = tag_change(told(2, remove=("a",), openid="oB"))
        assert only is not None
        assert gone is not None
        await followers.apply([gone, only])
        stored = await followers.get("demo", "oB")
        assert stored is not None
        assert (stored["account"], stored["openid"], stored["tags"]) == ("demo", "oB", ["b"])
    finally:
        client.close()


def test_only_what_tags_somebody_is_a_change() -> None:
    assert tag_change(told(1)) is None
    other = told(1, ("a",))
    other.type = facts.REPLY_SENT
    assert tag_change(other) is None
    nobody = told(1, ("a",), openid="")
    with pytest.raises(Reject):
        tag_change(nobody)
    odd = told(1, ("a",))
    odd.data = raw({"add": 5})
    with pytest.raises(Reject):
        tag_change(odd)
