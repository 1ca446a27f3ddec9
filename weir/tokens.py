"""``weir tokens create|list|revoke``: tokens with which programs use the API."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence

from chassis.audit import Audit
from chassis.mongo import connect
from contracts.roles import EVERY_ACCOUNT, PERMISSIONS
from services.agent.users import UserError, Users
from weir.reach import connections
from weir.users import COMMAND_LINE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="weir tokens", description="Tokens with which programs use /api/.")
    commands = parser.add_subparsers(dest="command", required=True)
    create = commands.add_parser(
        "create", help="make a token; it is shown once", epilog="permissions: " + ", ".join(PERMISSIONS)
    )
    create.add_argument("name", help="what it is for, such as crm")
    create.add_argument(
        "--allow", action="append", required=True, metavar="PERMISSION", help="may be given several times"
    )
    create.add_argument(
        "--account", action="append", metavar="ACCOUNT", help="only for this account (default: every one)"
    )
    create.add_argument("--days", type=int, help="how long it is good (default: until it is revoked)")
    commands.add_parser("list", help="all tokens").add_argument("--json", action="store_true", help="for machines")
    commands.add_parser("revoke", help="end a token, within 2 s").add_argument("name")
    return parser


async def main(argv: Sequence[str]) -> int:
    given = _parser().parse_args(argv)
    reach = connections()
    client, database = connect(reach["mongodb_url"], reach["mongodb_database"], name="weir tokens")
    users, audit = Users(database), Audit(database)
    try:
        match given.command:
            case "create":
                accounts = given.account or [EVERY_ACCOUNT]
                secret = await users.add_token(given.name, given.allow, accounts, given.days, COMMAND_LINE.name)
                detail = {"permissions": given.allow, "accounts": accounts, "days": given.days}
                await audit.record(COMMAND_LINE, "tokens.made", given.name, EVERY_ACCOUNT, detail)
                print(secret)
            case "revoke":
                await _revoke(users, audit, given.name)
            case _:
                _list(await users.tokens(), as_json=given.json)
    except UserError as error:
        print(f"weir tokens {given.command}: {error}", file=sys.stderr)
        return 1
    finally:
        client.close()
    return 0


async def _revoke(users: Users, audit: Audit, name: str) -> None:
    if not await users.revoke_token(name):
        raise UserError(f"name: there is no token {name!r}; weir tokens list shows them")
    await audit.record(COMMAND_LINE, "tokens.revoked", name, EVERY_ACCOUNT, {})
    print(f"token {name} is revoked; in force within 2 s")


def _list(tokens: Sequence[dict[str, object]], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(tokens, indent=2, default=str))
        return
    if not tokens:
        print("there is no token yet: weir tokens create --help")
    for one in tokens:
        until = f"until {one['expires']:%Y-%m-%d}" if one.get("expires") else "until revoked"
        used = f"last used {one['used']:%Y-%m-%d %H:%M}" if one.get("used") else "never used"
        allowed = ", ".join(map(str, one["permissions"]))  # type: ignore[call-overload]  # a list
        print(f"{one['name']:<20} {allowed}; {until}; {used}")
