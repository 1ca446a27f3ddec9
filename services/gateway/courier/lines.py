"""One line to WeChat for each account: its API and its access token."""

from __future__ import annotations

from dataclasses import dataclass

from chassis.wechat.api import WeChatApi
from chassis.wechat.http import HttpClient
from chassis.wechat.tokens import TokenSource, TokenStore
from services.gateway.accounts import Account
from services.gateway.courier.clock import Clock


@dataclass(frozen=True)
class Line:
    account: Account
    tokens: TokenSource
    api: WeChatApi


class Lines:
    """Lines are made when first used, and anew when the account's address or secret changes."""

    def __init__(self, http: HttpClient, store: TokenStore, clock: Clock) -> None:
        self._http = http
        self._store = store
        self._clock = clock
        self._lines: dict[str, Line] = {}

    def to(self, account: Account) -> Line:
        line = self._lines.get(account.name)
        if line is None or _address(line.account) != _address(account):
            tokens = TokenSource(
                self._store, self._http, account.api_base, account.appid, account.secret, self._seconds
            )
            api = WeChatApi(self._http, account.api_base, account.appid, tokens)
            line = self._lines[account.name] = Line(account, tokens, api)
        return line

    def _seconds(self) -> float:
        return self._clock().timestamp()


def _address(account: Account) -> tuple[str, str, str]:
    return account.api_base, account.appid, account.secret
