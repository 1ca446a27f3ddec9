"""What came in the terms of the rules, and which rules take it: shared by deciding and by saying why. Pure."""

from __future__ import annotations

from contracts import wechat
from services.autoreply.conditions import Heard, Known, No
from services.autoreply.ruleset import Candidate, RuleSet


def hear(inbound: wechat.Inbound) -> Heard:
    """What came, in the terms of the rules."""
    match inbound:
        case wechat.TextMessage():
            return Heard(False, "text", inbound.content, inbound.biz_msg_menu_id)
        case wechat.VoiceMessage():
            return Heard(False, "voice", inbound.recognition or "")
        case wechat.LocationMessage():
            return Heard(False, "location", position=_position(inbound.location_x, inbound.location_y))
        case wechat.LocationEvent():
            return Heard(True, "location", position=_position(inbound.latitude, inbound.longitude))
        case wechat.SubscribeEvent():
            key = inbound.event_key or ""
            return Heard(True, "subscribe", key=key.removeprefix("qrscene_"), scene=key.startswith("qrscene_"))
        case wechat.HappenedEvent():
            return Heard(True, inbound.event.lower(), key=inbound.event_key or "")
        case wechat.Message():
            return Heard(False, inbound.msg_type)
        case wechat.Unknown():
            fields = inbound.fields
            if fields.get("MsgType") == "event":
                return Heard(True, str(fields.get("Event") or "").lower(), key=str(fields.get("EventKey") or ""))
            kind = str(fields.get("MsgType") or "")
            return Heard(False, kind, str(fields.get("Content") or "") if kind == "text" else "")
        case _:
            return Heard(True, "")


def _position(latitude: float, longitude: float) -> tuple[float, float] | None:
    """The position, or None for one that is not on the earth."""
    return (latitude, longitude) if abs(latitude) <= 90 and abs(longitude) <= 180 else None


def wants_person(rules: RuleSet, heard: Heard) -> bool:
    """Whether the follower asks for a person, which goes before all rules."""
    return not heard.event and bool(heard.text) and rules.wants_person(heard.text)


def look(rules: RuleSet, heard: Heard, known: Known) -> tuple[list[Candidate], dict[int, No]]:
    """The rules that take it, in order, and those that were asked and refused, by number."""
    taken: list[Candidate] = []
    refused: dict[int, No] = {}
    for candidate in rules.candidates(heard):
        no = next((no for check in candidate.compiled.checks if (no := check(heard, known))), None)
        if no:
            refused[candidate.compiled.index] = no
            continue
        taken.append(candidate)
        if not candidate.compiled.rule.goes_on:
            break
    return taken, refused
