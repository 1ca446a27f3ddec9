"""What each message and event of a follower looks like in a callback."""

import xml.etree.ElementTree as ET
from typing import Any

import pytest
from boxes import CONFIG, Box, Shop, echo


def fields(shop: Shop) -> dict[str, Any]:
    def read(element: ET.Element) -> Any:
        return {child.tag: read(child) for child in element} if len(element) else (element.text or "")

    return read(ET.fromstring(shop.received[-1].body))


@pytest.mark.parametrize(
    ("message", "expected", "present"),
    [
        ({"type": "text", "content": "你好"}, {"Content": "你好"}, []),
        ({"type": "text", "content": "满意", "menu_id": "101"}, {"bizmsgmenuid": "101"}, []),
        ({"type": "image"}, {}, ["PicUrl", "MediaId"]),
        ({"type": "image", "media_id": "m", "pic_url": "http://x/y"}, {"MediaId": "m", "PicUrl": "http://x/y"}, []),
        ({"type": "voice", "recognition": "你好"}, {"Recognition": "你好", "Format": "amr"}, ["MediaId"]),
        ({"type": "video"}, {}, ["MediaId", "ThumbMediaId"]),
        ({"type": "shortvideo"}, {}, ["MediaId", "ThumbMediaId"]),
        (
            {"type": "location", "latitude": 23.1, "longitude": 113.3, "label": "广州"},
            {"Location_X": "23.1"},
            ["Scale"],
        ),
        ({"type": "link", "title": "t"}, {"Title": "t"}, ["Description", "Url"]),
        ({"type": "file", "title": "a.pdf"}, {"Title": "a.pdf"}, ["FileKey", "FileMd5", "FileTotalLen"]),
        ({"type": "miniprogrampage"}, {}, ["Title", "AppId", "PagePath", "ThumbUrl", "ThumbMediaId"]),
        (
            {"type": "text", "content": "a", "fields": {"MsgDataId": "9", "Idx": "1"}},
            {"MsgDataId": "9", "Idx": "1"},
            [],
        ),
    ],
)
async def test_messages(
    box: Box, shop: Shop, message: dict[str, Any], expected: dict[str, str], present: list[str]
) -> None:
    result = await box.send(await box.follower(), **message)
    got = fields(shop)
    assert got["MsgType"] == message["type"]
    assert got["MsgId"] == str(result["msgid"])
    assert expected.items() <= got.items()
    assert all(got[name] for name in present)


async def test_a_voice_without_recognition_has_no_such_field(box: Box, shop: Shop) -> None:
    await box.send(await box.follower(), type="voice")
    assert "Recognition" not in fields(shop)


async def test_a_file_has_no_media_id(box: Box, shop: Shop) -> None:
    await box.send(await box.follower(), type="file")
    assert "MediaId" not in fields(shop)


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ({"event": "CLICK", "key": "MENU_1"}, {"EventKey": "MENU_1"}),
        ({"event": "VIEW", "key": "https://example.com"}, {"EventKey": "https://example.com"}),
        ({"event": "view_miniprogram", "key": "pages/a"}, {"EventKey": "pages/a"}),
        ({"event": "SCAN", "scene": "lobby"}, {"EventKey": "lobby"}),
        ({"event": "scancode_push", "key": "S"}, {"EventKey": "S"}),
        ({"event": "location_select", "key": "L"}, {"EventKey": "L"}),
        ({"event": "TEMPLATESENDJOBFINISH"}, {"Status": "success"}),
        ({"event": "TEMPLATESENDJOBFINISH", "key": "failed:user block"}, {"Status": "failed:user block"}),
        ({"event": "MASSSENDJOBFINISH"}, {"SentCount": "75"}),
        ({"event": "kf_create_session", "key": "kf1@gh"}, {"KfAccount": "kf1@gh"}),
        ({"event": "kf_switch_session", "key": "kf2@gh"}, {"ToKfAccount": "kf2@gh"}),
        ({"event": "brand_new", "key": "k", "fields": {"Wish": "1"}}, {"EventKey": "k", "Wish": "1"}),
        ({"event": "brand_new"}, {}),
    ],
)
async def test_events(box: Box, shop: Shop, event: dict[str, Any], expected: dict[str, str]) -> None:
    result = await box.send(await box.follower(), type="event", **event)
    got = fields(shop)
    assert (got["MsgType"], got["Event"]) == ("event", event["event"])
    assert expected.items() <= got.items()
    assert "MsgId" not in got
    assert result["msgid"] is None


@pytest.mark.parametrize(
    ("event", "inner"),
    [
        ("LOCATION", ["Latitude", "Longitude", "Precision"]),
        ("scancode_waitmsg", ["ScanCodeInfo"]),
        ("pic_sysphoto", ["SendPicsInfo"]),
        ("pic_photo_or_album", ["SendPicsInfo"]),
        ("pic_weixin", ["SendPicsInfo"]),
        ("location_select", ["SendLocationInfo"]),
        ("subscribe_msg_popup_event", ["SubscribeMsgPopupEvent"]),
        ("subscribe_msg_change_event", ["SubscribeMsgChangeEvent"]),
        ("subscribe_msg_sent_event", ["SubscribeMsgSentEvent"]),
        ("PUBLISHJOBFINISH", ["PublishEventInfo"]),
        ("MASSSENDJOBFINISH", ["MsgID", "TotalCount", "FilterCount", "ErrorCount"]),
    ],
)
async def test_events_carry_their_parts(box: Box, shop: Shop, event: str, inner: list[str]) -> None:
    await box.send(await box.follower(), type="event", event=event)
    got = fields(shop)
    assert all(got[name] for name in inner)


@pytest.mark.parametrize(
    "event", ["user_info_modified", "user_authorization_revoke", "user_authorization_cancellation"]
)
async def test_the_person_of_an_authorization_event_is_in_openid(box: Box, shop: Shop, event: str) -> None:
    openid = await box.follower()
    await box.send(openid, type="event", event=event)
    got = fields(shop)
    assert (got["OpenID"], got["AppID"]) == (openid, CONFIG["appid"])
    assert got["FromUserName"] != openid


async def test_following_and_leaving(box: Box, shop: Shop) -> None:
    openid = await box.follower(subscribe=False)
    status, answer = await box.call("POST", f"/sandbox/followers/{openid}/messages", {"type": "text", "content": "a"})
    assert status == 409
    assert "subscribe" in answer["error"]
    await box.send(openid, type="event", event="subscribe")
    assert fields(shop)["EventKey"] == ""
    await box.say(openid)
    shop.answer = b"nonsense"
    await box.send(openid, type="event", event="unsubscribe")
    assert await box.inbox(openid) == []  # who has left sees nothing any more, not even that something failed
    assert (await box.ok("GET", f"/sandbox/followers/{openid}"))["following"] is False


async def test_a_scan_by_somebody_who_does_not_follow_is_a_follow(box: Box, shop: Shop) -> None:
    openid = await box.follower(subscribe=False)
    await box.send(openid, type="event", event="SCAN", scene="poster")
    got = fields(shop)
    assert (got["Event"], got["EventKey"]) == ("subscribe", "qrscene_poster")
    assert got["Ticket"]
    await box.send(openid, type="event", event="SCAN", scene="poster")
    assert (fields(shop)["Event"], fields(shop)["EventKey"]) == ("SCAN", "poster")


async def test_an_announced_follower_is_pushed_a_silent_one_is_not(box: Box, shop: Shop) -> None:
    await box.follower()
    assert shop.received == []
    openid = await box.follower(announce=True, scene="lobby")
    assert (fields(shop)["Event"], fields(shop)["EventKey"]) == ("subscribe", "qrscene_lobby")
    assert (await box.ok("GET", f"/sandbox/followers/{openid}"))["following"] is True


async def test_the_phone_knows_nothing_of_the_platforms_own_events(box: Box, shop: Shop) -> None:
    shop.answer = b"nonsense"
    openid = await box.follower()
    await box.send(openid, type="event", event="TEMPLATESENDJOBFINISH")
    assert (await box.ok("GET", f"/sandbox/followers/{openid}/timeline"))["messages"] == []


async def test_a_raw_body_goes_out_as_it_is(box: Box, shop: Shop) -> None:
    openid = await box.follower()
    shop.answer = echo
    result = await box.send(openid, type="raw", xml="<xml><broken>")
    assert shop.received[0].body == b"<xml><broken>"
    assert (result["answer"], result["msgid"]) == ("passive", None)


async def test_ids_and_times_may_be_forced_to_collide(box: Box, shop: Shop) -> None:
    openid = await box.follower()
    for _ in range(2):
        result = await box.say(openid, fields={"MsgId": 7, "CreateTime": 1_750_000_000})
        assert (result["msgid"], result["create_time"]) == (7, 1_750_000_000)
    assert len({got.body for got in shop.received}) == 1


async def test_a_field_can_be_taken_away(box: Box, shop: Shop) -> None:
    await box.send(await box.follower(), type="image", fields={"PicUrl": None})
    assert "PicUrl" not in fields(shop)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ({}, "type"),
        ({"type": 5}, "type"),
        ({"type": "poem"}, "poem"),
        ({"type": "text"}, "content"),
        ({"type": "text", "content": ""}, "content"),
        ({"type": "text", "content": ["a"]}, "content"),
        ({"type": "text", "content": "好" * 700}, "2048"),
        ({"type": "text", "content": "a", "colour": "red"}, "colour"),
        ({"type": "location", "label": {"a": 1}}, "label"),
        ({"type": "event"}, "event"),
        ({"type": "event", "event": "CLICK", "key": 5}, "key"),
        ({"type": "event", "event": "CLICK", "fields": []}, "fields"),
        ({"type": "text", "content": "a", "fields": {"MsgId": "x"}}, "MsgId"),
        ({"type": "raw"}, "xml"),
        ({"type": "text", "content": "a", "count": 0}, "count"),
        ({"type": "text", "content": "a", "count": 1001}, "count"),
    ],
)
async def test_a_wrong_request_is_named(box: Box, message: dict[str, Any], words: str) -> None:
    openid = await box.follower()
    for query in ({}, {"wait": "0"}):
        status, answer = await box.call("POST", f"/sandbox/followers/{openid}/messages", message, **query)
        assert status == 400
        assert words in answer["error"]
