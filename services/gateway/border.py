"""Opening a callback: is it WeChat's, is it fresh, what does it say. And closing the answer in the same manner.

No I/O: bytes and query in, fields out. Source: the platform's pages "Access overview" and "Message encryption".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl

from chassis.wechat.crypto import Cipher, CryptoError
from chassis.wechat.parser import BadPayload, parse, parse_envelope
from chassis.wechat.signature import FRESH_SECONDS, age, verify
from services.gateway.accounts import Account
from services.gateway.refusal import Refused


@dataclass(frozen=True, slots=True)
class Sealed:
    """How the callback was encrypted; its answer is encrypted likewise."""

    cipher: Cipher
    key_index: int
    nonce: str
    as_json: bool


def read_query(target: str) -> dict[str, str]:
    """The query of a request's target. A parameter that stands twice counts as its last.

    A quick way for what WeChat sends, which is nothing that needs decoding; it saves 5 us a callback.
    """
    query = target.partition("?")[2]
    if "%" in query or "+" in query:
        return dict(parse_qsl(query, keep_blank_values=True))
    return {name: value for name, _, value in (pair.partition("=") for pair in query.split("&"))}


@lru_cache(maxsize=256)
def _cipher(token: str, appid: str, aes_keys: tuple[str, ...]) -> Cipher:
    """Ciphers by what they are made of: making one costs more than a message."""
    return Cipher(token, appid, aes_keys)


def check_url(account: Account, query: Mapping[str, str], now: float) -> str:
    """The echostr of WeChat's check of the URL. Raises ``Refused``."""
    _check_fresh(query, now)
    _check_signature(account, query)
    if "echostr" not in query:
        raise Refused(400, "no_echostr", "the query has no echostr: WeChat's check of the URL sends one")
    return query["echostr"]


def open_callback(
    account: Account, query: Mapping[str, str], body: bytes, now: float
) -> tuple[dict[str, Any], Sealed | None]:
    """The fields of a callback, and how it was sealed (None in plain mode). Raises ``Refused``."""
    _check_fresh(query, now)
    try:
        if account.mode == "plain" and query.get("encrypt_type") != "aes":
            _check_signature(account, query)
            return parse(body), None
        return _open_sealed(account, query, body)
    except BadPayload as error:
        raise Refused(413 if error.reason == "too_large" else 400, str(error.reason), str(error)) from None


def _open_sealed(account: Account, query: Mapping[str, str], body: bytes) -> tuple[dict[str, Any], Sealed]:
    signature = query.get("msg_signature", "")
    if not signature:
        raise Refused(403, "bad_signature", f"the account is in {account.mode} mode: msg_signature is required")
    if not account.aes_keys:
        raise Refused(403, "no_key", "the callback is encrypted, and the account has no EncodingAESKey here")
    nonce = query.get("nonce", "")
    cipher = _cipher(account.token, account.appid, account.aes_keys)
    try:
        plain, key_index = cipher.decrypt(parse_envelope(body)["Encrypt"], signature, query.get("timestamp", ""), nonce)
    except CryptoError as error:
        raise Refused(403, f"bad_{error.reason}", str(error)) from None
    return parse(plain), Sealed(cipher, key_index, nonce, body[:1] == b"{")


def close_answer(xml: str, sealed: Sealed | None, now: float) -> bytes:
    """The body of the answer: as it is in plain mode, else encrypted with the key that opened the callback."""
    if sealed is None:
        return xml.encode()
    return sealed.cipher.encrypt_reply(xml, str(int(now)), sealed.nonce, sealed.key_index, as_json=sealed.as_json)


def _check_signature(account: Account, query: Mapping[str, str]) -> None:
    given = query.get("signature", "")
    if not verify(account.token, query.get("timestamp", ""), query.get("nonce", ""), given=given):
        raise Refused(403, "bad_signature", "signature is wrong or missing: check the account's callback token")


def _check_fresh(query: Mapping[str, str], now: float) -> None:
    seconds = age(query.get("timestamp", ""), now)
    if seconds is None or abs(seconds) > FRESH_SECONDS:
        raise Refused(
            403, "stale", f"timestamp is missing or more than {FRESH_SECONDS} s off: a replay, or a clock is wrong"
        )
