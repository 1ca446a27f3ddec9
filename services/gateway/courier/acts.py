"""What the follower did last, as the history service remembers it: asked when the allowance known here is used up."""

from __future__ import annotations

from datetime import datetime
from urllib.parse import quote

import aiohttp
import msgspec

from chassis import logs
from contracts.facts import Window

log = logs.get(__name__)

TIMEOUT_SECONDS = 2.0


class _Follower(msgspec.Struct):
    last_message_at: datetime | None = None
    last_interaction_at: datetime | None = None


class Acts:
    """A client of ``GET /api/followers/{account}/{openid}``. Make it inside the running loop, and close it."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url.rstrip("/")
        self._token = token
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS))

    async def close(self) -> None:
        await self._session.close()

    async def windows(self, account: str, openid: str) -> list[Window] | None:
        """The windows that the follower's last acts opened; None when history does not answer."""
        address = f"{self._url}/api/followers/{quote(account, safe='')}/{quote(openid, safe='')}"
        try:
            async with self._session.get(address, headers={"Authorization": f"Bearer {self._token}"}) as response:
                if response.status == 404:
                    return []
                if response.status != 200:
                    log.warning("history does not tell about a follower", status=response.status)
                    return None
                follower = msgspec.json.decode(await response.read(), type=_Follower)
        except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
            log.warning("history does not tell about a follower", error=repr(error))
            return None
        acts = (("message", follower.last_message_at), ("interaction", follower.last_interaction_at))
        return [Window(kind, at) for kind, at in acts if at is not None]
