"""``weir accounts list|add|remove|check``."""

from __future__ import annotations

import argparse
import json
import secrets
import sys
from collections.abc import Sequence
from typing import Any

import msgspec

from chassis.mongo import connect
from services.gateway.accounts import MODES, PLATFORM, Account, AccountError, AccountRepository
from weir.reach import connections


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="weir accounts", description="The Official Accounts that Weir answers for.")
    commands = parser.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="all accounts")
    listing.add_argument("--json", action="store_true", help="for machines")
    listing.add_argument("--secrets", action="store_true", help="with token, AppSecret and EncodingAESKey")
    add = commands.add_parser(
        "add",
        help="add an account, or change it",
        epilog="On the platform's page 服务器配置 enter URL https://<your host>/wechat/<name>, and the token and "
        "EncodingAESKey that this command shows.",
    )
    add.add_argument("name", help="your name for it: part of the URL /wechat/<name>")
    add.add_argument("--appid", required=True, help="AppID (基本配置), wx...")
    add.add_argument("--secret", required=True, help="AppSecret (基本配置); - reads it from standard input")
    add.add_argument("--original-id", required=True, help="原始ID (账号详情), gh_...")
    add.add_argument("--token", default="", help="callback token; kept or made up when left out")
    add.add_argument("--aes-key", default="", help="EncodingAESKey, 43 characters; kept or made up when left out")
    add.add_argument("--previous-aes-key", default="", help="the key before, while a change settles")
    add.add_argument("--mode", choices=MODES, default="safe", help="message encryption (消息加解密方式)")
    add.add_argument("--api-base", default=PLATFORM, help="address of the platform's API")
    add.add_argument("--sends-per-second", type=float, default=100.0, help="bound of custom/send calls")
    remove = commands.add_parser("remove", help="remove an account; its history stays")
    remove.add_argument("name")
    check = commands.add_parser("check", help="call the platform and say in plain words what is wrong")
    check.add_argument("name")
    check.add_argument("--url", default="", help="also check the callback URL, as WeChat does when you save it")
    check.add_argument("--json", action="store_true", help="for machines")
    return parser


async def main(argv: Sequence[str]) -> int:
    given = _parser().parse_args(argv)
    reach = connections()
    client, database = connect(reach["mongodb_url"], reach["mongodb_database"], name="weir accounts")
    repository = AccountRepository(database)
    try:
        match given.command:
            case "list":
                return await _list(repository, as_json=given.json, with_secrets=given.secrets)
            case "add":
                return await _add(repository, given)
            case "remove":
                return await _remove(repository, given.name)
            case _:
                from weir.checkaccount import check

                account = await repository.get(given.name)
                return _unknown(given.name) if account is None else await check(account, given.url, as_json=given.json)
    finally:
        client.close()


async def _list(repository: AccountRepository, *, as_json: bool, with_secrets: bool) -> int:
    accounts = await repository.all()
    rows: list[dict[str, Any]] = [
        msgspec.structs.asdict(account) if with_secrets else account.public() for account in accounts
    ]
    if as_json:
        print(json.dumps(rows, indent=2))
        return 0
    if not rows:
        print("there is no account yet: weir accounts add --help")
        return 0
    for row in rows:
        print(row["name"])
        width = max(map(len, row))
        for field, value in row.items():
            if field != "name" and value != "":
                print(f"  {field.replace('_', ' '):<{width}}  {value}")
    return 0


async def _add(repository: AccountRepository, given: argparse.Namespace) -> int:
    before = await repository.get(given.name)  # a change keeps what is not given: WeChat's page knows the old ones
    token = given.token or (before.token if before else "")
    secret = sys.stdin.readline().strip() if given.secret == "-" else given.secret  # noqa: S105  # a dash
    known_key = given.aes_key or (before.aes_key if before else "")
    aes_key = known_key or ("" if given.mode == "plain" else _letters(43))
    account = Account(
        name=given.name,
        appid=given.appid,
        secret=secret,
        token=token or _letters(32),
        original_id=given.original_id,
        mode=given.mode,
        aes_key=aes_key,
        previous_aes_key=given.previous_aes_key,
        api_base=given.api_base.rstrip("/"),
        sends_per_second=given.sends_per_second,
    )
    try:
        await repository.put(account)
    except AccountError as error:
        print(f"weir accounts add: {error}", file=sys.stderr)
        return 1
    print(f"account {account.name} is in force within 2 s; its callback URL is /wechat/{account.name}")
    if not token:
        print(f"  token           {account.token}")
    if aes_key and not known_key:
        print(f"  EncodingAESKey  {account.aes_key}")
    if account.mode == "plain":
        print(
            "warning: in plain mode whoever sees one callback URL can forge messages; use --mode safe", file=sys.stderr
        )
    return 0


async def _remove(repository: AccountRepository, name: str) -> int:
    if not await repository.remove(name):
        return _unknown(name)
    print(f"account {name} is removed; its callbacks get 404 from now on, its history stays")
    return 0


def _unknown(name: str) -> int:
    print(f"weir accounts: there is no account {name!r}; weir accounts list shows them", file=sys.stderr)
    return 1


def _letters(count: int) -> str:
    """Letters and digits, as the platform's form takes them. An EncodingAESKey of 43 must be valid base64: any is."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
    return "".join(secrets.choice(alphabet) for _ in range(count))
