"""Is this account set up right? Asked of the platform itself, answered in plain words.

Every probe is harmless: none sends a follower anything, changes a setting or uses up a scarce quota.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Final

import msgspec

from chassis.wechat.api import WeChatApi
from chassis.wechat.http import HttpClient, Reach
from chassis.wechat.outcome import Outcome
from chassis.wechat.signature import callback_signature
from chassis.wechat.stable_token import TokenReason, TokenTrouble
from chassis.wechat.tokens import TokenSource
from contracts.errcodes import CODES, explain

_NOBODY: Final = "oWeirCheck_nobody_0000000000"
"""Shaped like an openid and nobody's: WeChat looks at permissions before it looks for the person."""


class Finding(msgspec.Struct, frozen=True):
    """One thing that was looked at. ``sentence`` says what is; ``fix`` what to do, empty when ``ok``."""

    code: str
    ok: bool
    sentence: str
    fix: str = ""


class Webhook(msgspec.Struct, frozen=True):
    """Our own callback URL, as WeChat would call it, and the callback token set on both sides."""

    url: str
    token: str

    def __repr__(self) -> str:
        return f"Webhook(url={self.url!r}, token='***')"


async def check_account(
    http: HttpClient,
    base_url: str,
    appid: str,
    tokens: TokenSource,
    clock: Callable[[], float],
    *,
    openid: str | None = None,
    webhook: Webhook | None = None,
) -> list[Finding]:
    """Look at an account from outside, in the order in which things depend on each other.

    ``openid`` is a follower to read; without one only the permission is probed. Without a token nothing further is
    asked of the platform. Never raises for what it finds.
    """
    findings = [await _token(tokens)]
    if findings[0].ok:
        api = WeChatApi(http, base_url, appid, tokens)
        findings.append(_callback_ips(await api.callback_ips()))
        findings.append(_customer_service(await api.typing(_NOBODY, on=False)))
        findings.append(_user_info(await api.user_info(openid or _NOBODY), known=openid is not None))
    if webhook is not None:
        findings.append(await _webhook(http, webhook, clock))
    return findings


async def _token(tokens: TokenSource) -> Finding:
    try:
        await tokens.current()
    except TokenTrouble as trouble:
        what, _, fix = trouble.sentence.partition(". ")
        return Finding(
            f"token_{trouble.reason_code}",
            False,
            f"No access token: {what}.",
            fix or _FIXES.get(trouble.reason_code, ""),
        )
    return Finding("token", True, "WeChat gives an access token: appid, AppSecret and IP allow list are right.")


_FIXES: Final = {
    TokenReason.BUSY: "Run the check again in a minute.",
    TokenReason.NETWORK: "Check that this machine reaches the API's address.",
    TokenReason.REFUSED: "Look the code up under WeChat's global return codes.",
}


def _callback_ips(outcome: Outcome) -> Finding:
    addresses = (outcome.data or {}).get("ip_list")
    if isinstance(addresses, list):
        return Finding("callback_ips", True, f"WeChat calls back from {len(addresses)} addresses.")
    return _failed("callback_ips", "The addresses of WeChat's callbacks can not be read", outcome)


def _customer_service(outcome: Outcome) -> Finding:
    # Only 48xxx is about permission. A refusal because of the person means that the permission is there.
    if outcome.errcode is not None and not 48000 <= outcome.errcode < 49000 and not outcome.token_trouble:
        return Finding("customer_service", True, "The account may send customer-service messages.")
    if outcome.errcode == 48001:
        return Finding(
            "customer_service",
            False,
            "The account may not send customer-service messages.",
            "Verify the account with WeChat. Until then only passive replies, within 5 seconds, reach followers.",
        )
    return _failed("customer_service", "The permission for customer-service messages is unclear", outcome)


def _user_info(outcome: Outcome, *, known: bool) -> Finding:
    if known and outcome.errcode == 0:
        following = (outcome.data or {}).get("subscribe") == 1
        return Finding("user_info", True, f"The follower can be read; they {'do' if following else 'do not'} follow.")
    if not known and outcome.errcode is not None and not 48000 <= outcome.errcode < 49000:
        return Finding("user_info", True, "The account may read its followers.")
    return _failed("user_info", "Followers can not be read", outcome)


def _failed(code: str, what: str, outcome: Outcome) -> Finding:
    if outcome.errcode is None or outcome.token_trouble:
        return Finding(code, False, f"{what}: {outcome.errmsg}.", "Run the check again; if it stays, see the network.")
    known = CODES.get(outcome.errcode)
    if known is None:
        return Finding(code, False, f"{what}: {outcome.errcode} {outcome.errmsg}.", explain(outcome.errcode))
    return Finding(code, False, f"{what}: {known.says}", known.do)


async def _webhook(http: HttpClient, webhook: Webhook, clock: Callable[[], float]) -> Finding:
    timestamp, nonce, echo = str(int(clock())), secrets.token_hex(5), secrets.token_hex(10)
    signature = callback_signature(webhook.token, timestamp, nonce)
    params = {"signature": signature, "timestamp": timestamp, "nonce": nonce, "echostr": echo}
    answer = await http.call("GET", webhook.url, params=params)
    if answer.reach is not Reach.ANSWERED:
        return Finding(
            "webhook",
            False,
            f"Our callback URL does not answer: {answer.trouble}.",
            "Check the address, the DNS entry, the certificate and that the gateway is running.",
        )
    if answer.status == 200 and answer.body == echo.encode():
        return Finding("webhook", True, "Our callback URL answers as WeChat expects.")
    sentence, fix = _WEBHOOK.get(
        answer.status,
        (f"Our callback URL answers HTTP {answer.status}, not the echo.", "See whether the URL leads to the gateway."),
    )
    return Finding("webhook", False, sentence, fix)


_WEBHOOK: Final = {
    200: (
        "Something else answers at our callback URL.",
        "Point the URL at the gateway; a proxy before it must not change the answer.",
    ),
    403: (
        "Our callback URL refuses the signature.",
        "Use the same callback token here and on the account's settings page, and set this machine's clock right.",
    ),
    404: ("Our callback URL knows no such account.", "Check the account's name at the end of the URL."),
}
