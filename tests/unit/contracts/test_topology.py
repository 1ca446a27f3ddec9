"""The bus as data: every queue has its ladder and its dead letters, and RabbitMQ takes all of it."""

import aio_pika
import pytest

from chassis.amqp import declare
from contracts import topology
from contracts.errors import HandlerError, Later, PublishFailed, Reject, Retry, Unavailable, Unroutable
from contracts.topology import QUEUES, RUNGS, Queue
from tests.conftest import manage
from weir.local.rabbit import RabbitServer


@pytest.mark.parametrize("queue", QUEUES, ids=lambda queue: queue.name)
def test_every_queue_is_durable_against_what_we_know(queue: Queue) -> None:
    arguments = topology.queue_arguments(queue)
    assert arguments["x-queue-type"] == "quorum"
    # kill -9 with a large prefetch counts against innocent messages: the broker's limit stays far above ours.
    assert arguments["x-delivery-limit"] >= 20
    assert arguments["x-dead-letter-strategy"] == "at-least-once"
    assert arguments["x-overflow"] == "reject-publish"
    assert arguments["x-dead-letter-routing-key"] == f"{queue.name}.dead"


def test_the_ladder_is_as_promised() -> None:
    assert [(name, seconds / 1000) for name, seconds in RUNGS] == [("5s", 5), ("1m", 60), ("10m", 600)]
    assert len(RUNGS) + 1 == topology.MAX_ATTEMPTS
    assert topology.HISTORY.retry("1m") == "history.retry.1m"
    assert topology.HISTORY.dead == topology.dead("history") == "history.dead"


def test_names_are_unique_and_keys_are_of_known_lanes() -> None:
    assert len(topology.BY_NAME) == len(QUEUES)
    for queue in QUEUES:
        if queue.exchange == topology.EVENTS:
            assert all(key == "#" or key.split(".")[0] in topology.LANES for key in queue.keys)


async def test_everything_declared_is_there_for_real(amqp_url: str, rabbit: RabbitServer) -> None:
    vhost = amqp_url.rpartition("/")[2]
    for _ in range(2):  # the second declaration must find nothing to object to
        connection = await aio_pika.connect(amqp_url)
        async with connection:
            await declare(await connection.channel())
    found = {queue["name"]: queue for queue in manage(rabbit, "GET", f"/api/queues/{vhost}")}
    expected = {name for queue in QUEUES for name in (queue.name, queue.dead, *(queue.retry(r) for r, _ in RUNGS))}
    assert found.keys() == expected
    assert all(queue["type"] == "quorum" and queue["durable"] for queue in found.values())
    bindings = manage(rabbit, "GET", f"/api/bindings/{vhost}")
    bound = {(b["source"], b["routing_key"], b["destination"]) for b in bindings if b["source"]}
    assert bound == {(q.exchange, key, q.name) for q in QUEUES for key in q.keys} | {
        (topology.DEAD, q.dead, q.dead) for q in QUEUES
    }


def test_dead_letters_may_be_looked_at_any_number_of_times() -> None:
    # RabbitMQ 4 gives a quorum queue a delivery limit of 20 by itself, and a parking queue has nowhere to send
    # what goes over it: each look at the dead letters returns them unacked.
    assert topology.dead_arguments()["x-delivery-limit"] >= 1_000_000


def test_each_error_has_one_fate() -> None:
    for error in (Retry("busy"), Later("early", 3), Reject("odd"), Unavailable("mongodb", "is away")):
        assert isinstance(error, HandlerError)
        assert error.reason
    assert str(Unavailable("mongodb", "is away")) == "is away"
    assert str(Reject("odd")) == "odd"
    assert issubclass(Unroutable, PublishFailed)
    assert not issubclass(PublishFailed, HandlerError)
