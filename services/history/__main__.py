"""``python -m services.history``."""

from chassis.lifecycle import run
from services.history.app import NAME, build

run(NAME, build)
