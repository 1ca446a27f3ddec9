"""The bus as data: exchanges, queues, what each takes, and the names of its ladder and its dead letters.

Every process declares what it uses from this table, idempotently; nothing else declares anything. A queue stands here
only when a service consumes it: a bound queue that nobody reads would fill up and push back on every publisher.
"""

from __future__ import annotations

from dataclasses import dataclass

EVENTS = "weir.events"
"""Topic exchange of facts; routing key ``<lane>.<type>``."""
COMMANDS = "weir.commands"
"""Direct exchange of orders; routing key is the command's name."""
DEAD = "weir.dead"
"""Direct exchange to the parking queues; routing key is the parking queue's name."""

RUNGS: tuple[tuple[str, int], ...] = (("5s", 5_000), ("1m", 60_000), ("10m", 600_000))
"""The retry ladder: (name, milliseconds). After the last rung an event is dead."""

MAX_ATTEMPTS = 4
"""Tries of one event, the first included, before it is a dead letter."""

DELIVERY_LIMIT = 50
"""The broker's own limit, far above ours: with a large prefetch, kill -9 counts against innocent messages too."""

NO_LIMIT = 1_000_000_000
"""As good as none. The broker's own word for none, -1, is refused by 3.10."""

MAX_QUEUE_BYTES = 1024 * 1024 * 1024
"""Bound of a work queue on disk. Past it the broker refuses, and the gateway's journal takes over."""

LANES = ("desk", "question", "entry", "signal")


@dataclass(frozen=True)
class Queue:
    """A work queue, what it takes, and the lanes in which order it is read."""

    name: str
    exchange: str
    keys: tuple[str, ...]

    @property
    def dead(self) -> str:
        return dead(self.name)

    def retry(self, rung: str) -> str:
        return f"{self.name}.retry.{rung}"


AUTOREPLY_QUESTION = Queue("autoreply.question", EVENTS, ("question.#",))
AUTOREPLY_ENTRY = Queue("autoreply.entry", EVENTS, ("entry.#",))
AGENT_DESK = Queue("agent.desk", EVENTS, ("desk.#",))
AGENT_HANDOVER = Queue("agent.handover", COMMANDS, ("handover",))
AGENT_FORGET = Queue("agent.forget", COMMANDS, ("forget",))
AUTOREPLY_FORGET = Queue("autoreply.forget", COMMANDS, ("forget",))
HISTORY = Queue("history", EVENTS, ("#",))
COURIER_URGENT = Queue("courier.urgent", COMMANDS, ("send.urgent",))
COURIER_REPLY = Queue("courier.reply", COMMANDS, ("send.reply",))
COURIER_BULK = Queue("courier.bulk", COMMANDS, ("send.bulk",))

QUEUES: tuple[Queue, ...] = (
    AUTOREPLY_QUESTION,
    AUTOREPLY_ENTRY,
    AGENT_DESK,
    AGENT_HANDOVER,
    AGENT_FORGET,
    AUTOREPLY_FORGET,
    HISTORY,
    COURIER_URGENT,
    COURIER_REPLY,
    COURIER_BULK,
)
BY_NAME = {queue.name: queue for queue in QUEUES}


def dead(queue: str) -> str:
    """The parking queue of a work queue."""
    return f"{queue}.dead"


def event_key(lane: str, event_type: str) -> str:
    """The routing key of a fact."""
    return f"{lane}.{event_type}"


def queue_arguments(queue: Queue) -> dict[str, object]:
    """Arguments of a work queue: quorum, bounded, dead letters at least once; the same on 3.10 and 4.x."""
    return {
        "x-queue-type": "quorum",
        "x-delivery-limit": DELIVERY_LIMIT,
        "x-dead-letter-exchange": DEAD,
        "x-dead-letter-routing-key": queue.dead,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
        "x-max-length-bytes": MAX_QUEUE_BYTES,
    }


def retry_arguments(queue: Queue, milliseconds: int) -> dict[str, object]:
    """Arguments of one rung: everything in it waits equally long, then goes back to its own queue only."""
    return {
        "x-queue-type": "quorum",
        "x-message-ttl": milliseconds,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": queue.name,
        "x-dead-letter-strategy": "at-least-once",
        "x-overflow": "reject-publish",
    }


def dead_arguments() -> dict[str, object]:
    """Arguments of a parking queue: kept until somebody looks, however often somebody does.

    Looking takes the messages and gives them back, and from RabbitMQ 4.0 on a quorum queue without a limit of its own
    drops what came back 20 times.
    """
    return {"x-queue-type": "quorum", "x-delivery-limit": NO_LIMIT}
