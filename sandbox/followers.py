"""A follower: one person's relation to one account, and what their phone has shown."""

from typing import Any

import msgspec

from sandbox.allowance import Allowance

TIMELINE_LIMIT = 10_000  # entries kept for one follower; older ones leave

Entry = dict[str, Any]


class Follower(msgspec.Struct):
    """One openid. The timeline holds both sides; what the account sent is the inbox, `via: "self"` is the follower."""

    openid: str
    account: str
    nickname: str
    following: bool = False
    subscribe_time: int = 0
    scene: str = ""
    allowance: Allowance = msgspec.field(default_factory=Allowance)
    last_contact: float = 0.0  # when either side last wrote, seconds since 1970
    typing_until: float = 0.0
    timeline: list[Entry] = []
    seq: int = 0

    def add(self, entry: Entry) -> Entry:
        """Append to the timeline under the next sequence number, and give it back."""
        self.seq += 1
        entry = {"seq": self.seq, **entry}
        self.timeline.append(entry)
        if len(self.timeline) > TIMELINE_LIMIT:
            del self.timeline[: len(self.timeline) - TIMELINE_LIMIT]
        return entry

    def after(self, seq: int, *, own: bool) -> list[Entry]:
        """Entries after a sequence number, oldest first; with `own` also what the follower wrote."""
        first = self.timeline[0]["seq"] if self.timeline else 0
        newer = self.timeline[max(0, seq - first + 1) :]
        return newer if own else [entry for entry in newer if entry["via"] != "self"]
