"""What came of one API call, as a value: a fate for the machine, words for a person, and no secrets."""

from __future__ import annotations

import json
from typing import Any, Final

import msgspec

from chassis import logs
from chassis.wechat.http import Answer, Reach
from contracts.errcodes import Fate, fate_of

_LONGEST_ERRMSG: Final = 200


class Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What came of one call, all attempts of it included.

    ``errcode`` is None when WeChat did not answer. ``errmsg`` is WeChat's text or ours, without secrets and openids.
    ``data`` is the answer without errcode and errmsg, None when nothing is left. ``token_trouble`` says that the access
    token is the cause, which concerns the whole account and is worth an alarm.
    """

    fate: Fate
    errcode: int | None = None
    errmsg: str = ""
    data: dict[str, Any] | None = None
    seconds: float = 0.0
    token_trouble: bool = False


def judge(answer: Answer, *, read: bool, secrets: tuple[str, ...]) -> Outcome:
    """Turn an HTTP answer into an outcome.

    ``read`` calls change nothing, so an uncertain one is simply repeated; for all others it stays unknown. ``secrets``
    are taken out of everything that came back.
    """
    unsure = Fate.RETRY if read else Fate.UNKNOWN
    seconds = answer.seconds
    if answer.reach is Reach.NOT_SENT:
        return Outcome(fate=Fate.RETRY, errmsg=f"not sent: {answer.trouble}", seconds=seconds)
    if answer.reach is Reach.UNSURE:
        return Outcome(fate=unsure, errmsg=f"no answer: {answer.trouble}", seconds=seconds)
    document = decode(answer.body, secrets)
    if answer.status >= 500 or document is None:
        what = "server error" if answer.status >= 500 else "unreadable answer"
        return Outcome(fate=unsure, errmsg=f"{what} (HTTP {answer.status})", seconds=seconds)
    errcode = _errcode(document)
    if errcode is None:
        return Outcome(fate=unsure, errmsg="unreadable answer (errcode is no number)", seconds=seconds)
    errmsg = document.pop("errmsg", "")
    return Outcome(
        fate=fate_of(errcode),
        errcode=errcode,
        errmsg="" if errcode == 0 else scrub(str(errmsg)),
        data=document or None,
        seconds=seconds,
    )


def decode(body: bytes, secrets: tuple[str, ...]) -> dict[str, Any] | None:
    """Read an answer as a JSON object, with the secrets masked, or None. WeChat leaves control characters unescaped."""
    for secret in secrets:
        if secret:
            body = body.replace(secret.encode(), b"***")
    try:
        document = json.loads(body.decode("utf-8", "replace"), strict=False)
    except (ValueError, RecursionError):
        return None
    return document if type(document) is dict and document else None


def scrub(text: str) -> str:
    """Return a text of WeChat's for people and logs: shortened, without credentials and openids."""
    return logs.scrub(text)[:_LONGEST_ERRMSG]


def _errcode(document: dict[str, Any]) -> int | None:
    """Take the errcode out of an answer; reads that succeed have none."""
    try:
        return int(document.pop("errcode", 0))
    except (TypeError, ValueError, OverflowError):
        return None
