"""Commands as events: what the services order of each other, built in one place."""

from __future__ import annotations

from datetime import datetime

from contracts.envelope import Event, raw
from contracts.facts import Decision, Send

SEND = "weir.send"
REPLY = "send.reply"
"""Routing key of late replies; people use ``send.urgent``, campaigns ``send.bulk``."""


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
        data=raw(Send(decision.content, decision.because, decision.window)),
    )
