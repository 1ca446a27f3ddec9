"""Which RabbitMQ and which MongoDB this machine can give us: its own programs, else Docker, else a sentence."""

from pathlib import Path

from weir.local import find
from weir.local.container import DockerMongo, DockerRabbit
from weir.local.mongo import MongoServer
from weir.local.rabbit import RabbitServer
from weir.local.supervisor import say


def rabbit(data_dir: Path) -> RabbitServer | DockerRabbit:
    """A RabbitMQ for this directory, installed first where the distribution has packages. Raises ServerMissing."""
    if find.install_rabbitmq(say):
        return RabbitServer(data_dir)
    if docker := find.docker():
        return DockerRabbit(docker, data_dir)
    raise find.ServerMissing(
        "there is no RabbitMQ here: install rabbitmq-server (with Erlang's epmd) or Docker, or set WEIR_AMQP_URL"
    )


def mongo(data_dir: Path) -> MongoServer | DockerMongo:
    """A MongoDB for this directory. Raises ServerMissing."""
    if find.mongod():
        return MongoServer(data_dir)
    if docker := find.docker():
        return DockerMongo(docker, data_dir)
    raise find.ServerMissing("there is no MongoDB here: put mongod on PATH, install Docker, or set WEIR_MONGODB_URL")
