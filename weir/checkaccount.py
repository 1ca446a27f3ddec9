"""``weir accounts check``: ask the platform, and say what is wrong and what to do."""

from __future__ import annotations

import json
import time

import msgspec

from chassis.wechat.check import Finding, Webhook, check_account
from chassis.wechat.http import HttpClient
from chassis.wechat.tokens import StoredToken, TokenSource
from services.gateway.accounts import Account


class _OwnToken:
    """A token for this one run. In normal mode the platform gives every caller the same one, so nobody is disturbed."""

    def __init__(self) -> None:
        self._token: StoredToken | None = None

    async def get(self, appid: str) -> StoredToken | None:
        return self._token

    async def lease(self, appid: str, holder: str, seconds: float) -> bool:
        return True

    async def put(self, appid: str, token: str, expires_at: float, version_seen: int) -> StoredToken:
        self._token = StoredToken(token, version_seen + 1, expires_at)
        return self._token


async def check(account: Account, url: str, *, as_json: bool) -> int:
    """Print what was found; 1 when something is wrong. ``url`` is the callback URL to check as well, if any."""
    http = HttpClient()
    try:
        tokens = TokenSource(_OwnToken(), http, account.api_base, account.appid, account.secret, time.time)
        webhook = Webhook(url, account.token) if url else None
        findings = await check_account(http, account.api_base, account.appid, tokens, time.time, webhook=webhook)
    finally:
        await http.close()
    findings.append(_mode(account))
    if as_json:
        print(json.dumps([msgspec.structs.asdict(finding) for finding in findings], indent=2, ensure_ascii=False))
    else:
        for finding in findings:
            print(f"{'ok   ' if finding.ok else 'WRONG'}  {finding.sentence}")
            if finding.fix:
                print(f"       {finding.fix}")
    return 0 if all(finding.ok for finding in findings) else 1


def _mode(account: Account) -> Finding:
    if account.mode == "plain":
        return Finding(
            "mode",
            ok=False,
            sentence="Messages come in plain mode: whoever sees one URL can forge them.",
            fix="Choose 安全模式 on the page 服务器配置, then weir accounts add ... --mode safe --aes-key ...",
        )
    return Finding("mode", ok=True, sentence=f"Messages are encrypted ({account.mode} mode).")
