"""Users, programs' tokens and the audit log: what administrators manage."""

from __future__ import annotations

import base64
import binascii
from datetime import datetime
from typing import Annotated, Any

import msgspec

from chassis.api import Call, endpoint
from chassis.audit import Audit
from chassis.http import Problem
from chassis.identity import Identities
from chassis.mongo import DESCENDING, timed
from services.agent.users import Document, UserError, Users

Limit = Annotated[int, msgspec.Meta(ge=1, le=500)]


class NewUser(msgspec.Struct, forbid_unknown_fields=True):
    """``roles`` is a role (viewer, agent, supervisor, operator, admin) by account; * stands for every account."""

    name: str
    password: str
    roles: dict[str, str]


class UserChange(msgspec.Struct, forbid_unknown_fields=True):
    """What is left out stays. A new password ends the user's sessions."""

    roles: dict[str, str] | None = None
    disabled: bool | None = None
    password: str | None = None


class User(msgspec.Struct):
    name: str
    roles: dict[str, str]
    created: datetime
    disabled: bool = False


class UserList(msgspec.Struct):
    users: list[User]


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    """``days`` is how long it is good; without it, until it is revoked."""

    name: str
    permissions: list[str]
    accounts: list[str]
    days: Annotated[int, msgspec.Meta(ge=1, le=3650)] | None = None


class Token(msgspec.Struct):
    name: str
    permissions: list[str]
    accounts: list[str]
    created: datetime
    by: str
    expires: datetime | None = None
    used: datetime | None = None


class TokenList(msgspec.Struct):
    tokens: list[Token]


class TokenSecret(msgspec.Struct):
    """``token`` is shown this once and stored nowhere."""

    name: str
    token: str


class AuditQuery(msgspec.Struct, rename={"start": "from", "end": "to"}):
    account: str = ""
    who: str = ""
    what: str = ""
    start: datetime | None = None
    end: datetime | None = None
    limit: Limit = 50
    cursor: str = ""


class AuditEntry(msgspec.Struct):
    id: str
    at: datetime
    who: str
    kind: str
    what: str
    about: str
    account: str
    detail: dict[str, Any]


class AuditPage(msgspec.Struct):
    entries: list[AuditEntry]
    next: str | None


class UsersApi:
    def __init__(self, users: Users, identities: Identities, audit: Audit) -> None:
        self._users = users
        self._identities = identities
        self._audit = audit

    @endpoint("GET", "/api/users", "Users", allow="users.manage", answers=UserList)
    async def users(self, _call: Call) -> UserList:
        return UserList([_user(one) for one in await self._users.all()])

    @endpoint(
        "POST", "/api/users", "Add a user", allow="users.manage", body=NewUser, answers=User, status=201,
        errors=((422, "bad_user"),),
    )  # fmt: skip
    async def add_user(self, call: Call) -> User:
        given = call.body
        await _told(self._users.add(given.name, given.roles, given.password), "bad_user")
        await call.audit("users.added", given.name, {"roles": given.roles}, "*")
        return await self._one(given.name)

    @endpoint(
        "PATCH", "/api/users/{name}", "Change a user", allow="users.manage", body=UserChange, answers=User,
        errors=((404, "not_found"), (422, "bad_user")),
    )  # fmt: skip
    async def change_user(self, call: Call) -> User:
        name, given = call.path["name"], call.body
        await self._one(name)
        if given.password is not None:
            await _told(self._users.set_password(name, given.password), "bad_user")
        await _told(self._users.change(name, roles=given.roles, disabled=given.disabled), "bad_user")
        self._identities.forget()
        changed = {key: getattr(given, key) for key in ("roles", "disabled") if getattr(given, key) is not None}
        await call.audit("users.changed", name, {**changed, "password": given.password is not None}, "*")
        return await self._one(name)

    @endpoint("GET", "/api/tokens", "Programs' tokens", allow="tokens.manage", answers=TokenList)
    async def tokens(self, _call: Call) -> TokenList:
        return TokenList([msgspec.convert(one, Token) for one in await self._users.tokens()])

    @endpoint(
        "POST", "/api/tokens", "Make a token", allow="tokens.manage", body=NewToken, answers=TokenSecret, status=201,
        errors=((422, "bad_token"),),
    )  # fmt: skip
    async def add_token(self, call: Call) -> TokenSecret:
        """Make a token for a program. Nobody can give more than they have."""
        given = call.body
        for permission in given.permissions:
            for account in given.accounts:
                call.require(permission, account)
        made = self._users.add_token(given.name, given.permissions, given.accounts, given.days, call.who.name)
        secret = await _told(made, "bad_token")
        detail = {"permissions": given.permissions, "accounts": given.accounts, "days": given.days}
        await call.audit("tokens.made", given.name, detail, "*")
        return TokenSecret(given.name, secret)

    @endpoint(
        "DELETE", "/api/tokens/{name}", "Revoke a token", allow="tokens.manage", status=204,
        errors=((404, "not_found"),),
    )  # fmt: skip
    async def revoke_token(self, call: Call) -> None:
        if not await self._users.revoke_token(call.path["name"]):
            raise Problem(404, "not_found", "there is no token of this name")
        self._identities.forget()
        await call.audit("tokens.revoked", call.path["name"], account="*")

    @endpoint("GET", "/api/audit", "Who changed what", allow="audit.read", query=AuditQuery, answers=AuditPage)
    async def audit(self, call: Call) -> AuditPage:
        """The log of changes, newest first."""
        query: AuditQuery = call.query
        wanted: Document = {name: value for name in ("account", "who", "what") if (value := getattr(query, name))}
        spans: list[Document] = [{"at": {"$gte": query.start}}] if query.start else []
        spans += [{"at": {"$lt": query.end}}] if query.end else []
        if query.cursor:
            at, name = _position(query.cursor)
            spans.append({"$or": [{"at": {"$lt": at}}, {"at": at, "_id": {"$lt": name}}]})
        if spans:
            wanted["$and"] = spans
        with timed("find"):
            cursor = self._audit.entries.find(wanted).sort([("at", DESCENDING), ("_id", DESCENDING)])
            found = await cursor.limit(query.limit + 1).max_time_ms(2000).to_list(None)
        page = found[: query.limit]
        entries = [msgspec.convert({"id": one["_id"], **one}, AuditEntry) for one in page]
        return AuditPage(entries, _cursor(page[-1]) if len(found) > query.limit else None)

    async def _one(self, name: str) -> User:
        found = await self._users.get(name)
        if found is None:
            raise Problem(404, "not_found", "there is no user of this name")
        return _user(found)


def _user(found: Document) -> User:
    return User(found["_id"], found["roles"], found["created"], found.get("disabled", False))


async def _told(work: Any, code: str) -> Any:
    try:
        return await work
    except UserError as error:
        raise Problem(422, code, str(error)) from None


def _cursor(entry: Document) -> str:
    packed = msgspec.json.encode((entry["at"].isoformat(), entry["_id"]))
    return base64.urlsafe_b64encode(packed).rstrip(b"=").decode()


def _position(cursor: str) -> tuple[datetime, str]:
    try:
        packed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        at, name = msgspec.json.decode(packed, type=tuple[datetime, str])
    except (binascii.Error, ValueError, msgspec.DecodeError):
        raise Problem(400, "bad_parameter", "cursor: must be the next of an earlier answer, unchanged") from None
    return at, name
