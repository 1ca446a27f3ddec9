"""A crowd: many followers who write at once, and what they got back."""

import asyncio
import random
import time
from array import array
from typing import Annotated, Any, Literal

import msgspec

from sandbox.deliver import Post
from sandbox.errors import ControlError
from sandbox.followers import Follower
from sandbox.world import World

SCENE = "crowd"  # marks the followers of a crowd, who come again with the next one


class CrowdPlan(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """How many followers send how many texts in all, and how many callbacks are under way at a time at most."""

    account: str
    followers: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 100
    messages: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1000
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=2000)] = 64
    texts: tuple[str, ...] | dict[str, Annotated[float, msgspec.Meta(gt=0)]] = ("你好",)
    seed: int | None = None


class Run:
    """One crowd, from its first message to its last answer."""

    def __init__(self, plan: CrowdPlan) -> None:
        self.plan = plan
        self.state: Literal["running", "done", "stopped"] = "running"
        self.sent = 0
        self.answers = {"passive": 0, "success": 0, "failed": 0}
        self.reasons: dict[str, int] = {}
        self.started = time.perf_counter()
        self.took = 0.0
        self.millis = array("d")

    def view(self) -> dict[str, Any]:
        ordered = sorted(self.millis)
        took = self.took or time.perf_counter() - self.started
        return {
            "state": self.state,
            "account": self.plan.account,
            "followers": self.plan.followers,
            "messages": self.plan.messages,
            "sent": self.sent,
            "answers": self.answers,
            "reasons": self.reasons,
            "took_s": round(took, 3),
            "p50_ms": _percentile(ordered, 0.50),
            "p99_ms": _percentile(ordered, 0.99),
        }


class Crowds:
    """At most one crowd at a time."""

    def __init__(self, world: World, post: Post) -> None:
        self._world = world
        self._post = post
        self._run: Run | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self, raw: object) -> None:
        """Set a crowd going. Raises ControlError when the plan is wrong or another crowd still runs."""
        if self._task is not None and not self._task.done():
            raise ControlError("a crowd is still under way; DELETE /sandbox/crowd stops it", 409)
        try:
            plan = msgspec.convert(raw, CrowdPlan)
        except msgspec.ValidationError as error:
            raise ControlError(f"crowd: {error}") from error
        if not plan.texts or not all(plan.texts):
            raise ControlError("crowd: texts: at least one text, none of them empty")
        self._world.account(plan.account)
        self._run = Run(plan)
        self._task = asyncio.create_task(self._drive(self._run))

    async def stop(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def view(self) -> dict[str, Any]:
        return self._run.view() if self._run else {"state": "none"}

    async def _drive(self, run: Run) -> None:
        plan = run.plan
        people = self._people(plan)
        numbers = iter(range(plan.messages))
        dice = random.Random(plan.seed)
        texts, weights = list(plan.texts), list(plan.texts.values()) if isinstance(plan.texts, dict) else None

        async def write() -> None:
            for number in numbers:
                (text,) = dice.choices(texts, weights)
                await self._one(run, people[number % len(people)], text)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(plan.concurrency, plan.messages)):
                    group.create_task(write())
            run.state = "done"
        finally:
            run.took = time.perf_counter() - run.started
            if run.state == "running":
                run.state = "stopped"

    async def _one(self, run: Run, follower: Follower, text: str) -> None:
        run.sent += 1
        outcome = await self._post.flood(follower, text)
        run.answers[outcome.answer] += 1
        run.millis.append(outcome.took_ms)
        if outcome.reason:
            run.reasons[outcome.reason] = run.reasons.get(outcome.reason, 0) + 1

    def _people(self, plan: CrowdPlan) -> list[Follower]:
        account = self._world.account(plan.account)
        known = [f for f in self._world.followers_of(plan.account) if f.scene == SCENE and f.following]
        missing = max(0, plan.followers - len(known))
        made = [self._world.new_follower(account, scene=SCENE) for _ in range(missing)]
        return [*known, *made][: plan.followers]


def _percentile(ordered: list[float], share: float) -> float | None:
    if not ordered:
        return None
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]
