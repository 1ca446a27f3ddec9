"""Logs: whatever is logged, wherever it stands, no secret and no openid comes out."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from chassis import logs
from services.gateway.accounts import Account

OPENID = "oT5kWx0m3QbRz8LhYc2NfVu7EaJg"
SECRETS = {
    "s3cr3tAppSecretOf32Characters000",
    "t0k3nOfTheCallback0000",
    "k3yOfTheEncoding0000000000000000000000000000",
    "p4ssw0rd",
    "p4ss@w0rd",
    "acc3sst0ken",
    "b3arert0ken",
    "5ign4ture",
    OPENID,
}
SECRET, TOKEN, KEY = "s3cr3tAppSecretOf32Characters000", "t0k3nOfTheCallback0000", "k3yOfTheEncoding" + "0" * 28
TEXTS = [
    f"GET /cgi-bin/token?grant_type=client_credential&secret={SECRET}&appid=wx1",
    f'{{"secret": "{SECRET}", "token": "{TOKEN}"}}',
    f"Account(name='demo', secret='{SECRET}', token='{TOKEN}', aes_key='{KEY}')",
    "amqp://weir:p4ssw0rd@rabbit:5672/ refused",
    "amqp://weir:p4ss@w0rd@rabbit:5672/ refused",
    "mongodb://weir:p4ssw0rd@one:1,two:2/?replicaSet=rs",
    "https://api.weixin.qq.com/cgi-bin/message/custom/send?access_token=acc3sst0ken",
    "Authorization: Bearer b3arert0ken",
    "/wechat/demo?signature=5ign4ture&timestamp=1&nonce=2&msg_signature=5ign4ture",
    f"follower {OPENID} said",
    f"demo|{OPENID}|24530001|1714037059#r0",
    f'{{"touser":"{OPENID}"}}',
]


@pytest.fixture(params=["json", "console"])
def output(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, structlog.get_config())
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure("test", log_format=request.param, level="debug")
    yield stream
    root.handlers[:], root.level = before[0], before[1]
    structlog.contextvars.clear_contextvars()
    structlog.configure(**before[2])


def found_in(text: str) -> set[str]:
    return {secret for secret in SECRETS if secret in text}


class Failed(Exception):
    pass


def fail(text: str) -> None:
    def inner() -> None:
        raise Failed(text)

    try:
        inner()
    except Failed as cause:
        raise RuntimeError(f"because of {text}") from cause


@pytest.mark.parametrize("text", TEXTS)
def test_nothing_leaks_from_any_place(output: io.StringIO, text: str) -> None:
    log = structlog.stdlib.get_logger("place")
    log.info(text)
    log.info("a field", detail=text)
    log.info("nested", outer={"inner": [text, {"deep": (text,)}]})
    log.info("a key", outer={text: 1})
    log.info("bytes", body=text.encode())
    log.info("an exception as a value", error=Failed(text))
    log.info("a set", several={text})
    try:
        fail(text)
    except RuntimeError as error:
        log.exception("with its traceback")
        log.error("the same, given", exc_info=error)
        logging.getLogger("library").exception("a library's own line about %s", text)
    logging.getLogger("library").warning("an argument %s and %r", text, {"x": text})
    assert found_in(output.getvalue()) == set()
    assert output.getvalue().count("\n") >= 10


@pytest.mark.parametrize(
    "name", ["token", "access_token", "secret", "appsecret", "admin_token", "aes_key", "AESKey", "password", "Cookie"]
)
@pytest.mark.parametrize("wrap", [str, str.encode, lambda s: [s], lambda s: {"value": s}, lambda s: (s,)])
def test_a_field_with_a_secrets_name_is_masked_whole(output: io.StringIO, name: str, wrap: object) -> None:
    log = structlog.stdlib.get_logger("place")
    log.info("secret", **{name: wrap("bare-value-without-any-mark")})
    log.info("secret", outer={name: wrap("bare-value-without-any-mark")})
    assert "bare-value" not in output.getvalue()
    assert "***" in output.getvalue()


def test_objects_are_shown_without_their_secrets(output: io.StringIO) -> None:
    account = Account("demo", "wx1", SECRET, TOKEN, "gh_1", aes_key=KEY, previous_aes_key=KEY)
    log = structlog.stdlib.get_logger("place")
    log.info("an account", account=account)
    log.info("in a list", accounts=[account])
    log.info("%s", account)
    assert found_in(output.getvalue()) == set()


def test_a_follower_can_be_followed_but_not_found(output: io.StringIO) -> None:
    log = structlog.stdlib.get_logger("place")
    log.info("one", openid=OPENID)
    log.info(f"two {OPENID}")
    log.info("three", openid="x")  # a short one, as tests and sandboxes may have, is an openid all the same
    assert output.getvalue().count(logs.hashed(OPENID)) == 2
    assert logs.hashed("x") in output.getvalue()
    assert OPENID not in output.getvalue()


def test_what_is_no_secret_stays_readable(output: io.StringIO) -> None:
    structlog.stdlib.get_logger("place").info(
        "ready", queue="autoreply.question", events=3, took=0.25, ok=True, no=None
    )
    line = output.getvalue()
    for part in ("ready", "autoreply.question", "3", "0.25", "place", "test"):
        assert part in line


def test_json_lines_are_json(monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    before = (root.handlers[:], root.level, structlog.get_config())
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    try:
        logs.configure("svc")
        structlog.stdlib.get_logger("place").warning("two\nlines", x={"a": (1, b"b")}, y=object())
        logging.getLogger("library").warning("plain")
        logging.getLogger("aiormq").info("chatter")
    finally:
        root.handlers[:], root.level = before[0], before[1]
        structlog.contextvars.clear_contextvars()
        structlog.configure(**before[2])
    first, second = map(json.loads, stream.getvalue().splitlines())
    assert (first["event"], first["level"], first["logger"], first["service"]) == (
        "two\nlines",
        "warning",
        "place",
        "svc",
    )
    assert first["timestamp"].endswith("Z")
    assert second["event"] == "plain"
