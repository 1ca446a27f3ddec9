"""The nearest of a list of stores. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from math import asin, cos, radians, sin, sqrt
from typing import Any

from services.autoreply.format import Store

SHOWN = 3
EARTH_KM = 6371.0088


def kilometres(one: tuple[float, float], other: tuple[float, float]) -> float:
    """The distance between two positions (latitude, longitude in degrees) along the ground."""
    first, second = radians(one[0]), radians(other[0])
    across = radians(other[1] - one[1])
    half = sin((second - first) / 2) ** 2 + cos(first) * cos(second) * sin(across / 2) ** 2
    return 2 * EARTH_KM * asin(min(1.0, sqrt(half)))


def nearest(stores: Sequence[Store], position: tuple[float, float]) -> list[dict[str, Any]]:
    """The nearest three, the nearest first, as templates see them; ``distance`` is words, ``km`` the number."""
    by_distance = sorted((kilometres(position, (s.latitude, s.longitude)), s.name, s) for s in stores)
    return [
        {
            "name": store.name,
            "phone": store.phone,
            "address": store.address,
            "km": round(distance, 3),
            "distance": f"{distance * 1000:.0f} m" if distance < 1 else f"{distance:.1f} km",
        }
        for distance, _, store in by_distance[:SHOWN]
    ]
