"""The Official Account of the measurement, and what its callbacks look like.

Every system gets the same callbacks: plain mode, text messages of 20,000 followers, a number (MsgId) that
never comes twice. The load generator builds them (`callback.lua`); the parts that are the same for a whole
load, the signature among them, are made here.
"""

import hashlib
import os
import time
from dataclasses import dataclass
from urllib.parse import urlencode

NAME = "bench"
APPID = "wxbe7c400000000001"
SECRET = "0123456789abcdef0123456789abcdef"
TOKEN = "benchtoken"
ORIGINAL_ID = "gh_be7c40000001"

#: How many different people write.
FOLLOWERS = 20_000

#: What they write. Several texts, so that a follower's next message differs from the last one, as a
#: question does; a repeat would be taken for a contest entry. All have the same number of bytes.
TEXTS = ("你好", "在吗", "您好", "早安", "晚安", "帮助", "客服", "地址")

#: What every system must answer. An answer without these words is not counted as one.
REPLY = "你好！我们在这里。"

#: A load's callbacks are numbered from 1 behind its own prefix; this many fit.
CALLBACKS_PER_LOAD = 10**8


def signature(token: str, timestamp: str, nonce: str) -> str:
    """The `signature` parameter of a callback (platform rule: SHA-1 of the three, sorted and joined)."""
    return hashlib.sha1("".join(sorted((token, timestamp, nonce))).encode()).hexdigest()


def signed_query(now: float) -> str:
    """The query string of a callback without its openid, signed at `now` (seconds since the epoch).

    One signature serves a whole load: it does not cover the body. It is good for 300 s.
    """
    timestamp, nonce = str(int(now)), str(int.from_bytes(os.urandom(4), "big"))
    return urlencode({"signature": signature(TOKEN, timestamp, nonce), "timestamp": timestamp, "nonce": nonce})


@dataclass(frozen=True)
class Numbers:
    """The MsgIds of one load: `first` + 1, `first` + 2, and so on."""

    first: int

    def __contains__(self, msg_id: int) -> bool:
        return self.first < msg_id < self.first + CALLBACKS_PER_LOAD


def fresh_numbers(now: float | None = None) -> Numbers:
    """Numbers that no other load of this second or of any other has; loads last longer than a second."""
    return Numbers(int(time.time() if now is None else now) * CALLBACKS_PER_LOAD)
