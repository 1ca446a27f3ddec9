"""The history over HTTP: lists, one message, export, one follower."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from aiohttp import web

from chassis import http, logs
from chassis.api import Call, endpoint
from chassis.http import Problem
from contracts.errors import Unavailable
from services.history import shown
from services.history.documents import Document
from services.history.followers import Followers
from services.history.query import BadParameter, Position, Query, cursor_of, export_query, in_order, list_query
from services.history.reading import Reading, too_slow
from services.history.sweep import Sweep
from services.history.views import ExportQuery, Follower, Message, MessagePage, MessageQuery, MessageWithAnswers

log = logs.get(__name__)

EXPORT_PAGE = 500


class Api:
    def __init__(self, reading: Reading, followers: Followers, sweep: Sweep) -> None:
        self._reading = reading
        self._followers = followers
        self._sweep = sweep

    @endpoint(
        "GET", "/api/messages", "Messages, newest first", allow="messages.read", query=MessageQuery,
        reads_query=False, answers=MessagePage, errors=((422, "too_broad"),),
    )  # fmt: skip
    async def messages(self, call: Call) -> Document:
        """A page of messages."""
        with _telling():
            documents, following = await self._reading.newest(list_query(call.request.query))
        return {
            "messages": [shown.message(document) for document in in_order(documents)],
            "next": cursor_of(following) if following else None,
        }

    @endpoint(
        "GET", "/api/messages/export", "Every message, oldest first", allow="messages.export", query=ExportQuery,
        reads_query=False, answers=Message, produces="application/x-ndjson", errors=((422, "too_broad"),),
    )  # fmt: skip
    async def export(self, call: Call) -> web.StreamResponse:
        """A JSON object a line, as fast as the caller reads and no faster."""
        with _telling():
            return await self._export(call.request)

    async def _export(self, request: web.Request) -> web.StreamResponse:
        query, after = export_query(request.query)
        position = await self._position(after) if after else None
        page = await self._reading.oldest(query, position, EXPORT_PAGE)
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson", "Cache-Control": "no-store"})
        await response.prepare(request)
        try:
            await self._write(response, query, page)
        except Unavailable as error:
            # The only honest end of a half-written answer is a cut: the caller notices, and resumes.
            log.warning("export cut", reason=str(error))
            if request.transport:
                request.transport.abort()
        return response

    @endpoint(
        "GET", "/api/messages/{id:.+}", "One message with its answers", allow="messages.read",
        answers=MessageWithAnswers, errors=((404, "not_found"),),
    )  # fmt: skip
    async def message(self, call: Call) -> Document:
        """One message by its id, percent-encoded."""
        with _telling():
            document = await self._reading.one(call.path["id"])
            if document is None:
                raise Problem(404, "not_found", "there is no message of this id; percent-encode | and # in the address")
            call.require("messages.read", document["account"])
            answers = await self._reading.answers(document["_id"])
        return {"message": shown.message(document), "answers": [shown.message(answer) for answer in answers]}

    @endpoint(
        "GET", "/api/followers/{account}/{openid}", "What is known of one follower", allow="followers.read",
        answers=Follower, errors=((404, "not_found"), (422, "too_broad")),
    )  # fmt: skip
    async def follower(self, call: Call) -> Document:
        """Whether they follow, since when, and what their messages tell."""
        with _telling():
            return await self._follower(call.path["account"], call.path["openid"])

    async def _follower(self, account: str, openid: str) -> Document:
        stored = await self._followers.get(account, openid)
        pseudonym = (await self._sweep.pseudonyms()).of(account, openid)
        gone = await self._followers.get(account, pseudonym)
        activity = await self._reading.follower(account, openid)
        if not stored and not gone and activity["first_seen"] is None and not activity["messages_out"]:
            raise Problem(404, "not_found", "nothing is known of this openid in this account")
        return shown.follower(account, openid, stored, gone is not None, activity)

    async def _position(self, after: str) -> Position:
        document = await self._reading.one(after)
        if document is None:
            raise BadParameter("after: must be the id of a message that is still there; export again from a time")
        return Position(document["at"], document["_id"])

    async def _write(self, response: web.StreamResponse, query: Query, page: list[Document]) -> None:
        while page:
            await response.write(b"".join(http.to_json(shown.message(one)) + b"\n" for one in page))
            if len(page) < EXPORT_PAGE:
                return
            page = await self._reading.oldest(query, Position(page[-1]["at"], page[-1]["_id"]), EXPORT_PAGE)


@contextmanager
def _telling() -> Iterator[None]:
    """Errors become problems that say what to do."""
    try:
        yield
    except BadParameter as error:
        raise Problem(400, "bad_parameter", str(error)) from error
    except Unavailable as error:
        if too_slow(error):
            raise Problem(
                422, "too_broad", "this takes too long to find: narrow it by account, openid, from and to"
            ) from error
        raise
