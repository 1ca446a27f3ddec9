"""How often a follower may be written to, and for how long, on an aged clock."""

from typing import Any

import pytest
from boxes import Box, Shop


async def sends(box: Box, openid: str, count: int) -> list[int]:
    token = await box.token()
    return [await box.custom(token, openid) for _ in range(count)]


async def test_a_follower_who_never_wrote_cannot_be_written_to(box: Box) -> None:
    assert await sends(box, await box.follower(), 1) == [45015]


async def test_a_message_opens_five_sends(box: Box) -> None:
    openid = await box.follower()
    await box.say(openid)
    assert await sends(box, openid, 6) == [0, 0, 0, 0, 0, 45047]
    await box.say(openid)
    assert await sends(box, openid, 6) == [0, 0, 0, 0, 0, 45047]


async def test_a_messages_window_is_48_hours(box: Box) -> None:
    openid = await box.follower()
    await box.say(openid)
    await box.advance(48 * 3600 - 1)
    assert await sends(box, openid, 1) == [0]
    await box.advance(1)
    assert await sends(box, openid, 1) == [45015]


@pytest.mark.parametrize(
    "act",
    [
        {"event": "CLICK", "key": "MENU"},
        {"event": "SCAN", "scene": "42"},
        {"event": "scancode_push", "key": "S"},
        {"event": "scancode_waitmsg", "key": "S"},
        {"event": "subscribe"},
    ],
)
async def test_an_act_opens_three_sends_for_a_minute(box: Box, act: dict[str, Any]) -> None:
    openid = await box.follower()
    await box.send(openid, type="event", **act)
    assert await sends(box, openid, 4) == [0, 0, 0, 45047]
    await box.send(openid, type="event", **act)
    await box.advance(59)
    assert await sends(box, openid, 1) == [0]
    await box.advance(1)
    assert await sends(box, openid, 1) == [45015]


@pytest.mark.parametrize("event", ["VIEW", "LOCATION", "view_miniprogram", "TEMPLATESENDJOBFINISH", "something_new"])
async def test_other_events_open_nothing(box: Box, event: str) -> None:
    openid = await box.follower()
    await box.send(openid, type="event", event=event, key="k")
    assert await sends(box, openid, 1) == [45015]


async def test_an_answered_message_menu_counts_as_a_menu_click(box: Box) -> None:
    openid = await box.follower()
    await box.say(openid, "满意", menu_id="101")
    assert await sends(box, openid, 4) == [0, 0, 0, 45047]


async def test_the_window_that_ends_first_is_used_first(box: Box) -> None:
    openid = await box.follower()
    await box.say(openid)
    await box.send(openid, type="event", event="CLICK", key="MENU")
    assert await sends(box, openid, 3) == [0, 0, 0]
    await box.advance(60)
    assert await sends(box, openid, 6) == [0, 0, 0, 0, 0, 45047]


async def test_leaving_closes_every_window(box: Box) -> None:
    openid = await box.follower()
    await box.say(openid)
    await box.send(openid, type="event", event="unsubscribe")
    assert await sends(box, openid, 1) == [45015]
    await box.send(openid, type="event", event="subscribe")
    assert await sends(box, openid, 4) == [0, 0, 0, 45047]


async def test_the_window_is_open_before_the_callback_is_answered(box: Box, shop: Shop) -> None:
    """A server may send through the API while the callback that allows it is still under way."""
    openid = await box.follower()
    token = await box.token()
    codes = []

    async def answer(_got: object) -> bytes:
        codes.append(await box.custom(token, openid))
        return b"success"

    shop.answer = answer
    await box.say(openid)
    assert codes == [0]
    view = await box.ok("GET", f"/sandbox/followers/{openid}")
    assert view["windows"]["message"]["left"] == 4
