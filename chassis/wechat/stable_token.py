"""What ``/cgi-bin/stable_token`` answers: a token, or the trouble in plain words. Pure.

Source: WeChat's page "Get stable access token"; the form of 40164's text is as the platform's users quote it.
"""

from __future__ import annotations

import enum
import re
from typing import Final

from chassis.wechat.http import Answer, Reach
from chassis.wechat.outcome import decode, scrub
from contracts.errcodes import Fate


class TokenReason(enum.StrEnum):
    """Why there is no token: a closed set, safe as a metric label."""

    APPID = "appid"
    SECRET = "secret"  # noqa: S105 - the name of a reason
    IP_NOT_ALLOWED = "ip_not_allowed"
    FROZEN = "frozen"
    QUOTA = "quota"
    BUSY = "busy"
    NETWORK = "network"
    BREAKER_OPEN = "breaker_open"
    REFUSED = "refused"


class TokenTrouble(Exception):
    """There is no access token, so nothing was sent. The text is a sentence an operator can act on, without secrets."""

    def __init__(self, reason_code: TokenReason, sentence: str, errcode: int | None = None) -> None:
        super().__init__(sentence)
        self.reason_code = reason_code
        self.sentence = sentence
        self.errcode = errcode

    @property
    def fate(self) -> Fate:
        """The fate of the call that wanted the token: it has not left, so it may be tried again later."""
        return Fate.WAIT_MIDNIGHT if self.reason_code is TokenReason.QUOTA else Fate.RETRY


_REASONS: Final[dict[int, tuple[TokenReason, str]]] = {
    -1: (TokenReason.BUSY, "WeChat is busy and gave no access token; it is tried again."),
    40013: (TokenReason.APPID, "The appid is wrong. Compare it with the account's settings page; case matters."),
    41002: (TokenReason.APPID, "The appid is empty. Copy it from the account's settings page."),
    40125: (
        TokenReason.SECRET,
        "The AppSecret is wrong. Reset it on the account's settings page and store it.",
    ),
    40001: (TokenReason.SECRET, "The AppSecret does not belong to this appid. Copy both from the same settings page."),
    41004: (TokenReason.SECRET, "The AppSecret is empty. Reset it on the account's settings page and store it."),
    40243: (TokenReason.FROZEN, "The AppSecret is frozen. Unfreeze it on the account's settings page."),
    50004: (TokenReason.FROZEN, "WeChat does not let this account fetch tokens. Its notices from WeChat say why."),
    50007: (TokenReason.FROZEN, "WeChat has frozen this account. Its notices from WeChat say why."),
    45009: (TokenReason.QUOTA, "The day's token requests are used up. It continues after midnight (Beijing time)."),
    45011: (TokenReason.BUSY, "Too many token requests in this minute; it is tried again."),
}
_IP: Final = re.compile(r"invalid ip ([0-9A-Fa-f.:]{3,45})")


def read_token(answer: Answer, secret: str) -> tuple[str, float] | TokenTrouble:
    """Read the answer of ``stable_token``: the token and its remaining seconds, or what is wrong."""
    if answer.reach is not Reach.ANSWERED:
        return TokenTrouble(
            TokenReason.NETWORK,
            f"WeChat could not be reached for an access token ({answer.trouble}). Check DNS, firewall and proxy.",
        )
    document = decode(answer.body, (secret,))
    if document is None or answer.status >= 500:
        return TokenTrouble(
            TokenReason.NETWORK, f"The answer to the token request is unreadable (HTTP {answer.status})."
        )
    value, lifetime = document.get("access_token"), document.get("expires_in")
    if type(value) is str and value and type(lifetime) is int and lifetime > 0:
        return value, float(lifetime)
    errcode = document.get("errcode")
    if type(errcode) is not int:
        return TokenTrouble(TokenReason.NETWORK, "The answer to the token request has neither a token nor an errcode.")
    errmsg = str(document.get("errmsg", ""))
    if errcode == 40164:
        return _ip_not_allowed(errmsg)
    known = _REASONS.get(errcode)
    if known is None:
        return TokenTrouble(TokenReason.REFUSED, f"WeChat gave no access token: {errcode} {scrub(errmsg)}", errcode)
    return TokenTrouble(*known, errcode)


def _ip_not_allowed(errmsg: str) -> TokenTrouble:
    found = _IP.search(errmsg)
    where = f"Our address, as WeChat sees it, is {found.group(1)}" if found else "Our address"
    return TokenTrouble(
        TokenReason.IP_NOT_ALLOWED,
        f"{where}{',' if found else ' is'} not in the account's IP allow list. Add it on the account's settings page.",
        40164,
    )
