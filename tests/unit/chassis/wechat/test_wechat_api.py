import json
import logging

import pytest
from wechat_stand_in import APPID, OPENID, SECRET, Clock, MemoryStore, StandIn

from chassis.wechat.api import WeChatApi
from chassis.wechat.http import HttpClient
from chassis.wechat.outcome import Outcome
from chassis.wechat.tokens import TokenSource
from contracts.content import Article, Image, MenuItem, MiniProgramPage, MsgMenu, Music, News, Text, Video, Voice
from contracts.errcodes import Fate

SEND, TYPING, INFO = "/cgi-bin/message/custom/send", "/cgi-bin/message/custom/typing", "/cgi-bin/user/info"
TOKENS = "/cgi-bin/stable_token"


@pytest.fixture
async def wechat():
    async with StandIn() as stand_in:
        yield stand_in


@pytest.fixture
async def api(wechat):
    http = HttpClient(connect_seconds=0.5, total_seconds=0.5)
    clock = Clock()
    yield WeChatApi(
        http, wechat.url + "/", APPID, TokenSource(MemoryStore(clock), http, wechat.url, APPID, SECRET, clock)
    )
    await http.close()


@pytest.mark.parametrize(
    ("content", "sent"),
    [
        (Text("你好"), {"msgtype": "text", "text": {"content": "你好"}}),
        (Image("m"), {"msgtype": "image", "image": {"media_id": "m"}}),
        (Voice("m"), {"msgtype": "voice", "voice": {"media_id": "m"}}),
        (Video("m", "t", "d"), {"msgtype": "video", "video": {"media_id": "m", "title": "t", "description": "d"}}),
        (
            Music("th", "t", "d", "u", "hq"),
            {
                "msgtype": "music",
                "music": {
                    "title": "t",
                    "description": "d",
                    "musicurl": "u",
                    "hqmusicurl": "hq",
                    "thumb_media_id": "th",
                },
            },
        ),
        (
            News((Article("t", "u", "d", "p"),)),
            {"msgtype": "news", "news": {"articles": [{"title": "t", "description": "d", "url": "u", "picurl": "p"}]}},
        ),
        (
            MsgMenu((MenuItem("101", "满意"), MenuItem("102", "不满意")), "您对服务满意吗？", "谢谢"),
            {
                "msgtype": "msgmenu",
                "msgmenu": {
                    "head_content": "您对服务满意吗？",
                    "list": [{"id": "101", "content": "满意"}, {"id": "102", "content": "不满意"}],
                    "tail_content": "谢谢",
                },
            },
        ),
        (
            MiniProgramPage("t", "wx1", "p", "th"),
            {
                "msgtype": "miniprogrampage",
                "miniprogrampage": {"title": "t", "appid": "wx1", "pagepath": "p", "thumb_media_id": "th"},
            },
        ),
    ],
)
async def test_every_content_goes_out_as_the_platform_documents(api, wechat, content, sent):
    outcome = await api.custom_send(OPENID, content)
    assert (outcome.fate, outcome.errcode, outcome.data) == (Fate.OK, 0, None)
    (call,) = wechat.path_calls(SEND)
    assert json.loads(call["body"]) == {"touser": OPENID, **sent}
    assert call["query"] == {"access_token": ["ToKeN-0001-abcdefghij"]}
    assert b"\\u" not in call["body"]  # WeChat refuses escapes: 40033


async def test_a_desk_account_is_named(api, wechat):
    await api.custom_send(OPENID, Text("a"), kf_account="lin@shop")
    assert json.loads(wechat.path_calls(SEND)[0]["body"])["customservice"] == {"kf_account": "lin@shop"}


async def test_the_other_calls(api, wechat):
    wechat.script[INFO].append({"subscribe": 1, "openid": OPENID, "tagid_list": [2]})
    wechat.script["/cgi-bin/getcallbackip"].append({"ip_list": ["101.226.62.77"]})
    assert (await api.typing(OPENID, on=True)).fate is Fate.OK
    assert (await api.typing(OPENID, on=False)).fate is Fate.OK
    assert (await api.user_info(OPENID)).data == {"subscribe": 1, "openid": OPENID, "tagid_list": [2]}
    assert (await api.callback_ips()).data == {"ip_list": ["101.226.62.77"]}
    assert (await api.clear_quota()).fate is Fate.OK
    assert [json.loads(call["body"])["command"] for call in wechat.path_calls(TYPING)] == ["Typing", "CancelTyping"]
    assert json.loads(wechat.path_calls("/cgi-bin/clear_quota")[0]["body"]) == {"appid": APPID}
    assert wechat.path_calls(INFO)[0]["query"]["openid"] == [OPENID]


async def test_wechatpys_whole_surface_is_awaitable(api, wechat):
    client = api.client
    wechat.script["/cgi-bin/tags/create"].append({"tag": {"id": 134, "name": "vip"}})
    assert (await client.tag.create("vip")).data == {"tag": {"id": 134, "name": "vip"}}
    assert (await client.message.send_template(OPENID, "tpl", {"a": {"value": "1"}})).fate is Fate.OK
    assert (await client.datacube.get_user_cumulate("2026-11-01", "2026-11-02")).fate is Fate.OK
    assert wechat.calls[-1]["path"] == "/datacube/getusercumulate"
    wechat.script["/cgi-bin/media/upload"].append({"type": "image", "media_id": "m1"})
    assert (await client.media.upload("image", ("a.png", b"\x89PNG", "image/png"))).data["media_id"] == "m1"
    assert b"\x89PNG" in wechat.calls[-1]["body"]


async def test_no_call_leaves_for_another_address(api, wechat):
    with pytest.raises(ValueError, match="outside the platform"):
        await api.client.get("https://evil.example/steal")
    with pytest.raises(ValueError, match="outside the platform"):
        await api.client.get("https://api.weixin.qq.com.evil.example/steal")
    with pytest.raises(AttributeError):
        _ = api.client.access_token
    assert wechat.calls == []


@pytest.mark.parametrize(
    ("answer", "fate", "errcode"),
    [
        ({"errcode": -1, "errmsg": "system error"}, Fate.RETRY, -1),
        ({"errcode": 45015, "errmsg": "response out of time limit"}, Fate.OTHER_ROAD, 45015),
        ({"errcode": 45009, "errmsg": "reach max api daily quota limit"}, Fate.WAIT_MIDNIGHT, 45009),
        ({"errcode": 43004, "errmsg": "require subscribe"}, Fate.FOLLOWER_GONE, 43004),
        ({"errcode": 61234, "errmsg": "new"}, Fate.FINAL, 61234),
        ({"errcode": "45011", "errmsg": "too fast"}, Fate.BACK_OFF, 45011),
        ({"errcode": None}, Fate.UNKNOWN, None),
        (b'{"errcode":0,"errmsg":"o\x08k"}', Fate.OK, 0),
        (b"{}", Fate.UNKNOWN, None),
        (b"", Fate.UNKNOWN, None),
        (b"<html>busy</html>", Fate.UNKNOWN, None),
        (b"[" * 50000, Fate.UNKNOWN, None),
        (b"\xff\xfe", Fate.UNKNOWN, None),
        ((500, {"errcode": 0}), Fate.UNKNOWN, None),
        ((502, b"bad gateway"), Fate.UNKNOWN, None),
        ("redirect", Fate.UNKNOWN, None),
        ("silence", Fate.UNKNOWN, None),
        ("cut", Fate.UNKNOWN, None),
        ("reset", Fate.UNKNOWN, None),
        ("half", Fate.UNKNOWN, None),
        ("garbage", Fate.UNKNOWN, None),
    ],
)
async def test_the_fate_of_a_send(api, wechat, answer, fate, errcode):
    wechat.script[SEND].append(answer)
    outcome = await api.custom_send(OPENID, Text("a"))
    assert (outcome.fate, outcome.errcode) == (fate, errcode)
    assert len(wechat.path_calls(SEND)) == 1


@pytest.mark.parametrize("fault", ["silence", "cut", "reset", "half", (502, b""), b"<html>"])
async def test_an_uncertain_read_is_simply_tried_again(api, wechat, fault):
    wechat.script[INFO].extend([fault, fault])  # aiohttp itself repeats a GET on a connection that was cut
    assert (await api.user_info(OPENID)).fate is Fate.RETRY


async def test_a_send_that_never_left_is_retried(api, wechat):
    await api.typing(OPENID, on=True)
    await wechat.__aexit__()
    outcome = await api.custom_send(OPENID, Text("a"))
    assert outcome.fate in {
        Fate.RETRY,
        Fate.UNKNOWN,
    }  # a kept connection may take the bytes before it is seen to be dead
    outcome = await api.custom_send(OPENID, Text("a"))
    assert (outcome.fate, outcome.errmsg) == (Fate.RETRY, "not sent: connection refused")


@pytest.mark.parametrize("errcode", [40001, 40014, 42001])
async def test_a_refused_token_is_renewed_and_the_call_made_once_more(api, wechat, errcode):
    wechat.script[SEND].append({"errcode": errcode, "errmsg": "invalid credential"})
    outcome = await api.custom_send(OPENID, Text("a"))
    assert (outcome.fate, outcome.token_trouble) == (Fate.OK, False)
    assert [call["query"]["access_token"][0][:10] for call in wechat.path_calls(SEND)] == ["ToKeN-0001", "ToKeN-0002"]


async def test_tokens_refused_for_ever_are_given_up_and_reported(api, wechat):
    wechat.script[SEND].extend([{"errcode": 40001, "errmsg": "invalid credential"}] * 100)
    first = await api.custom_send(OPENID, Text("a"))
    assert (first.fate, first.errcode, first.token_trouble) == (Fate.FINAL, 40001, True)
    for _ in range(20):
        outcome = await api.custom_send(OPENID, Text("a"))
        assert (outcome.fate, outcome.errcode, outcome.token_trouble) == (Fate.RETRY, 40001, True)
    assert len(wechat.path_calls(TOKENS)) == 2


async def test_without_a_token_nothing_is_sent(api, wechat):
    wechat.script[TOKENS].extend([{"errcode": 40164, "errmsg": "invalid ip 1.2.3.4, not in whitelist"}] * 9)
    outcome = await api.custom_send(OPENID, Text("a"))
    assert (outcome.fate, outcome.errcode, outcome.token_trouble) == (Fate.RETRY, 40164, True)
    assert "1.2.3.4" in outcome.errmsg
    assert wechat.path_calls(SEND) == []


ECHO = "access_token=ToKeN-0001-abcdefghij secret=" + SECRET + " openid " + OPENID
FAULTS = [
    *(
        "silence",
        "cut",
        "reset",
        "half",
        "garbage",
        b"",
        b"<html>" + ECHO.encode(),
        (500, ECHO.encode()),
        (404, ECHO.encode()),
    ),
    *({"errcode": code, "errmsg": ECHO} for code in (-1, 40001, 45015, 45009, 48001, 99999)),
    {"errcode": 0, "errmsg": ECHO, "echo": {"deep": [ECHO]}},
    {"errcode": 40001, "errmsg": "ToKeN-0001-abcdefghij"},
]


@pytest.mark.parametrize("fault", FAULTS, ids=range(len(FAULTS)))
@pytest.mark.parametrize("path", [SEND, INFO, TOKENS])
async def test_no_failure_shows_the_token_or_the_secret(api, wechat, caplog, capfd, path, fault):
    caplog.set_level(logging.DEBUG)
    wechat.script[path].extend([fault] * 4)
    shown = []
    for outcome in (await api.custom_send(OPENID, Text("a")), await api.user_info(OPENID)):
        assert isinstance(outcome, Outcome)
        shown += [repr(outcome), str(outcome)]
        assert OPENID not in outcome.errmsg
    shown += [repr(api), repr(api.client), repr(vars(api.client)), caplog.text, *capfd.readouterr()]
    for text in shown:
        assert "ToKeN-" not in text.replace("***", "")
        assert SECRET not in text


async def test_the_seconds_cover_all_attempts(api, wechat):
    wechat.script[SEND].append({"errcode": 40001})
    outcome = await api.custom_send(OPENID, Text("a"))
    assert 0 < outcome.seconds < 1
