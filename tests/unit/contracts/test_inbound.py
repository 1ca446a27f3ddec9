"""Typed views of what WeChat says: every kind from the samples, and unknown ones that lose nothing."""

import json
from pathlib import Path

import msgspec
import pytest

from chassis.wechat.parser import parse
from contracts import wechat
from contracts.envelope import raw
from contracts.wechat import event_type, struct_of, subject, view

SAMPLES = sorted(
    path for path in (Path(__file__).parents[2] / "samples" / "wechat").iterdir() if path.suffix in (".xml", ".json")
)
UNKNOWN = {"event.something_new_event", "event.naming_verify_fail", "event.qualification_verify_success"}
UNKNOWN |= {"event.user_get_card"}
LONGEST_ROUTING_KEY = 255  # bytes, AMQP 0-9-1


def fields_of(path: Path) -> dict[str, object]:
    return parse(path.read_bytes())


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_every_sample_has_its_view(path: Path) -> None:
    fields = fields_of(path)
    kind = event_type(fields)
    seen = view(kind, raw(fields))
    if path.stem in UNKNOWN:
        assert isinstance(seen, wechat.Unknown)
        assert seen.fields == json.loads(bytes(raw(fields)))
        return
    expected = struct_of(kind)
    assert expected is not None
    assert type(seen) is expected
    assert isinstance(seen, wechat.Message | wechat.HappenedEvent)
    assert seen.from_user_name == fields["FromUserName"]
    assert seen.create_time == fields["CreateTime"]


def test_the_samples_cover_every_kind() -> None:
    covered = {event_type(fields_of(path)) for path in SAMPLES}
    kinds = {wechat.MESSAGE + kind for kind in wechat.MESSAGES} | {wechat.EVENT + kind for kind in wechat.EVENTS}
    assert kinds <= covered


@pytest.mark.parametrize("stem", sorted({path.stem for path in SAMPLES}))
def test_xml_and_json_show_the_same(stem: str) -> None:
    views = []
    for path in (path for path in SAMPLES if path.stem == stem):
        fields = fields_of(path)
        seen = view(event_type(fields), raw(fields))
        if isinstance(seen, wechat.Unknown):
            return  # nothing typed to compare
        views.append(seen)
    assert len(views) == 2
    typed = [
        {
            name: value
            for name, value in msgspec.structs.asdict(seen).items()
            # Nested structures are kept as they were sent, and the two formats differ there.
            if not isinstance(value, dict | list) and value is not None
        }
        for seen in views
    ]
    shared = typed[0].keys() & typed[1].keys()
    # An empty element and an absent field are the same.
    assert {name: typed[0][name] or None for name in shared} == {name: typed[1][name] or None for name in shared}


@pytest.mark.parametrize("stem", sorted({path.stem for path in SAMPLES}))
def test_no_field_of_a_known_kind_is_misspelt_in_its_view(stem: str) -> None:
    """Every platform field that the sample carries as text or number is one that the struct reads, or knowingly not."""
    fields = fields_of(next(path for path in SAMPLES if path.stem == stem and path.suffix == ".json"))
    struct = struct_of(event_type(fields))
    if struct is None:
        return
    read = {field.encode_name for field in msgspec.structs.fields(struct)}
    unread = {name for name, value in fields.items() if not isinstance(value, dict | list)} - read
    assert unread <= KNOWINGLY_UNREAD.get(stem, set()) | {"MediaId16K"}


KNOWINGLY_UNREAD: dict[str, set[str]] = {
    "event.kf_close_session": {"CloseType"},
}


def test_numbers_come_as_numbers_from_strings() -> None:
    fields = {"ToUserName": "gh_1", "FromUserName": "oA", "CreateTime": "7", "MsgType": "location"}
    seen = view("wechat.message.location", raw(fields | {"Location_X": "23.13", "Location_Y": "113.3", "Scale": "15"}))
    assert isinstance(seen, wechat.LocationMessage)
    assert (seen.location_x, seen.location_y, seen.scale, seen.create_time) == (23.13, 113.3, 15, 7)


def test_numbers_are_read_where_xml_has_text() -> None:
    fields = {"ToUserName": "gh_1", "FromUserName": "oA", "CreateTime": 7, "MsgType": "event", "Event": "CLICK"}
    seen = view("wechat.event.click", raw(fields | {"EventKey": 123, "MenuId": 425900931}))
    assert isinstance(seen, wechat.MenuEvent)
    assert (seen.event_key, seen.menu_id, seen.create_time) == ("123", "425900931", 7)


@pytest.mark.parametrize(
    "changes",
    [{"Location_X": "north"}, {"CreateTime": "soon"}, {"MsgId": "x"}, {"Label": {"nested": "1"}}, {"Location_X": None}],
)
def test_fields_that_do_not_fit_make_it_unknown_and_lose_nothing(changes: dict[str, object]) -> None:
    fields = {"ToUserName": "gh_1", "FromUserName": "oA", "CreateTime": 7, "MsgType": "location", "MsgId": 1}
    fields |= {"Location_X": "1", "Location_Y": "2"} | changes
    seen = view("wechat.message.location", raw(fields))
    assert seen == wechat.Unknown(fields)


def test_a_kind_yet_to_come_is_whole() -> None:
    fields = {"MsgType": "hologram", "Depth": {"Metres": [1, 2, {"x": None}]}, "FromUserName": "oA"}
    assert view("wechat.message.hologram", raw(fields)) == wechat.Unknown(fields)


def test_types_of_callbacks() -> None:
    assert event_type({"MsgType": "text"}) == "wechat.message.text"
    assert event_type({"MsgType": "event", "Event": "MASSSENDJOBFINISH"}) == "wechat.event.masssendjobfinish"


@pytest.mark.parametrize("odd", ["😀" * 64, "a" * 64, "with space", "a#b.*", "键", "x.y"])
def test_a_type_is_always_fit_for_a_routing_key(odd: str) -> None:
    # 64 characters are 256 bytes of UTF-8 at worst, and a routing key of more than 255 cannot be published at all.
    for fields in ({"MsgType": odd}, {"MsgType": "event", "Event": odd}):
        kind = event_type(fields)
        assert kind.startswith((wechat.MESSAGE, wechat.EVENT))
        assert len(f"question.{kind}".encode()) <= LONGEST_ROUTING_KEY
        assert kind.isascii()
        assert " " not in kind


def test_an_odd_kind_is_not_taken_for_a_known_one() -> None:
    assert struct_of(event_type({"MsgType": "文本"})) is None
    assert struct_of(event_type({"MsgType": "event", "Event": "关注"})) is None


def test_the_person_of_an_authorization_event_is_in_openid() -> None:
    fields = {"MsgType": "event", "Event": "user_authorization_revoke", "FromUserName": "gh_1", "OpenID": "oPerson"}
    assert subject(fields) == "oPerson"
    assert subject(fields | {"OpenID": "not an openid!"}) == "gh_1"
    assert subject(fields | {"Event": "CLICK"}) == "gh_1"
