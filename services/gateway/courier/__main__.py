"""``python -m services.gateway.courier``"""

from chassis.lifecycle import run
from services.gateway.courier.app import build

run("courier", build)
