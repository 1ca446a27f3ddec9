"""What became of a ``send``, as the fact that tells everybody. The same ending has the same id, always."""

from __future__ import annotations

import msgspec

from chassis.publisher import Publication, fact
from contracts import facts
from contracts.content import Content
from contracts.envelope import Event, raw
from contracts.facts import Because, SendOutcome
from contracts.keys import outcome_id
from services.gateway.ledger import Row

_ENDINGS = {
    "sent": ("accepted", facts.SEND_ACCEPTED),
    "failed": ("failed", facts.SEND_FAILED),
    "unknown": ("unknown", facts.SEND_UNKNOWN),
}


def outcome(row: Row, content: Content) -> Publication:
    """The fact of a settled row of the ledger."""
    ending, kind = _ENDINGS[row["state"]]
    told = SendOutcome(
        send=row["_id"],
        content=content,
        because=msgspec.convert(row["because"], Because),
        errcode=row.get("errcode"),
        reason=row.get("reason", ""),
    )
    return fact(
        Event(
            id=outcome_id(row["_id"], ending),
            source=f"/accounts/{row['account']}",
            type=kind,
            subject=row["openid"],
            time=row["at"][row["state"]],
            account=row["account"],
            lane="signal",
            cause=row["cause"],
            data=raw(told),
        )
    )


def outcome_of_abandoned(row: Row) -> Publication:
    """The same for a row whose command is not at hand: the row still has the content."""
    content: Content = msgspec.convert(row["content"], Content)
    return outcome(row, content)
