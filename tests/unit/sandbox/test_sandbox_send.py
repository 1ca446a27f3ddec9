"""Customer-service messages, typing, user information and quotas, errcode by errcode."""

from typing import Any

import pytest
from boxes import CONFIG, NOON, Box, Shop

NO_ARTICLE: dict[str, Any] = {"articles": []}
ARTICLE = {
    "title": "标题",
    "description": "摘要",
    "url": "https://example.com/a",
    "picurl": "https://example.com/a.png",
}


@pytest.fixture
async def openid(box: Box) -> str:
    """A follower who has just written, so that five sends are allowed."""
    openid = await box.follower()
    await box.say(openid)
    return openid


async def test_a_text_arrives_on_the_phone(box: Box, openid: str) -> None:
    assert await box.custom(await box.token(), openid, content="您好 <b>&") == 0
    (message,) = await box.inbox(openid)
    assert (message["via"], message["type"], message["content"]) == ("custom", "text", "您好 <b>&")
    assert message["at"] == NOON


@pytest.mark.parametrize(
    ("kind", "part", "shown"),
    [
        ("image", {"media_id": "m"}, {"media_id": "m", "content": "[图片]"}),
        ("voice", {"media_id": "m"}, {"media_id": "m", "content": "[语音]"}),
        ("video", {"media_id": "m", "title": "片"}, {"title": "片", "content": "[视频] 片"}),
        ("video", {"media_id": "m", "thumb_media_id": "m"}, {"thumb_media_id": "m"}),
        ("music", {"musicurl": "a", "hqmusicurl": "b", "thumb_media_id": "m"}, {"musicurl": "a", "hqmusicurl": "b"}),
        ("news", {"articles": [ARTICLE]}, {"articles": [ARTICLE], "content": "[图文] 标题"}),
        ("mpnews", {"media_id": "m"}, {"media_id": "m"}),
        ("mpnewsarticle", {"article_id": "a1"}, {"article_id": "a1"}),
        (
            "msgmenu",
            {"head_content": "满意吗？", "list": [{"id": 1, "content": "满意"}], "tail_content": "谢谢"},
            {"list": [{"id": "1", "content": "满意"}], "content": "满意吗？", "tail_content": "谢谢"},
        ),
        ("miniprogrampage", {"title": "卡", "appid": "wx1", "pagepath": "p", "thumb_media_id": "m"}, {"title": "卡"}),
        ("wxcard", {"card_id": "c1"}, {"card_id": "c1"}),
    ],
)
async def test_every_type_is_shown_with_its_fields(
    box: Box, openid: str, kind: str, part: dict[str, Any], shown: dict[str, Any]
) -> None:
    await box.ok("POST", "/sandbox/accounts/demo/media", {"type": "image", "media_id": "m"})
    assert await box.custom(await box.token(), openid, kind, **part) == 0
    (message,) = await box.inbox(openid)
    assert message["type"] == kind
    assert shown.items() <= message.items()


@pytest.mark.parametrize(
    ("kind", "part", "errcode"),
    [
        ("text", {"content": ""}, 44004),
        ("text", {"content": 5}, 47001),
        ("text", {"content": "好" * 683}, 45002),
        ("image", {"media_id": "unknown"}, 40007),
        ("image", {"other": 1}, 40007),
        ("voice", {"media_id": None}, 40007),
        ("video", {"media_id": "unknown"}, 40007),
        ("mpnews", {"media_id": "unknown"}, 40007),
        ("music", {"musicurl": "a", "hqmusicurl": "b", "thumb_media_id": "unknown"}, 40007),
        ("music", {"musicurl": "", "hqmusicurl": "b"}, 47001),
        ("news", NO_ARTICLE, 45008),
        ("news", {"articles": [ARTICLE, ARTICLE]}, 45008),
        ("news", {"articles": "no list"}, 47001),
        ("msgmenu", {"head_content": "?", "list": []}, 47001),
        ("msgmenu", {"head_content": "?", "list": [{"id": "1"}]}, 47001),
        ("miniprogrampage", {"title": "t", "thumb_media_id": "m"}, 40013),
        ("wxcard", {"card_id": ""}, 40073),
        ("mpnewsarticle", {"article_id": ""}, 53600),
        ("poem", {"content": "x"}, 40008),
    ],
)
async def test_a_malformed_message_is_refused_and_costs_no_send(
    box: Box, openid: str, kind: str, part: dict[str, Any], errcode: int
) -> None:
    token = await box.token()
    assert await box.custom(token, openid, kind, **part) == errcode
    assert await box.inbox(openid) == []
    view = await box.ok("GET", f"/sandbox/followers/{openid}")
    assert view["windows"]["message"]["left"] == 5


async def test_bodies_that_are_no_json_object(box: Box) -> None:
    token = await box.token()
    for body in (b"", b"{", b"[]", b'"text"', b'{"\x80": 1}', b'{"a":' + b"[" * 100_000):
        answer = await box.ok("POST", "/cgi-bin/message/custom/send", body, access_token=token)
        assert answer["errcode"] == 47001


async def test_a_media_id_lasts_three_days(box: Box, openid: str) -> None:
    await box.ok("POST", "/sandbox/accounts/demo/media", {"type": "image", "media_id": "old"})
    await box.ok("POST", "/sandbox/accounts/demo/media", {"type": "image", "media_id": "kept", "permanent": True})
    await box.advance(3 * 86400)
    await box.say(openid)
    token = await box.token()
    assert await box.custom(token, openid, "image", media_id="old") == 40007
    assert await box.custom(token, openid, "image", media_id="kept") == 0


async def test_the_picture_a_follower_sent_can_be_sent_back(box: Box, shop: Shop, openid: str) -> None:
    await box.send(openid, type="image")
    media_id = shop.received[-1].text.split("<MediaId><![CDATA[")[1].split("]]>")[0]
    assert await box.custom(await box.token(), openid, "image", media_id=media_id) == 0


async def test_unknown_openids_and_those_of_other_accounts(box: Box, shop: Shop) -> None:
    other = {"appid": "wx1111111111111111", "original_id": "gh_other"}
    await box.account("other", url=shop.url, **other)
    stranger = await box.follower("other")
    token = await box.token()
    assert await box.custom(token, "oNobody") == 40003
    assert await box.custom(token, stranger) == 40003


async def test_an_unverified_subscription_account_has_no_such_api(box: Box, openid: str) -> None:
    await box.ok("PUT", "/sandbox/accounts/demo", {"kind": "subscription", "verified": False})
    token = await box.token()
    assert await box.custom(token, openid) == 48001
    typing = await box.ok("POST", "/cgi-bin/message/custom/typing", {"touser": openid}, access_token=token)
    info = await box.ok("GET", "/cgi-bin/user/info", access_token=token, openid=openid)
    assert typing["errcode"] == info["errcode"] == 48001


async def type_(box: Box, token: str, openid: str, command: str = "Typing") -> int:
    body = {"touser": openid, "command": command}
    return (await box.ok("POST", "/cgi-bin/message/custom/typing", body, access_token=token))["errcode"]


async def test_typing_shows_for_fifteen_seconds(box: Box, openid: str) -> None:
    token = await box.token()
    assert await type_(box, token, openid) == 0
    assert (await box.ok("GET", f"/sandbox/followers/{openid}"))["typing"] is True
    assert await type_(box, token, openid) == 45081
    await box.advance(15)
    assert (await box.ok("GET", f"/sandbox/followers/{openid}"))["typing"] is False
    assert await type_(box, token, openid) == 0
    assert await type_(box, token, openid, "CancelTyping") == 0
    assert await type_(box, token, openid) == 0
    assert await box.custom(token, openid) == 0  # a message ends the typing
    assert await type_(box, token, openid) == 0


async def test_typing_errors(box: Box, openid: str) -> None:
    token = await box.token()
    assert await type_(box, token, openid, "Sleeping") == 45072
    assert await type_(box, token, "oNobody") == 40003
    await box.advance(31)
    assert await type_(box, token, openid) == 45080
    await box.advance(48 * 3600)
    assert await type_(box, await box.token(), openid) == 45015


async def test_user_info(box: Box) -> None:
    openid = await box.follower(scene="lobby")
    token = await box.token()
    info = await box.ok("GET", "/cgi-bin/user/info", access_token=token, openid=openid, lang="zh_CN")
    assert (info["subscribe"], info["openid"], info["qr_scene_str"]) == (1, openid, "lobby")
    assert info["subscribe_time"] == int(NOON)
    assert "nickname" not in info
    await box.send(openid, type="event", event="unsubscribe")
    info = await box.ok("GET", "/cgi-bin/user/info", access_token=token, openid=openid)
    assert info == {"subscribe": 0, "openid": openid, "tagid_list": []}
    assert (await box.ok("GET", "/cgi-bin/user/info", access_token=token, openid="oNobody"))["errcode"] == 40003


async def test_callback_addresses(box: Box) -> None:
    answer = await box.ok("GET", "/cgi-bin/getcallbackip", access_token=await box.token())
    assert answer == {"ip_list": ["127.0.0.1"]}


async def test_a_daily_quota_begins_again_at_midnight_in_shanghai(box: Box, openid: str) -> None:
    await box.ok("PUT", "/sandbox/accounts/demo", {"quotas": {"custom/send": {"daily": 2}}})
    token = await box.token()
    assert [await box.custom(token, openid) for _ in range(3)] == [0, 0, 45009]
    await box.advance(12 * 3600 - 1)
    token = await box.token()
    assert await box.custom(token, openid) == 45009
    await box.advance(1)
    assert await box.custom(token, openid) == 0


async def test_a_minutes_limit_ends_with_the_minute(box: Box, openid: str) -> None:
    await box.ok("PUT", "/sandbox/accounts/demo", {"quotas": {"custom/send": {"per_minute": 2}}})
    token = await box.token()
    assert [await box.custom(token, openid) for _ in range(3)] == [0, 0, 45011]
    await box.advance(60)
    assert await box.custom(token, openid) == 0


async def test_clear_quota_ten_times_a_month(box: Box, openid: str) -> None:
    await box.ok("PUT", "/sandbox/accounts/demo", {"quotas": {"user/info": {"daily": 1}}})
    token = await box.token()

    async def clear(appid: str = CONFIG["appid"]) -> int:
        return (await box.ok("POST", "/cgi-bin/clear_quota", {"appid": appid}, access_token=token))["errcode"]

    async def info() -> int:
        return (await box.ok("GET", "/cgi-bin/user/info", access_token=token, openid=openid)).get("errcode", 0)

    assert await clear("wxffffffffffffffff") == 40013
    for _ in range(10):
        assert [await info(), await info()] == [0, 45009]
        assert await clear() == 0
    assert await clear() == 48006
    await box.advance(14 * 86400)  # into July
    token = await box.token()
    assert await clear() == 0
