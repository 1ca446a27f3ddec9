"""The first run: an account `demo` with secrets of its own, its rules, and the administrator's token."""

import base64
import json
import secrets
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from msgspec import structs

from chassis.mongo import connect
from contracts.errors import Unavailable
from services.agent.users import Users
from services.gateway.accounts import Account, AccountRepository
from weir.local.keep import private_dir, write_private
from weir.local.web import call

DEMO = "demo"
_FILES = Path(__file__).with_name("first-run")
_MENU = [
    {"type": "click", "name": "营业时间", "key": "HOURS"},
    {"type": "click", "name": "怎么走", "key": "ADDRESS"},
    {"type": "view", "name": "关于 Weir", "url": "http://localhost:8000/"},
]


def admin_token(home: Path) -> tuple[str, bool]:
    """The token kept in this data directory, and whether it was made just now (and so must be shown)."""
    path = home / "admin-token"
    if path.exists():
        return path.read_text().strip(), False
    token = secrets.token_urlsafe(32)
    write_private(path, token + "\n")
    return token, True


def demo_account(home: Path) -> dict[str, str]:
    """The demo account's settings, as WeChat's console would show them; made on the first run and kept."""
    path = home / "demo-account.json"
    if not path.exists():
        account = {
            "appid": "wx" + secrets.token_hex(8),
            "secret": secrets.token_hex(16),
            "original_id": "gh_" + secrets.token_hex(6),
            "token": secrets.token_hex(16),
            "aes_key": _encoding_aes_key(),
            "mode": "safe",
        }
        write_private(path, json.dumps(account, indent=2) + "\n")
    kept: dict[str, str] = json.loads(path.read_text())
    return kept


def copy_files(rules_dir: Path, triage_file: Path) -> None:
    """Put the demo's rules and triage file where they are missing; what is there already belongs to the user."""
    private_dir(rules_dir)
    for source, target in ((f"{DEMO}.rules.yaml", rules_dir / f"{DEMO}.yaml"), ("triage.yaml", triage_file)):
        if not target.exists():
            shutil.copyfile(_FILES / source, target)


async def register_demo(settings: Mapping[str, str], account: Mapping[str, str], sandbox_url: str) -> None:
    """Put the demo account where the gateway finds it, with the sandbox as its platform. Safe to repeat."""
    client, database = connect(settings["WEIR_MONGODB_URL"], settings["WEIR_MONGODB_DATABASE"], name="weir up")
    try:
        repository = AccountRepository(database)
        known = await repository.get(DEMO)
        fresh = Account(name=DEMO, api_base=sandbox_url, **account)  # type: ignore[arg-type]  # all its fields are texts
        # What the user has tuned stays; the sandbox may have moved to another port.
        await repository.put(structs.replace(known, api_base=sandbox_url) if known else fresh)
    except Unavailable as error:
        raise RuntimeError(f"MongoDB did not take the demo account: {error}") from error
    finally:
        client.close()


async def setup_link(settings: Mapping[str, str]) -> str:
    """The secret of the one-time link for the first administrator; empty when there are users."""
    client, database = connect(settings["WEIR_MONGODB_URL"], settings["WEIR_MONGODB_DATABASE"], name="weir up")
    try:
        users = Users(database)
        return "" if await users.any() else await users.setup_link()
    except Unavailable as error:
        raise RuntimeError(f"MongoDB did not take the link for the first administrator: {error}") from error
    finally:
        client.close()


async def tell_sandbox(sandbox_url: str, callback_url: str, account: Mapping[str, str]) -> None:
    """Make the demo account known to the sandbox, which then calls `callback_url`. Safe to repeat."""
    body: dict[str, Any] = {**account, "format": "xml", "url": callback_url}
    body |= {"kind": "service", "verified": True, "menu": _MENU}
    status, text = await call("PUT", f"{sandbox_url}/sandbox/accounts/{DEMO}", body)
    if status >= 300:
        raise RuntimeError(f"the sandbox did not take the demo account: {status} {text[:200]}")


def _encoding_aes_key() -> str:
    """An EncodingAESKey: 32 random bytes in base64 without the final `=`, letters and digits only."""
    while True:
        key = base64.b64encode(secrets.token_bytes(32)).decode().rstrip("=")
        if key.isalnum():
            return key
