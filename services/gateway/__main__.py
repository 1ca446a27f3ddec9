"""``python -m services.gateway``"""

from chassis.lifecycle import run
from services.gateway.app import build

run("gateway", build)
