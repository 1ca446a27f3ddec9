"""Conversations over HTTP: the queue, one conversation, and what its agent does with it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from msgspec import Meta

from chassis.api import Call, endpoint
from chassis.http import Problem
from chassis.publisher import Publication, Publisher, command
from contracts import facts, orders
from contracts.content import Text
from contracts.envelope import Event, raw
from contracts.errors import PublishFailed
from contracts.facts import Because, Send, Window
from services.agent.conversations import Conversations, Document, Stale
from services.agent.handover import told
from services.agent.shown import ConversationView, view

READ, ACT = "conversations.read", "conversations.act"
ANYBODYS = "audit.read"
"""Who may look over agents' shoulders may also end or give back their conversations: supervisors and up."""

PAGE = 50
MAX_TEXT_BYTES = 2048
"""A longer text is refused by the platform."""
_CURSOR = re.compile(r"(-?\d{1,4})\.(\d{1,15})\.([0-9a-f]{24})")
_NOT_THERE = "there is no conversation of this id in this account"


class OfAccount(msgspec.Struct):
    """``account`` may be left out by who may see all accounts."""

    account: str = ""


class ListQuery(msgspec.Struct):
    account: str = ""
    state: Literal["waiting", "assigned", "closed"] = "waiting"
    cursor: str = ""
    limit: Annotated[int, Meta(ge=1, le=200)] = PAGE


class Step(msgspec.Struct, forbid_unknown_fields=True):
    """``revision`` makes it a compare-and-set: with another one in between it is refused."""

    revision: int | None = None


class Message(msgspec.Struct, forbid_unknown_fields=True):
    """``id`` is the caller's own: the same one again sends nothing again."""

    id: Annotated[str, Meta(pattern="^[A-Za-z0-9_-]{1,64}$")]
    text: Annotated[str, Meta(min_length=1, max_length=MAX_TEXT_BYTES)]


class ConversationPage(msgspec.Struct):
    conversations: list[ConversationView]
    next: str | None


class Sent(msgspec.Struct):
    """``send`` is the id under which the courier keeps it: ``GET /api/sends/{id}`` tells what became of it."""

    send: str


_STALE = ((404, "not_found"), (409, "stale"))


class ConversationsApi:
    def __init__(self, conversations: Conversations, publisher: Publisher) -> None:
        self._conversations = conversations
        self._publisher = publisher

    @endpoint(
        "GET", "/api/conversations", "Conversations in one state", allow=READ, query=ListQuery, answers=ConversationPage
    )
    async def list(self, call: Call) -> ConversationPage:
        """The highest priority first, then who waits longest."""
        query: ListQuery = call.query
        accounts = [query.account] if query.account else None
        found = await self._conversations.newest(accounts, query.state, _position(query.cursor), query.limit + 1)
        page = found[: query.limit]
        following = _cursor(page[-1]) if len(found) > query.limit else None
        return ConversationPage([view(one) for one in page], following)

    @endpoint(
        "GET",
        "/api/conversations/{id}",
        "One conversation",
        allow=READ,
        query=OfAccount,
        answers=ConversationView,
        errors=((404, "not_found"),),
    )
    async def one(self, call: Call) -> ConversationView:
        """With its last fifty questions, and the FAQ's nearest answers to each."""
        return view(await self._found(call))

    @endpoint(
        "POST",
        "/api/conversations/{id}/take",
        "Take a waiting conversation",
        allow=ACT,
        query=OfAccount,
        body=Step,
        answers=ConversationView,
        errors=_STALE,
    )
    async def take(self, call: Call) -> ConversationView:
        """From now on the machine is silent towards this follower. To take what one has already changes nothing."""
        conversation = await self._found(call)
        try:
            taken = await self._conversations.take(conversation["_id"], call.who.name, call.body.revision)
        except Stale as stale:
            _refuse(stale)
        return await self._stepped(call, taken, facts.CONVERSATION_ASSIGNED, "conversation.taken")

    @endpoint(
        "POST",
        "/api/conversations/{id}/release",
        "Give a conversation back to the queue",
        allow=ACT,
        query=OfAccount,
        body=Step,
        answers=ConversationView,
        errors=_STALE,
    )
    async def release(self, call: Call) -> ConversationView:
        """It goes to its old place. Only its agent can, or a supervisor."""
        conversation = await self._found(call)
        anybodys = call.who.may(ANYBODYS, conversation["account"])
        try:
            released = await self._conversations.release(
                conversation["_id"], call.who.name, call.body.revision, anybodys=anybodys
            )
        except Stale as stale:
            _refuse(stale)
        return await self._stepped(call, released, "", "conversation.released")

    @endpoint(
        "POST",
        "/api/conversations/{id}/close",
        "Close a conversation",
        allow=ACT,
        query=OfAccount,
        body=Step,
        answers=ConversationView,
        errors=_STALE,
    )
    async def close(self, call: Call) -> ConversationView:
        """The machine answers again, within a second. Only its agent can, or a supervisor; a waiting one anybody."""
        conversation = await self._found(call)
        anybodys = call.who.may(ANYBODYS, conversation["account"])
        try:
            closed = await self._conversations.close(
                conversation["_id"], call.who.name, call.body.revision, anybodys=anybodys
            )
        except Stale as stale:
            _refuse(stale)
        return await self._stepped(call, closed, facts.CONVERSATION_CLOSED, "conversation.closed")

    @endpoint(
        "POST",
        "/api/conversations/{id}/messages",
        "Send a text to the follower",
        allow=ACT,
        query=OfAccount,
        body=Message,
        answers=Sent,
        status=202,
        errors=(*_STALE, (503, "bus_unavailable")),
    )
    async def send(self, call: Call) -> Sent:
        """Through the courier, ahead of everything that machines send. Only the agent who has the conversation can."""
        message: Message = call.body
        _check_text(message.text)
        conversation = await self._found(call)
        having = await self._conversations.spoke(conversation["_id"], call.who.name)
        if having is None:
            _refuse(Stale(await self._conversations.get(conversation["_id"])))
        event = by_person(having, call.who.name, message, datetime.now(UTC))
        await self._publish(command(orders.URGENT, event))
        return Sent(event.id)

    async def _found(self, call: Call) -> Document:
        conversation = await self._conversations.get(call.path["id"])
        account = call.query.account
        # Who names no account may see them all: the endpoint has made sure of that.
        if conversation is None or (account and conversation["account"] != account):
            raise Problem(404, "not_found", _NOT_THERE)
        return conversation

    async def _stepped(self, call: Call, conversation: Document, kind: str, what: str) -> ConversationView:
        if kind:
            # What was done already is told once more: the one who did it may not have lived to tell.
            await self._publish(told(kind, conversation, datetime.now(UTC), call.who.name))
        detail = {"revision": conversation["revision"]}
        await call.audit(what, conversation["_id"], detail, account=conversation["account"])
        return view(conversation)

    async def _publish(self, publication: Publication) -> None:
        try:
            await self._publisher.publish(publication)
        except PublishFailed as error:
            raise Problem(
                503, "bus_unavailable", "RabbitMQ does not answer right now; do the same again soon"
            ) from error


def by_person(conversation: Document, agent: str, message: Message, now: datetime) -> Event:
    """The command to send what a person wrote. Its id is made of the caller's: however often it comes, it is one."""
    account = conversation["account"]
    window = Window("message", conversation["last_message_at"])
    return Event(
        id=f"{conversation['_id']}#{message.id}",
        source=f"/accounts/{account}",
        type=orders.SEND,
        subject=conversation["openid"],
        time=now,
        account=account,
        lane="signal",
        cause=conversation["questions"][-1]["cause"],
        data=raw(Send(Text(message.text), Because(agent=agent), window)),
    )


def _check_text(text: str) -> None:
    if not text.strip():
        raise Problem(422, "bad_body", "text: is empty; the follower would see nothing")
    size = len(text.encode())
    if size > MAX_TEXT_BYTES:
        raise Problem(422, "bad_body", f"text: has {size} bytes; WeChat takes {MAX_TEXT_BYTES} at most, send it in two")


def _refuse(stale: Stale) -> NoReturn:
    found: Any = stale.found
    if found is None:
        raise Problem(404, "not_found", _NOT_THERE)
    whose = f", with {found['agent']}" if found.get("agent") and found["state"] == "assigned" else ""
    raise Problem(
        409, "stale", f"the conversation is {found['state']}{whose}, revision {found['revision']}; look at it again"
    )


def _cursor(conversation: Document) -> str:
    milliseconds = int(conversation["since"].timestamp() * 1000)
    return f"{conversation['priority']}.{milliseconds}.{conversation['_id']}"


def _position(cursor: str) -> tuple[int, datetime, str] | None:
    """The place that a cursor stands for. Raises the problem ``bad_parameter``."""
    if not cursor:
        return None
    found = _CURSOR.fullmatch(cursor)
    try:
        if found:
            return int(found[1]), datetime.fromtimestamp(int(found[2]) / 1000, UTC), found[3]
    except (ValueError, OverflowError, OSError):
        pass
    raise Problem(400, "bad_parameter", "cursor: must be the `next` of the page before")
