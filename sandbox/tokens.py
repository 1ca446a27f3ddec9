"""Access tokens: how they are issued, when they die, and what a caller with a dead one is told."""

import re
import secrets

import msgspec

from sandbox.errors import ApiError

LIFETIME = 7200  # seconds, both kinds
HANDOVER = 300  # seconds the previous token still works after a new one was issued
FORCE_INTERVAL = 30  # seconds between two forced refreshes; an earlier one changes nothing
REMEMBER = 86_400  # seconds a dead token is still told apart from an unknown one
_SHAPE = re.compile(r"[A-Za-z0-9_-]{32,512}")


class AccessToken(msgspec.Struct):
    expires_at: float
    dead_at: float | None = None  # when a newer token takes its place, if that is before it expires


class TokenBook(msgspec.Struct):
    """One account's tokens. The classic and the stable kind live side by side and do not touch each other."""

    tokens: dict[str, AccessToken] = {}
    classic: str | None = None
    stable: str | None = None
    last_forced: float = 0.0

    def issue_classic(self, now: float) -> tuple[str, int]:
        """A new token and its lifetime in seconds; the previous one keeps working for about 5 minutes."""
        if self.classic in self.tokens:
            previous = self.tokens[self.classic]
            previous.dead_at = min(previous.dead_at or previous.expires_at, now + HANDOVER)
        self.classic = self._new(now)
        return self.classic, LIFETIME

    def issue_stable(self, now: float, *, force: bool) -> tuple[str, int]:
        """The current stable token and the seconds it has left.

        Normal mode gives the same token to everybody until its last 5 minutes. A forced refresh ends the old one at
        once, unless the last forced refresh was less than 30 s ago.
        """
        current = self.tokens.get(self.stable) if self.stable else None
        if current and force and now - self.last_forced >= FORCE_INTERVAL:
            current.dead_at = now
            current = None
        if current is None or current.expires_at - now <= HANDOVER:
            self.stable = self._new(now)
            current = self.tokens[self.stable]
            self.last_forced = now if force else self.last_forced
        assert self.stable is not None
        return self.stable, int(current.expires_at - now)

    def check(self, value: str, now: float) -> None:
        """Raises ApiError 42001 for an expired token, 40001 for a replaced one."""
        token = self.tokens[value]
        if now >= token.expires_at:
            raise ApiError(42001)
        if token.dead_at is not None and now >= token.dead_at:
            raise ApiError(40001)

    def alive(self, now: float) -> int:
        """How many tokens work now."""
        return sum(
            1 for token in self.tokens.values() if now < min(token.expires_at, token.dead_at or token.expires_at)
        )

    def _new(self, now: float) -> str:
        self.tokens = {v: t for v, t in self.tokens.items() if t.expires_at + REMEMBER > now}
        value = f"{secrets.randbelow(90) + 10}_{secrets.token_urlsafe(96)}"
        self.tokens[value] = AccessToken(expires_at=now + LIFETIME)
        return value


def looks_like_a_token(value: str) -> bool:
    """Whether WeChat would look the value up at all (else it answers 40014)."""
    return _SHAPE.fullmatch(value) is not None
