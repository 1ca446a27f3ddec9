"""``weir users list|add|roles|passwd|disable|enable``."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Sequence

from chassis.audit import Audit
from chassis.mongo import connect
from contracts.roles import EVERY_ACCOUNT, ROLES, Principal
from services.agent.users import UserError, Users
from weir.reach import connections

COMMAND_LINE = Principal(name="command-line", kind="admin", roles={EVERY_ACCOUNT: "admin"})


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="weir users", description="People who sign in to Weir.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="all users").add_argument("--json", action="store_true", help="for machines")
    roles = f"account=role, the role one of {', '.join(ROLES)}; *=role stands for every account"
    add = commands.add_parser("add", help="add a user; the password is asked for, or read from standard input")
    add.add_argument("name")
    add.add_argument("--role", action="append", required=True, metavar="ACCOUNT=ROLE", help=roles)
    change = commands.add_parser("roles", help="give a user other roles")
    change.add_argument("name")
    change.add_argument("--role", action="append", required=True, metavar="ACCOUNT=ROLE", help=roles)
    for name, text in (
        ("passwd", "set a password, which ends the user's sessions"),
        ("disable", "let a user in no more, at once"),
        ("enable", "let a disabled user in again"),
    ):
        commands.add_parser(name, help=text).add_argument("name")
    return parser


async def main(argv: Sequence[str]) -> int:
    given = _parser().parse_args(argv)
    reach = connections()
    client, database = connect(reach["mongodb_url"], reach["mongodb_database"], name="weir users")
    try:
        return await _run(given, Users(database), Audit(database))
    except UserError as error:
        print(f"weir users {given.command}: {error}", file=sys.stderr)
        return 1
    finally:
        client.close()


async def _run(given: argparse.Namespace, users: Users, audit: Audit) -> int:
    detail: dict[str, object] = {}
    found: object = True
    match given.command:
        case "list":
            return _list(await users.all(), as_json=given.json)
        case "add":
            detail["roles"] = roles = _roles(given.role)
            await users.add(given.name, roles, _password())
        case "roles":
            detail["roles"] = roles = _roles(given.role)
            found = await users.change(given.name, roles=roles, disabled=None)
        case "passwd":
            found = await users.get(given.name) and await users.set_password(given.name, _password())
        case _:
            found = await users.change(given.name, roles=None, disabled=given.command == "disable")
    if not found:
        raise UserError(f"name: there is no user {given.name!r}; weir users list shows them")
    await audit.record(COMMAND_LINE, f"users.{given.command}", given.name, EVERY_ACCOUNT, detail)
    print(f"{given.name}: done; in force within 2 s")
    return 0


def _list(users: Sequence[dict[str, object]], *, as_json: bool) -> int:
    rows = [
        {
            "name": one["_id"],
            "roles": one["roles"],
            "disabled": bool(one.get("disabled")),
            "created": str(one["created"]),
        }
        for one in users
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    if not rows:
        print("there is no user yet: weir users add NAME --role '*=admin'")
    for row in rows:
        roles = ", ".join(f"{account}={role}" for account, role in dict(row["roles"]).items())  # type: ignore[call-overload]  # a dict
        print(f"{row['name']:<20} {roles}{'  (disabled)' if row['disabled'] else ''}")
    return 0


def _roles(given: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for one in given:
        account, equals, role = one.partition("=")
        if not equals:
            raise UserError(f"--role: {one!r} must be ACCOUNT=ROLE, such as *=admin")
        found[account] = role
    return found


def _password() -> str:
    if not sys.stdin.isatty():
        return sys.stdin.readline().rstrip("\n")
    password = getpass.getpass("password: ")
    if getpass.getpass("once more: ") != password:
        raise UserError("password: the two differ")
    return password
