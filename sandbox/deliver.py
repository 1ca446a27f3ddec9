"""A follower acts: the platform notes it, opens the windows it opens, and pushes the callback."""

from collections.abc import Mapping
from typing import Any

from sandbox.accounts import Account
from sandbox.callbacks import Outcome, Pusher
from sandbox.errors import ControlError
from sandbox.events import SERVER_EVENTS
from sandbox.followers import Follower
from sandbox.inbound import Inbound, build
from sandbox.world import World


class Post:
    """Takes what followers do and sees it through."""

    def __init__(self, world: World, pusher: Pusher) -> None:
        self._world = world
        self._pusher = pusher

    def accept(self, follower: Follower, spec: Mapping[str, Any]) -> tuple[Account, Inbound]:
        """Note the act and its effects: windows open at its CreateTime, before any push, however slow that is.

        Raises ControlError for an act that is malformed or that this follower cannot do.
        """
        account = self._world.account(follower.account)
        inbound = build(self._world, account, follower, spec)
        self._refuse_impossible(follower, inbound)
        self._world.dirty = True
        if inbound.label == "subscribe" and inbound.is_event:
            self._world.follow(follower)
            follower.scene = str(inbound.details["key"]).removeprefix("qrscene_") or follower.scene
        elif inbound.label == "unsubscribe" and inbound.is_event:
            follower.following = False
            follower.allowance.close()
            follower.typing_until = 0.0
        if inbound.effect == "message":
            follower.allowance.open_by_message(inbound.create_time)
        elif inbound.effect == "act":
            follower.allowance.open_by_act(inbound.create_time)
        if inbound.effect != "none":
            follower.last_contact = self._world.clock.now()
        return account, inbound

    async def deliver(self, follower: Follower, spec: Mapping[str, Any]) -> tuple[Inbound, Outcome, int | None]:
        """Accept the act, write it into the follower's timeline and push it to its end. Raises as `accept` does.

        The third value is the act's place in the timeline (None for the platform's own events).
        """
        account, inbound = self.accept(follower, spec)
        entry = None
        if inbound.label not in SERVER_EVENTS:
            kind = "event" if inbound.is_event else inbound.label
            entry = self._world.show(
                follower,
                {"via": "self", "type": kind, "content": inbound.content, **inbound.details, "msgid": inbound.msgid},
            )
        outcome = await self._pusher.push(account, follower, inbound)
        if entry is not None:
            self._world.dirty = True
            entry |= {"answer": outcome.answer, "tries": outcome.tries, "took_ms": outcome.took_ms}
        return inbound, outcome, entry["seq"] if entry is not None else None

    async def flood(self, follower: Follower, text: str) -> Outcome:
        """As `deliver` for a text, but without a timeline entry: a crowd's own words are not worth the memory."""
        account, inbound = self.accept(follower, {"type": "text", "content": text})
        return await self._pusher.push(account, follower, inbound)

    def _refuse_impossible(self, follower: Follower, inbound: Inbound) -> None:
        if follower.following or inbound.raw is not None:
            return
        if inbound.is_event and (inbound.label == "subscribe" or inbound.label in SERVER_EVENTS):
            return
        raise ControlError("this person does not follow the account: send a subscribe event first", 409)
