"""An event that nobody sent, in the platform's terms: to try rules, and to decide anew about what is stored. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from contracts import wechat

TEXT_FIELDS = {
    "voice": "Recognition",
    "location": "Label",
    "link": "Title",
    "file": "Title",
    "miniprogrampage": "Title",
}
"""The platform's field for what stands as a kind's text; ``Content`` for kinds not named, EventKey for events."""


def event_type(kind: str) -> str:
    """``text`` or ``event.click`` as the type of an event on the bus."""
    return wechat.EVENT + kind.removeprefix("event.") if kind.startswith("event.") else wechat.MESSAGE + kind


def inbound(
    kind: str, text: str, openid: str = "", at: int = 0, fields: Mapping[str, Any] | None = None
) -> wechat.Inbound:
    """The typed view of it. ``fields`` are further fields under the platform's names."""
    happened = kind.startswith("event.")
    whole: dict[str, Any] = {
        "ToUserName": "",
        "FromUserName": openid,
        "CreateTime": at,
        "MsgType": "event" if happened else kind,
        **(fields or {}),
    }
    if happened:
        whole["Event"] = kind.removeprefix("event.")
        whole["EventKey"] = text
    else:
        whole.setdefault("MsgId", 0)
        whole[TEXT_FIELDS.get(kind, "Content")] = text
    return wechat.view(event_type(kind), msgspec.json.encode(whole))
