"""What comes to people over the bus: questions handed over, and what followers write while a person talks with them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Protocol

import msgspec

from chassis.publisher import Publication, fact
from contracts import facts, orders, wechat
from contracts.envelope import Event, data_as, raw
from contracts.errors import Reject
from contracts.facts import Handover
from services.agent.conversations import Document, Opened, Question


class ConversationStore(Protocol):
    """What of the conversations is needed here."""

    async def ask(self, question: Question) -> Opened: ...

    async def join(self, question: Question) -> Document | None: ...

    async def forget(self, account: str, openid: str) -> None: ...


class DraftMaker(Protocol):
    """Who drafts answers for people, when anybody does."""

    def offer(self, conversation: Document, question: Question) -> None: ...


class Desk:
    """The handlers of ``agent.handover`` and ``agent.desk``. The same event twice leads to one question."""

    def __init__(self, conversations: ConversationStore, drafts: DraftMaker | None = None) -> None:
        self._conversations = conversations
        self._drafts = drafts

    async def handover(self, event: Event) -> Sequence[Publication]:
        """A question is handed over: it opens the follower's conversation, or joins the one that is open."""
        if event.type != orders.HANDOVER or not event.subject or not event.cause:
            raise Reject("bad_command", f"a {event.type} command without meaning here; type {orders.HANDOVER}")
        try:
            order = data_as(event, Handover)
        except msgspec.DecodeError as error:
            raise Reject("bad_command", f"its data is no handover: {error}") from error
        question = Question(event.account, event.subject, event.cause, event.time, order)
        opened = await self._conversations.ask(question)
        if self._drafts:
            self._drafts.offer(opened.conversation, question)
        # Told again by whoever handles it again: the one who opened it may not have lived to tell.
        return [told(facts.CONVERSATION_OPENED, opened.conversation, event.time)] if opened.new else []

    async def forget(self, event: Event) -> Sequence[Publication]:
        """A follower's data must go."""
        await self._conversations.forget(event.account, event.subject)
        return []

    async def desk(self, event: Event) -> Sequence[Publication]:
        """A follower in a conversation wrote or did something: it is the person's to answer.

        When the conversation has just ended, nobody has answered it: then it goes to the machine after all.
        """
        order = Handover(reason="in_conversation", text=wechat.said(wechat.view(event.type, event.data)))
        joined = await self._conversations.join(Question(event.account, event.subject, event.id, event.time, order))
        if joined:
            return []
        return [fact(msgspec.structs.replace(event, lane="question", replyto="", deadline=None))]


def told(kind: str, conversation: Document, at: datetime, agent: str = "") -> Publication:
    """The fact that a conversation was opened, assigned or closed. The same step always has the same id."""
    step = kind.rpartition(".")[2]
    name: str = conversation["_id"]
    # One opens once; every later step is known by the revision that it led to.
    key = f"{name}!{step}" if kind == facts.CONVERSATION_OPENED else f"{name}!{step}.{conversation['revision']}"
    data: dict[str, Any] = {field: conversation.get(field) or "" for field in ("skill", "reason")}
    return fact(
        Event(
            id=key,
            source=f"/accounts/{conversation['account']}",
            type=kind,
            subject=conversation["openid"],
            time=at,
            account=conversation["account"],
            lane="signal",
            cause=conversation["causes"][0] if conversation.get("causes") else "",
            data=raw(facts.Conversation(name, priority=conversation["priority"], agent=agent, **data)),
        )
    )
