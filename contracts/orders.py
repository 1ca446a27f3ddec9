"""Commands as events: what the services order of each other, built in one place."""

from __future__ import annotations

from datetime import datetime

from contracts.envelope import Event, raw
from contracts.facts import Decision, Handover, Part, Send, Window
from contracts.keys import action_id, next_reply_id

SEND = "weir.send"
REPLY = "send.reply"
"""Routing key of late replies; people use ``send.urgent``, campaigns ``send.bulk``."""
URGENT = "send.urgent"

HANDOVER = "weir.handover"
"""Type of the command ``handover``."""
HANDOVER_KEY = "handover"

FORGET = "weir.forget"
"""Type of the command ``forget``: to delete what is kept of a follower whose data must go."""
FORGET_KEY = "forget"


def send_decision(decision: Decision, now: datetime) -> Event:
    """The command to send what was decided through the API, for when no open connection waits for it any more.

    Its id is the answer's: however many ways lead here, the courier's ledger sends it once.
    """
    if decision.content is None:
        raise ValueError("a decision to be silent cannot be sent")
    return Event(
        id=decision.id,
        source=f"/accounts/{decision.account}",
        type=SEND,
        subject=decision.openid,
        time=now,
        account=decision.account,
        lane="signal",
        cause=decision.cause,
        data=raw(Send(decision.content, decision.because, decision.window, more=decision.more)),
    )


def rest_of_decision(decision: Decision, now: datetime) -> Event | None:
    """The command to send what comes after the first answer, for when that went out passively; None for nothing."""
    if not decision.more:
        return None
    return _part(
        next_reply_id(decision.id),
        decision.account,
        decision.openid,
        decision.cause,
        decision.more,
        decision.window,
        now,
    )


def next_send(event: Event, send: Send, now: datetime) -> Event | None:
    """The command to send what comes after this one; None when it was the last part."""
    if not send.more:
        return None
    return _part(next_reply_id(event.id), event.account, event.subject, event.cause, send.more, send.window, now)


def _part(
    key: str, account: str, openid: str, cause: str, parts: tuple[Part, ...], window: Window | None, now: datetime
) -> Event:
    first, *rest = parts
    return Event(
        id=key,
        source=f"/accounts/{account}",
        type=SEND,
        subject=openid,
        time=now,
        account=account,
        lane="signal",
        cause=cause,
        data=raw(Send(first.content, first.because, window, more=tuple(rest))),
    )


def handover(asked: Event, order: Handover) -> Event:
    """The command to hand a follower's question to a person. One event leads to one of them, however often."""
    return Event(
        id=action_id(asked.id, "handover"),
        source=asked.source,
        type=HANDOVER,
        subject=asked.subject,
        time=asked.time,
        account=asked.account,
        lane="signal",
        cause=asked.id,
        data=raw(order),
    )


def forget(account: str, openid: str, now: datetime) -> Event:
    """The command to forget a follower. It is on no exchange that is recorded: the openid must not outlive it."""
    return Event(
        id=f"{account}|{openid}|forget|{now.isoformat()}",
        source=f"/accounts/{account}",
        type=FORGET,
        subject=openid,
        time=now,
        account=account,
        lane="signal",
    )
