import asyncio
import ssl

import pytest
from wechat_stand_in import StandIn

from chassis.wechat.http import HttpClient, Part, Reach, encode


@pytest.fixture
async def wechat():
    async with StandIn() as stand_in:
        yield stand_in


@pytest.fixture
async def http():
    client = HttpClient(connect_seconds=0.5, total_seconds=0.8)
    yield client
    await client.close()


async def free_port():
    server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    return port


async def test_an_answer(wechat, http):
    answer = await http.call("POST", wechat.url + "/x", params={"a": "1 &"}, body=encode({"text": "你好"}))
    assert (answer.reach, answer.status, answer.body) == (Reach.ANSWERED, 200, b'{"errcode": 0, "errmsg": "ok"}')
    (call,) = wechat.calls
    assert call["query"] == {"a": ["1 &"]}
    assert call["body"] == '{"text":"你好"}'.encode()
    assert call["headers"]["content-type"] == "application/json; charset=utf-8"
    assert 0 < answer.seconds < 0.8


@pytest.mark.parametrize(
    ("fault", "trouble"),
    [
        ("silence", "timeout"),
        ("cut", "connection cut"),
        ("reset", "connection cut"),
        ("half", "answer cut"),
        ("garbage", ""),
    ],
)
async def test_a_request_that_left_is_unsure(wechat, http, fault, trouble):
    wechat.script["/x"].append(fault)
    answer = await http.call("POST", wechat.url + "/x", body=b"{}")
    assert answer.reach is Reach.UNSURE
    assert answer.trouble.startswith(trouble)
    assert len(wechat.calls) == 1


async def test_a_reused_connection_that_was_cut_is_unsure_and_not_repeated(wechat, http):
    await http.call("POST", wechat.url + "/x", body=b"{}")
    wechat.script["/x"].append("reset")
    assert (await http.call("POST", wechat.url + "/x", body=b"{}")).reach is Reach.UNSURE
    assert len(wechat.calls) == 2


async def test_a_refused_connection_is_not_sent(http):
    answer = await http.call("POST", f"http://127.0.0.1:{await free_port()}/x", body=b"{}")
    assert (answer.reach, answer.trouble) == (Reach.NOT_SENT, "connection refused")


async def test_a_name_that_does_not_exist_is_not_sent():
    client = HttpClient(connect_seconds=5, total_seconds=6)
    answer = await client.call("POST", "http://api.weixin.invalid/x", body=b"{}")
    await client.close()
    assert answer.reach is Reach.NOT_SENT
    assert answer.trouble in {"name not found", "connect timeout"}


async def test_failing_tls_is_not_sent(wechat, http):
    answer = await http.call("POST", wechat.url.replace("http:", "https:") + "/x", body=b"{}")
    assert answer.reach is Reach.NOT_SENT
    assert wechat.calls == []


async def test_a_tls_handshake_that_hangs_is_not_sent(http):
    async def hang(reader, writer):
        await reader.read()
        writer.close()

    server = await asyncio.start_server(hang, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    answer = await http.call("POST", f"https://127.0.0.1:{port}/x", body=b"{}")
    server.close()
    assert (answer.reach, answer.trouble) == (Reach.NOT_SENT, "connect timeout")
    assert ssl.OPENSSL_VERSION


async def test_waiting_for_a_free_connection_counts_as_not_sent(wechat):
    client = HttpClient(connect_seconds=0.2, total_seconds=1.0, connections=1)
    wechat.script["/x"].append("silence")
    first = asyncio.create_task(client.call("POST", wechat.url + "/x", body=b"{}"))
    while not wechat.calls:
        await asyncio.sleep(0.001)
    second = await client.call("POST", wechat.url + "/x", body=b"{}")
    assert (second.reach, second.trouble) == (Reach.NOT_SENT, "connect timeout")
    assert (await first).reach is Reach.UNSURE
    await client.close()


async def test_an_endless_answer_is_given_up(wechat, http, monkeypatch):
    monkeypatch.setattr("chassis.wechat.http.MAX_ANSWER_BYTES", 1000)
    wechat.script["/x"].append(b"x" * 1001)
    answer = await http.call("GET", wechat.url + "/x")
    assert (answer.reach, answer.trouble) == (Reach.UNSURE, "answer too large")


@pytest.mark.parametrize("url", ["nonsense", "http://[::1", "ftp://127.0.0.1/x", "http://127.0.0.1:99999/x"])
async def test_a_malformed_address_is_not_sent(http, url):
    answer = await http.call("GET", url, params={"access_token": "SECRET"})
    assert answer.reach is Reach.NOT_SENT
    assert "SECRET" not in repr(answer)


async def test_a_redirect_is_not_followed(wechat, http):
    wechat.script["/x"].append("redirect")
    assert (await http.call("GET", wechat.url + "/x")).status == 307
    assert len(wechat.calls) == 1


async def test_a_form_with_a_file(wechat, http):
    await http.call(
        "POST", wechat.url + "/x", form=[Part("kind", "image"), Part("media", b"\x89PNG", "a.png", "image/png")]
    )
    (call,) = wechat.calls
    assert call["headers"]["content-type"].startswith("multipart/form-data")
    assert b'filename="a.png"' in call["body"]
    assert b"\x89PNG" in call["body"]
