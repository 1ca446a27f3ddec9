"""``python -m services.agent``"""

from chassis.lifecycle import run
from services.agent.app import build

run("agent", build)
