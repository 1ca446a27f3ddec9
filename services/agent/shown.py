"""Conversations as the API shows them. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec

Document = dict[str, Any]


class CandidateView(msgspec.Struct):
    faq: str
    question: str
    answer: str
    score: float


class QuestionView(msgspec.Struct, omit_defaults=True):
    cause: str
    """The id of the message in the history."""
    at: datetime
    reason: str = ""
    text: str = ""
    candidates: tuple[CandidateView, ...] = ()


class DraftView(msgspec.Struct, omit_defaults=True):
    """What a model would answer to the question ``cause``; ``sent`` when the operator lets drafts send themselves."""

    cause: str
    at: datetime
    text: str
    model: str
    tokens: int
    sent: bool = False


class ConversationView(msgspec.Struct, omit_defaults=True, kw_only=True):
    id: str
    account: str
    openid: str
    state: str
    revision: int
    skill: str = ""
    priority: int = 0
    reason: str = ""
    since: datetime
    """When the follower began to wait."""
    last_message_at: datetime
    unread: int = 0
    agent: str = ""
    assigned_at: datetime | None = None
    closed_at: datetime | None = None
    closed_by: str = ""
    questions: tuple[QuestionView, ...] = ()
    draft: DraftView | None = None


def view(conversation: Document) -> ConversationView:
    """A conversation as it is shown: without the list of all its events."""
    shown = {name: value for name, value in conversation.items() if name not in ("_id", "causes", "open", "changed")}
    return msgspec.convert({**shown, "id": conversation["_id"]}, ConversationView)
