"""Signing in and out, the first administrator, and who one is."""

from __future__ import annotations

from typing import Any

import msgspec
from aiohttp import web

from chassis import http
from chassis.api import Call, endpoint
from chassis.http import Problem
from chassis.identity import COOKIE, CSRF, LONGEST, SESSION, Identities
from contracts.roles import GRANTS
from services.agent.users import Session, TooManyTries, UserError, Users


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    password: str


class SetUp(msgspec.Struct, forbid_unknown_fields=True):
    """``token`` is the one in the link."""

    token: str
    name: str
    password: str


class PasswordChange(msgspec.Struct, forbid_unknown_fields=True):
    current: str
    password: str


class Me(msgspec.Struct):
    """``csrf`` goes with every change, in the header X-CSRF-Token; empty where no cookie was used."""

    name: str
    kind: str
    roles: dict[str, str]
    permissions: list[str]
    csrf: str = ""


class Ended(msgspec.Struct):
    ended: int


class SignInApi:
    def __init__(self, users: Users, identities: Identities) -> None:
        self._users = users
        self._identities = identities

    @endpoint(
        "POST", "/api/session", "Sign in", allow=None, body=SignIn, answers=Me,
        errors=((401, "wrong_password"), (403, "csrf"), (429, "too_many_tries")),
    )  # fmt: skip
    async def sign_in(self, call: Call) -> web.Response:
        """Set the session's cookie. An unknown name and a wrong password are told, and take, the same."""
        _from_our_page(call.request)
        try:
            session = await self._users.sign_in(call.body.name, call.body.password, call.request.remote or "")
        except TooManyTries as error:
            raise Problem(429, "too_many_tries", f"too many wrong passwords: wait {error.seconds:.0f} s") from None
        if session is None:
            raise Problem(401, "wrong_password", "there is no such name with this password")
        return await self._welcome(call, call.body.name.lower(), session)

    @endpoint("GET", "/api/session", "Who one is", allow="", answers=Me)
    async def me(self, call: Call) -> Me:
        who = call.who
        granted = {name for role in who.roles.values() for name in GRANTS.get(role, ())} | who.permissions
        return Me(who.name, who.kind, dict(who.roles), sorted(granted), call.request.get(CSRF, ""))

    @endpoint("DELETE", "/api/session", "Sign out", allow="", status=204)
    async def sign_out(self, call: Call) -> web.Response:
        if session := call.request.get(SESSION):
            await self._users.sign_out(session)
            self._identities.forget()
        response = web.Response(status=204)
        response.del_cookie(COOKIE, path="/")
        return response

    @endpoint("DELETE", "/api/sessions", "Sign out everywhere", allow="", answers=Ended)
    async def sign_out_everywhere(self, call: Call) -> Ended:
        if call.who.kind != "user":
            return Ended(0)
        ended = await self._users.sign_out_everywhere(call.who.name)
        self._identities.forget()
        await call.audit("sessions.ended", call.who.name)
        return Ended(ended)

    @endpoint(
        "PUT", "/api/session/password", "Change one's own password", allow="", body=PasswordChange, status=204,
        errors=((403, "wrong_password"), (422, "bad_user")),
    )  # fmt: skip
    async def change_password(self, call: Call) -> None:
        """End all other sessions, and this one too: sign in again."""
        if call.who.kind != "user" or not await self._users.knows_password(call.who.name, call.body.current):
            raise Problem(403, "wrong_password", "current: is not your password")
        try:
            await self._users.set_password(call.who.name, call.body.password)
        except UserError as error:
            raise Problem(422, "bad_user", str(error)) from None
        self._identities.forget()
        await call.audit("users.password_changed", call.who.name)

    @endpoint(
        "POST", "/api/setup", "Make the first administrator", allow=None, body=SetUp, answers=Me,
        errors=((403, "link_over"), (422, "bad_user")),
    )  # fmt: skip
    async def set_up(self, call: Call) -> web.Response:
        """Use the one-time link that `weir up` shows while there is no user, and sign in."""
        _from_our_page(call.request)
        given = call.body
        try:
            made = await self._users.set_up(given.token, given.name, given.password)
        except UserError as error:
            raise Problem(422, "bad_user", str(error)) from None
        if not made:
            raise Problem(403, "link_over", "the link is used or over: start `weir up` again, or run `weir users add`")
        call.who = msgspec.structs.replace(call.who, name=given.name, kind="user")
        await call.audit("users.set_up", given.name, account="*")
        session = await self._users.sign_in(given.name, given.password, call.request.remote or "")
        if session is None:
            raise Problem(403, "link_over", "the user was changed meanwhile; sign in")
        return await self._welcome(call, given.name, session)

    async def _welcome(self, call: Call, name: str, session: Session) -> web.Response:
        user: dict[str, Any] = await self._users.get(name) or {"roles": {}}
        granted = {permission for role in user["roles"].values() for permission in GRANTS.get(role, ())}
        response = http.json(Me(name, "user", user["roles"], sorted(granted), session.csrf))
        response.headers["Cache-Control"] = "no-store"
        response.set_cookie(
            COOKIE,
            session.secret,
            path="/",
            httponly=True,
            samesite="Lax",
            secure=call.request.headers.get("X-Forwarded-Proto", call.request.scheme) == "https",
            max_age=int(LONGEST.total_seconds()),
        )
        return response


def _from_our_page(request: web.Request) -> None:
    """Signing somebody in from a foreign page would make them work under a stranger's name."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
        raise Problem(403, "csrf", "this came from a page of another site")
