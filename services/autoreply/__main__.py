"""``python -m services.autoreply``"""

from chassis.lifecycle import run
from services.autoreply.app import build

run("autoreply", build)
