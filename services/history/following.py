"""Which events change whether somebody follows, and when their data is to go. Pure."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import NamedTuple

import msgspec

from contracts import wechat
from contracts.envelope import Event

ERASE_AFTER = timedelta(days=30)
"""From unfollowing, or from withdrawing consent, to the erasure; see docs/erasure.md."""

_FIELD = {
    f"{wechat.EVENT}subscribe": "subscribed_at",
    f"{wechat.EVENT}unsubscribe": "unsubscribed_at",
    f"{wechat.EVENT}user_authorization_revoke": "revoked_at",
    f"{wechat.EVENT}user_authorization_cancellation": "revoked_at",
}

_QR_PREFIX = "qrscene_"


class Change(NamedTuple):
    """``field`` of the follower is ``at`` at the least; ``scene`` is that of the QR code, if it was one."""

    account: str
    openid: str
    field: str
    at: datetime
    scene: str


def change(event: Event) -> Change | None:
    """What an event changes about following, or None. Never raises for an event that could be stored."""
    field = _FIELD.get(event.type)
    if field is None or not event.subject:
        return None
    scene = ""
    if field == "subscribed_at":
        fields = msgspec.json.decode(event.data, type=dict[str, object])
        scene = str(fields.get("EventKey") or "").removeprefix(_QR_PREFIX)
    return Change(event.account, event.subject, field, event.time, scene)
