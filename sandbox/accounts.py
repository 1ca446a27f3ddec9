"""An Official Account as the platform knows it: its settings, its tokens, what it has used, how its callbacks fare."""

import ipaddress
import re
import secrets
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from sandbox.crypto import CryptoError, aes_key_bytes
from sandbox.errors import ControlError
from sandbox.quotas import DEFAULTS, Quota, Usage
from sandbox.tokens import TokenBook

MEDIA_LIFETIME = 3 * 86_400  # seconds a temporary media id stays valid
MEDIA_LIMIT = 20_000  # media ids kept for one account; the oldest leave
MARK_FAIL_AFTER = 10  # failed callbacks in a row; the platform does not publish its figure
MARK_FAIL_PAUSE = 60  # seconds without pushes
TOP_BUTTONS, SUB_BUTTONS = 3, 5

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_APPID = re.compile(r"[A-Za-z0-9_-]{4,64}")
_TOKEN = re.compile(r"[A-Za-z0-9]{3,32}")  # the console accepts nothing else
_AES_KEY = re.compile(r"[A-Za-z0-9]{43}")

Mode = Literal["plain", "compatible", "safe"]


class AccountConfig(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, frozen=True):
    """What an account's owner sets in the platform's console."""

    appid: str
    secret: str
    original_id: str
    token: str
    url: str
    aes_key: str | None = None
    mode: Mode = "plain"
    format: Literal["xml", "json"] = "xml"
    kind: Literal["service", "subscription"] = "service"
    verified: bool = True
    menu: list[dict[str, Any]] = []
    quotas: dict[str, Quota] = {}
    ip_allow_list: list[str] | None = None

    @property
    def may_send(self) -> bool:
        """Unverified subscription accounts have no customer-service API and no user API."""
        return self.verified or self.kind == "service"


class Media(msgspec.Struct):
    type: str
    expires_at: float | None = None  # None: permanent


class Counters(msgspec.Struct):
    """What happened since the account was made; for people and tests, not for decisions."""

    callbacks: int = 0
    tries: int = 0
    duplicates: int = 0
    passive: int = 0
    success: int = 0
    failed: int = 0
    failures: dict[str, int] = {}  # reason -> how many tries or answers
    api_calls: dict[str, int] = {}
    api_errors: dict[str, int] = {}
    token_fetches: int = 0

    def failure(self, reason: str) -> None:
        self.failures[reason] = self.failures.get(reason, 0) + 1


class MarkFail(msgspec.Struct):
    """The platform's punishment for a server that keeps failing: pushes pause for a minute."""

    in_a_row: int = 0
    paused_until: float = 0.0

    def note(self, *, failed: bool, enabled: bool, now: float) -> bool:
        """Count a callback's end; says whether a pause begins now."""
        self.in_a_row = self.in_a_row + 1 if failed else 0
        if not enabled or self.in_a_row < MARK_FAIL_AFTER:
            return False
        self.in_a_row, self.paused_until = 0, now + MARK_FAIL_PAUSE
        return True


class Account(msgspec.Struct):
    name: str
    config: AccountConfig
    tokens: TokenBook = msgspec.field(default_factory=TokenBook)
    usage: Usage = msgspec.field(default_factory=Usage)
    counters: Counters = msgspec.field(default_factory=Counters)
    mark_fail: MarkFail = msgspec.field(default_factory=MarkFail)
    media: dict[str, Media] = {}

    def new_media(self, media_type: str, now: float, media_id: str | None = None, *, permanent: bool = False) -> str:
        """Register a media id (a fresh one unless given) that sends may then name."""
        media_id = media_id or secrets.token_urlsafe(48)
        if len(self.media) >= MEDIA_LIMIT:
            alive = {key: m for key, m in self.media.items() if m.expires_at is None or now < m.expires_at}
            self.media = dict(list(alive.items())[-MEDIA_LIMIT // 2 :])
        self.media[media_id] = Media(media_type, None if permanent else now + MEDIA_LIFETIME)
        return media_id

    def has_media(self, media_id: object, now: float) -> bool:
        media = self.media.get(media_id) if isinstance(media_id, str) else None
        return media is not None and (media.expires_at is None or now < media.expires_at)

    def allows_ip(self, address: str | None) -> bool:
        """Whether tokens may be fetched from this address (no list: from anywhere)."""
        if self.config.ip_allow_list is None:
            return True
        try:
            ip = ipaddress.ip_address(address or "")
        except ValueError:
            return False
        return any(ip in ipaddress.ip_network(entry, strict=False) for entry in self.config.ip_allow_list)


def merge_config(name: str, old: AccountConfig | None, change: object) -> AccountConfig:
    """The settings after a change; fields that the change leaves out stay as they are.

    Raises ControlError naming the field that is wrong and what it should be.
    """
    if not _NAME.fullmatch(name):
        raise ControlError(f"account name {name!r}: use 1 to 64 letters, digits, '.', '_' or '-'")
    if not isinstance(change, Mapping):
        raise ControlError("an account is a JSON object of its settings")
    base: dict[str, Any] = msgspec.to_builtins(old) if old else {}
    try:
        config = msgspec.convert({**base, **change}, AccountConfig)
    except msgspec.ValidationError as error:
        raise ControlError(f"account {name}: {error}") from error
    _check(config)
    return config


def _check(config: AccountConfig) -> None:
    if not _APPID.fullmatch(config.appid):
        raise ControlError("appid: use 4 to 64 letters, digits, '_' or '-' (WeChat's look like wx0123456789abcdef)")
    if not config.secret:
        raise ControlError("secret: must not be empty")
    if not config.original_id.startswith("gh_"):
        raise ControlError("original_id: must start with gh_")
    if not _TOKEN.fullmatch(config.token):
        raise ControlError("token: WeChat allows 3 to 32 letters and digits, nothing else")
    if config.mode != "plain" and not config.aes_key:
        raise ControlError(f"aes_key: needed in {config.mode} mode (43 letters and digits)")
    if config.aes_key:
        _check_aes_key(config.aes_key)
    if not config.url.startswith(("http://", "https://")):
        raise ControlError("url: must start with http:// or https://")
    unknown = sorted(set(config.quotas) - set(DEFAULTS))
    if unknown:
        raise ControlError(f"quotas: unknown API {unknown[0]!r}; known are {', '.join(DEFAULTS)}")
    for entry in config.ip_allow_list or ():
        try:
            ipaddress.ip_network(entry, strict=False)
        except ValueError as error:
            raise ControlError(f"ip_allow_list: {entry!r} is no IP address or network") from error
    _check_menu(config.menu)


def _check_aes_key(aes_key: str) -> None:
    if not _AES_KEY.fullmatch(aes_key):
        raise ControlError("aes_key: must be 43 letters and digits")
    try:
        aes_key_bytes(aes_key)
    except CryptoError as error:
        raise ControlError(f"aes_key: {error}") from error


def _check_menu(menu: list[dict[str, Any]]) -> None:
    if len(menu) > TOP_BUTTONS:
        raise ControlError(f"menu: at most {TOP_BUTTONS} buttons")
    for button in menu:
        inner = button.get("sub_button")
        if not isinstance(inner, list):
            _check_button(button)
            continue
        if not button.get("name") or not 1 <= len(inner) <= SUB_BUTTONS:
            raise ControlError(f"menu: a button with sub_button needs a name and 1 to {SUB_BUTTONS} buttons inside")
        for item in inner:
            _check_button(item)


def _check_button(button: object) -> None:
    if not isinstance(button, dict) or not button.get("name"):
        raise ControlError("menu: every button needs a name")
    wanted = {"view": "url", "miniprogram": "url"}.get(str(button.get("type")), "key")
    if not button.get("type") or not button.get(wanted):
        raise ControlError(f"menu: button {button['name']!r} needs a type and a {wanted}")
