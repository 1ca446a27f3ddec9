"""The history over HTTP: lists, one message, export, one follower."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from chassis import http, logs
from chassis.http import Problem
from contracts.errors import Unavailable
from services.history import shown
from services.history.documents import Document
from services.history.followers import Followers
from services.history.query import BadParameter, Position, Query, cursor_of, export_query, in_order, list_query
from services.history.reading import Reading, too_slow
from services.history.sweep import Sweep

log = logs.get(__name__)

EXPORT_PAGE = 500

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    def __init__(self, reading: Reading, followers: Followers, sweep: Sweep) -> None:
        self._reading = reading
        self._followers = followers
        self._sweep = sweep

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/api/messages", _answering(self.messages)),
            web.get("/api/messages/export", _answering(self.export)),
            web.get("/api/messages/{id:.+}", _answering(self.message)),
            web.get("/api/followers/{account}/{openid}", _answering(self.follower)),
        ]

    async def messages(self, request: web.Request) -> web.StreamResponse:
        """A page of messages, newest first."""
        documents, following = await self._reading.newest(list_query(request.query))
        return http.json(
            {
                "messages": [shown.message(document) for document in in_order(documents)],
                "next": cursor_of(following) if following else None,
            }
        )

    async def message(self, request: web.Request) -> web.StreamResponse:
        """One message with its answers."""
        document = await self._reading.one(request.match_info["id"])
        if document is None:
            raise Problem(404, "not_found", "there is no message of this id; percent-encode | and # in the address")
        answers = await self._reading.answers(document["_id"])
        return http.json({"message": shown.message(document), "answers": [shown.message(answer) for answer in answers]})

    async def export(self, request: web.Request) -> web.StreamResponse:
        """Every message, oldest first, a JSON object a line, as fast as the caller reads and no faster."""
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

    async def follower(self, request: web.Request) -> web.StreamResponse:
        """What is known of one follower."""
        account, openid = request.match_info["account"], request.match_info["openid"]
        stored = await self._followers.get(account, openid)
        pseudonym = (await self._sweep.pseudonyms()).of(account, openid)
        gone = await self._followers.get(account, pseudonym)
        activity = await self._reading.follower(account, openid)
        if not stored and not gone and activity["first_seen"] is None and not activity["messages_out"]:
            raise Problem(404, "not_found", "nothing is known of this openid in this account")
        return http.json(shown.follower(account, openid, stored, gone is not None, activity))

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


def _answering(handler: Handler) -> Handler:
    """A handler whose errors are problems that say what to do."""

    async def answer(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except BadParameter as error:
            raise Problem(400, "bad_parameter", str(error)) from error
        except Unavailable as error:
            if too_slow(error):
                raise Problem(
                    422, "too_broad", "this takes too long to find: narrow it by account, openid, from and to"
                ) from error
            raise Problem(503, "store_unavailable", "the store does not answer right now; try again soon") from error

    return answer
