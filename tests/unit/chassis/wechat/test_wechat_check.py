from urllib.parse import urlsplit

import pytest
from wechat_stand_in import APPID, OPENID, SECRET, Clock, MemoryStore, StandIn

from chassis.wechat.check import Webhook, check_account
from chassis.wechat.http import HttpClient
from chassis.wechat.signature import verify
from chassis.wechat.tokens import TokenSource

TYPING, INFO, IPS = "/cgi-bin/message/custom/typing", "/cgi-bin/user/info", "/cgi-bin/getcallbackip"
NOBODY = {"errcode": 40003, "errmsg": "invalid openid"}


@pytest.fixture
async def wechat():
    async with StandIn() as stand_in:
        stand_in.script[IPS].append({"ip_list": ["101.226.62.77", "101.226.62.78"]})
        yield stand_in


@pytest.fixture
async def check(wechat):
    http = HttpClient(connect_seconds=0.5, total_seconds=0.5)
    clock = Clock()
    tokens = TokenSource(MemoryStore(clock), http, wechat.url, APPID, SECRET, clock)

    async def run(**more):
        found = await check_account(http, wechat.url, APPID, tokens, clock, **more)
        for finding in found:
            assert finding.sentence.endswith(".")
            assert bool(finding.fix) is not finding.ok
            assert SECRET not in repr(finding)
            assert "ToKeN" not in repr(finding)
        return {finding.code: finding for finding in found}

    yield run
    await http.close()


async def test_a_healthy_account(check, wechat):
    wechat.script[TYPING].append(NOBODY)
    wechat.script[INFO].append({"subscribe": 1, "openid": OPENID})
    found = await check(openid=OPENID)
    assert list(found) == ["token", "callback_ips", "customer_service", "user_info"]
    assert all(finding.ok for finding in found.values())
    assert "2 addresses" in found["callback_ips"].sentence
    assert "do follow" in found["user_info"].sentence


async def test_without_a_follower_only_the_permission_is_probed(check, wechat):
    wechat.script[TYPING].append(NOBODY)
    wechat.script[INFO].append(NOBODY)
    assert all(finding.ok for finding in (await check()).values())


async def test_an_account_without_permissions(check, wechat):
    refusal = {"errcode": 48001, "errmsg": "api unauthorized"}
    wechat.script[IPS].clear()
    for path in (TYPING, INFO, IPS):
        wechat.script[path].append(refusal)
    found = await check()
    assert found["token"].ok
    assert "Verify the account" in found["customer_service"].fix
    assert "no permission" in found["user_info"].sentence
    assert not found["callback_ips"].ok


@pytest.mark.parametrize(
    ("answer", "code", "sentence", "fix"),
    [
        ({"errcode": 40013}, "token_appid", "appid is wrong", "settings page"),
        ({"errcode": 40125}, "token_secret", "AppSecret is wrong", "Reset it"),
        (
            {"errcode": 40164, "errmsg": "invalid ip 9.8.7.6 ipv6 ::ffff:9.8.7.6, not in whitelist"},
            "token_ip_not_allowed",
            "9.8.7.6",
            "Add it",
        ),
        ("cut", "token_network", "could not be reached", "DNS"),
        ({"errcode": 12345, "errmsg": "odd"}, "token_refused", "12345 odd", "global return codes"),
        ({"errcode": -1}, "token_busy", "busy", "again"),
    ],
)
async def test_no_token_says_why_and_stops_there(check, wechat, answer, code, sentence, fix):
    wechat.script["/cgi-bin/stable_token"].extend([answer] * 3)
    (finding,) = (await check()).values()
    assert (finding.code, finding.ok) == (code, False)
    assert sentence in finding.sentence
    assert fix in finding.fix


async def test_an_uncertain_answer_is_no_verdict(check, wechat):
    wechat.script[TYPING].append((502, b""))
    wechat.script[INFO].append({"errcode": 77777, "errmsg": "odd"})
    found = await check(openid=OPENID)
    assert "unclear" in found["customer_service"].sentence
    assert "77777" in found["user_info"].sentence


class Gateway(StandIn):
    """Answers the echo as the gateway does, or as ``answer`` says."""

    answer = None

    def _default(self, path):
        if self.answer is not None:
            return self.answer
        query = {name: values[0] for name, values in self.calls[-1]["query"].items()}
        right = verify("callback", query["timestamp"], query["nonce"], given=query["signature"])
        return query["echostr"].encode() if right else (403, b"")


@pytest.mark.parametrize(
    ("token", "answer", "sentence"),
    [
        ("callback", None, "as WeChat expects"),
        ("other", None, "refuses the signature"),
        ("callback", (404, b""), "no such account"),
        ("callback", b"welcome", "Something else"),
        ("callback", (500, b""), "HTTP 500"),
        ("callback", "cut", "does not answer"),
    ],
)
async def test_our_own_webhook_is_called_as_wechat_would(check, wechat, token, answer, sentence):
    wechat.script[TYPING].append(NOBODY)
    async with Gateway() as gateway:
        gateway.answer = answer
        webhook = Webhook(gateway.url + "/wechat/demo", token)
        finding = (await check(webhook=webhook))["webhook"]
        assert sentence in finding.sentence
        assert finding.ok is (sentence == "as WeChat expects")
        assert urlsplit(webhook.url).path == gateway.calls[0]["path"]
        assert repr(token) not in repr(webhook)
