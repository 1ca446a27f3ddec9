import json
import time
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chassis.wechat import parser
from chassis.wechat.parser import BadPayload, Reason, parse, parse_envelope, parse_json, parse_xml
from chassis.wechat.payload import MAX_BYTES, MAX_DEPTH, MAX_NODES

SAMPLES = sorted(Path(__file__).parents[3].joinpath("samples/wechat").glob("*.[xj]*"))
OPENID = "oT5kWx0m3QbRz8LhYc2NfVu7EaJg"
HEAD = f"<ToUserName>gh_1</ToUserName><FromUserName>{OPENID}</FromUserName><CreateTime>1731571200</CreateTime>"
TEXT = HEAD + "<MsgType>text</MsgType>"
FIELDS = {"ToUserName": "gh_1", "FromUserName": OPENID, "CreateTime": 1731571200, "MsgType": "text"}


def xml(inside, head=TEXT):
    return f"<xml>{head}{inside}</xml>".encode()


def as_json(**more):
    return json.dumps({**FIELDS, **more}, ensure_ascii=False).encode()


def refused(body):
    with pytest.raises(BadPayload) as caught:
        parse(body)
    assert str(caught.value)
    assert OPENID not in str(caught.value)
    return caught.value.reason


# What is kept


def test_the_samples_are_there():
    assert len(SAMPLES) >= 80


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.name)
def test_every_sample_is_read_and_names_its_kind(path):
    fields = parse(path.read_bytes())
    kind, name = path.stem.split(".")[:2]
    assert fields["Event" if kind == "event" else "MsgType"] == name
    assert type(fields["CreateTime"]) is int


@pytest.mark.parametrize("path", [path for path in SAMPLES if path.suffix == ".xml"], ids=lambda path: path.name)
def test_no_field_of_a_sample_is_lost(path):
    body = path.read_bytes()

    def leaves(name, value):
        if isinstance(value, dict):
            return [leaf for inner in value for leaf in leaves(inner, value[inner])]
        if isinstance(value, list):
            return [leaf for inner in value for leaf in leaves(name, inner)]
        return [(name, str(value))]

    elements = [(element.tag, element.text or "") for element in ET.fromstring(body).iter() if len(element) == 0]
    assert sorted(leaves("xml", parse(body))) == sorted(elements)


def test_xml_values_stay_text_and_the_time_becomes_a_number():
    fields = parse(xml("<MsgId>24810236114539101</MsgId><Content><![CDATA[a < b & c ]] d]]></Content>"))
    assert fields == {**FIELDS, "MsgId": "24810236114539101", "Content": "a < b & c ]] d"}


def test_json_numbers_stay_numbers_and_strings_strings():
    fields = parse(as_json(MsgId=24810236114539101, Latitude=31.23, Idx="1", CreateTime="1731571200"))
    assert fields["MsgId"] == 24810236114539101
    assert fields["Latitude"] == 31.23
    assert fields["Idx"] == "1"
    assert fields["CreateTime"] == 1731571200


def test_nested_elements_become_dictionaries_and_repeated_ones_lists():
    fields = parse(xml("<A><B>1</B><B>2</B><B>3</B><C><D/></C></A><Empty></Empty>"))
    assert fields["A"] == {"B": ["1", "2", "3"], "C": {"D": ""}}
    assert fields["Empty"] == ""


def test_an_unknown_event_is_kept_whole():
    body = xml("<MsgType>event</MsgType><Event>debug_demo</Event><debug_str>hello world</debug_str>", HEAD)
    assert parse(body)["debug_str"] == "hello world"


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbf" + xml(""),
        b" \r\n" + xml(""),
        b'<?xml version="1.0" encoding="utf-8"?>' + xml(""),
        b"<?xml version='1.0' encoding='UTF-8'?>\n" + xml(""),
        xml("<!-- a remark -->"),
        b"\xef\xbb\xbf" + as_json(),
    ],
)
def test_harmless_wrapping_is_accepted(body):
    assert parse(body) == FIELDS


def test_control_characters_in_json_text_are_kept():
    assert parse(as_json(Content="a").replace(b'"a"', b'"a\x08\tb"'))["Content"] == "a\x08\tb"


def test_the_plaintext_formats_can_be_asked_for_by_name():
    assert parse_xml(xml("")) == parse_json(as_json()) == FIELDS
    with pytest.raises(BadPayload):
        parse_xml(as_json())
    with pytest.raises(BadPayload):
        parse_json(xml(""))


# What is refused


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", Reason.EMPTY),
        (b" \n", Reason.EMPTY),
        (b"hello", Reason.FORMAT),
        (b"[1]", Reason.FORMAT),
        (b"\x00", Reason.FORMAT),
        (xml("<Content>" + "a" * MAX_BYTES + "</Content>"), Reason.TOO_LARGE),
        (b"<!DOCTYPE xml>" + xml(""), Reason.DOCTYPE),
        (b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]>' + xml("<Content>&b;</Content>"), Reason.DOCTYPE),
        (b'<!DOCTYPE x SYSTEM "file:///etc/passwd">' + xml(""), Reason.DOCTYPE),
        (b"<?php echo 1 ?>" + xml(""), Reason.INSTRUCTION),
        (xml("<?pi?>"), Reason.INSTRUCTION),
        (xml("<Content>&amp;&unknown;</Content>"), Reason.MALFORMED),
        (xml("")[:-1], Reason.MALFORMED),
        (xml("<Content>a"), Reason.MALFORMED),
        (xml("") + b"<xml/>", Reason.MALFORMED),
        (xml("<Content>\x00</Content>"), Reason.MALFORMED),
        (xml("<Content>\x0b</Content>"), Reason.MALFORMED),
        (xml("<Content>\ufffe</Content>"), Reason.MALFORMED),
        (xml("<Content>a]]>b</Content>"), Reason.MALFORMED),
        (xml("<Content><![CDATA[a]]>]]></Content>"), Reason.MALFORMED),
        (xml("<Content>").replace(b"<Content>", b"<Content>\xff</Content>"), Reason.MALFORMED),
        (b"<?xml version='1.0' encoding='gbk'?>" + xml(""), Reason.ENCODING),
        (b"<?xml version='1.0' encoding='utf-16'?>" + xml(""), Reason.ENCODING),
        (b"<?xml version='1.0' encoding='nonsense'?>" + xml(""), Reason.ENCODING),
        (xml("").decode().encode("utf-16"), Reason.FORMAT),
        (b"<html></html>", Reason.ROOT),
        (b"<XML></XML>", Reason.ROOT),
        (b'<xml a="1">' + TEXT.encode() + b"</xml>", Reason.ATTRIBUTE),
        (xml('<Content a="1">b</Content>'), Reason.ATTRIBUTE),
        (xml('<A><B xmlns="urn:x">b</B></A>'), Reason.ATTRIBUTE),
        (xml("loose text"), Reason.MIXED_TEXT),
        (xml("<A>text<B>1</B></A>"), Reason.MIXED_TEXT),
        (xml("<Content>a</Content><Content>b</Content>"), Reason.REPEATED),
        (xml("<A>1</A><A>1</A>"), Reason.REPEATED),
        (xml("<Content><$ne/></Content>"), Reason.MALFORMED),
        (xml("<Content><ne>1</ne></Content>"), Reason.NESTED),
        (xml("", TEXT.replace(OPENID, "<ne>1</ne>")), Reason.NESTED),
        (xml("<A>" * MAX_DEPTH + "<B/>" + "</A>" * MAX_DEPTH), Reason.TOO_DEEP),
        (xml("<A>" + "<B/>" * MAX_NODES + "</A>"), Reason.TOO_MANY),
        (xml("".join(f"<A{n}/>" for n in range(MAX_NODES))), Reason.TOO_MANY),
        (xml("<a.b>1</a.b>"), Reason.NAME),
        (xml(f"<{'a' * 65}>1</{'a' * 65}>"), Reason.NAME),
    ],
)
def test_bad_structure_in_xml(body, reason):
    assert refused(body) is reason


def test_depth_and_count_at_the_limit_pass():
    assert parse(xml("<A>" * (MAX_DEPTH - 1) + "<B/>" + "</A>" * (MAX_DEPTH - 1)))
    assert parse(xml("<A>" + "<B/>" * (MAX_NODES - 5) + "</A>"))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"{", Reason.MALFORMED),
        (as_json() + b"{}", Reason.MALFORMED),
        (b"{'a': 1}", Reason.MALFORMED),
        (as_json().replace(b'"text"', b'"\xff"'), Reason.ENCODING),
        (as_json(A=float("nan")), Reason.VALUE),
        (as_json(A=float("inf")), Reason.VALUE),
        (as_json(A=1).replace(b'"A": 1', b'"A": 1e999'), Reason.VALUE),
        (as_json(A=2**63), Reason.VALUE),
        (as_json(A=1).replace(b'"A": 1', b'"A": ' + b"9" * 5000), Reason.MALFORMED),
        (as_json(Content="a").replace(b'"a"', b'"\x00"'), Reason.VALUE),
        (as_json(Content="a").replace(b'"a"', b'"\\u0000"'), Reason.VALUE),
        (as_json(Content="a").replace(b'"a"', b'"\\ud800"'), Reason.VALUE),
        (as_json(A={"B": "a"}).replace(b'"a"', b'"\\udfff"'), Reason.VALUE),
        (as_json(Content="a").replace(b'"a"', b'"a", "Content": "b"'), Reason.REPEATED),
        (as_json(A={"B": 1}).replace(b'"B": 1', b'"B": 1, "B": 1'), Reason.REPEATED),
        (as_json(FromUserName={"$ne": None}), Reason.NAME),
        (as_json(FromUserName={"ne": 1}), Reason.NESTED),
        (as_json(Content=["a"]), Reason.NESTED),
        (as_json(Content=None), Reason.NESTED),
        (as_json(EventKey=True), Reason.NESTED),
        (as_json(A={"$where": "1"}), Reason.NAME),
        (as_json(**{"a.b": 1}), Reason.NAME),
        (as_json(**{"": 1}), Reason.NAME),
        (b'{"a":' * 9000 + b"1" + b"}" * 9000, Reason.TOO_DEEP),
        (b'{"a":' + b"[" * 60000, Reason.TOO_DEEP),
        (as_json(A=[[[[[[[[1]]]]]]]]), Reason.TOO_DEEP),
        (as_json(A=list(range(MAX_NODES))), Reason.TOO_MANY),
    ],
)
def test_bad_structure_in_json(body, reason):
    assert refused(body) is reason


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"FromUserName": ""}, Reason.USER),
        ({"FromUserName": "o" * 65}, Reason.USER),
        ({"FromUserName": "o bad"}, Reason.USER),
        ({"FromUserName": "openid\n"}, Reason.USER),
        ({"FromUserName": "оpenid"}, Reason.USER),  # a Cyrillic letter that looks Latin
        ({"FromUserName": 5}, Reason.USER),
        ({"ToUserName": "gh_*"}, Reason.USER),
        ({"OpenID": "a b"}, Reason.USER),
        ({"CreateTime": 0}, Reason.TIME),
        ({"CreateTime": -1}, Reason.TIME),
        ({"CreateTime": 2**53}, Reason.TIME),
        ({"CreateTime": 1.5}, Reason.TIME),
        ({"CreateTime": "12a"}, Reason.TIME),
        ({"CreateTime": "１２"}, Reason.TIME),
        ({"CreateTime": ""}, Reason.TIME),
        ({"MsgType": ""}, Reason.KIND),
        ({"MsgType": 1}, Reason.KIND),
        ({"MsgType": "a\nb"}, Reason.KIND),
        ({"MsgType": "event"}, Reason.KIND),
        ({"MsgType": "event", "Event": ""}, Reason.KIND),
        ({"MsgType": "event", "Event": "e" * 65}, Reason.KIND),
        ({"MsgType": "event", "Event": "\x07"}, Reason.KIND),
        ({"MsgId": ""}, Reason.MSG_ID),
        ({"MsgId": "abc"}, Reason.MSG_ID),
        ({"MsgId": "9223372036854775808"}, Reason.MSG_ID),
        ({"MsgId": 1.0}, Reason.MSG_ID),
    ],
)
def test_bad_values_of_the_common_fields(change, reason):
    assert refused(as_json(**change)) is reason


@pytest.mark.parametrize("missing", ["FromUserName", "ToUserName", "CreateTime", "MsgType"])
def test_a_missing_common_field_is_refused(missing):
    fields = {name: value for name, value in FIELDS.items() if name != missing}
    assert refused(json.dumps(fields).encode()) in {Reason.USER, Reason.TIME, Reason.KIND}


# The outer body of safe mode


def test_an_envelope_needs_its_ciphertext_and_nothing_else():
    assert parse_envelope(b"<xml><ToUserName>gh_1</ToUserName><Encrypt>abc=</Encrypt></xml>")["Encrypt"] == "abc="
    assert parse_envelope(b'{"ToUserName":"gh_1","Encrypt":"abc="}')["Encrypt"] == "abc="
    for body in (b"<xml></xml>", b"<xml><Encrypt></Encrypt></xml>", b'{"Encrypt":1}', b'{"ToUserName":"gh_1"}'):
        with pytest.raises(BadPayload) as caught:
            parse_envelope(body)
        assert caught.value.reason is Reason.ENCRYPT


# Nothing but BadPayload, and quickly


def outcome(read, body):
    try:
        return read(body)
    except BadPayload as refusal:
        return refusal.reason


def assert_quick(body):
    # Three tries: the test process itself pauses now and then to collect its garbage.
    for _ in range(3):
        begun = time.process_time()
        outcome(parse, body)
        if time.process_time() - begun < 0.05:
            return
    pytest.fail("reading this body takes more than 50 ms")


def check_guard(body):
    for read in (parse, parse_envelope):
        result = outcome(read, body)
        assert isinstance(result, dict | Reason)
        if isinstance(result, dict):
            json.dumps(result, ensure_ascii=False, allow_nan=False).encode()
    assert_quick(body)


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_arbitrary_bytes(body):
    check_guard(body)
    check_guard(b"<xml>" + body + b"</xml>")
    check_guard(b"{" + body + b"}")


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=400)
@given(st.sampled_from(SAMPLES), st.data())
def test_mutated_samples(path, data):
    body = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(body)))
        cut = data.draw(st.integers(0, 12))
        body[at : at + cut] = data.draw(
            st.one_of(
                st.binary(max_size=6),
                st.sampled_from(
                    [b"<", b">", b"</", b"]]>", b"<![CDATA[", b"&#0;", b'"', b"{", b"[", b"\\u0000", b"\xff"]
                ),
            )
        )
    check_guard(bytes(body))


@pytest.mark.parametrize(
    "body",
    [
        b"<xml>" + b"<a>" * 16000,
        b"<xml>" + b"<a><![CDATA[" * 5400,
        (b"<xml>" + b"<a><![CDATA[" * 5400)[:4096],
        (b"<xml>" + b"<a><![CDATA[]" * 5400)[:4096],
        (b"<xml>" + b"<a>" + b"]" * 5000)[:4096],
        b"<xml><a><![CDATA[" + b"]" * 65000,
        b"<xml>" + b"<!--" * 16000,
        b"<xml>" + b"&amp;" * 13000,
        b"<xml " + b"a='' " * 13000 + b"/>",
        b"<" * 65536,
        b"[" * 65536,
        b'{"a":' * 13000,
        b'{"a":"' + b"\\" * 65000,
        b'{"' + b'":{"' * 13000,
        b'{"a":' + b"9" * 65000 + b"}",
        b'{"a":1e' + b"9" * 65000 + b"}",
    ],
    ids=range(16),
)
def test_hostile_shapes_cost_little(body):
    assert isinstance(outcome(parse, body), Reason)
    assert_quick(body)


# The quick reading of flat XML agrees with the guarded one

_pieces = st.one_of(
    st.sampled_from(
        [
            *(
                "<xml>",
                "</xml>",
                "<a>",
                "</a>",
                "<b>",
                "</b>",
                "<Content>",
                "</Content>",
                "<a/>",
                "<a >",
                "<![CDATA[",
                "]]>",
            ),
            *(
                "]",
                "]]",
                ">",
                "&amp;",
                "&",
                "\n",
                "\r\n",
                " ",
                "\t",
                "\u3000",
                "\x0b",
                "\ufffe",
                "\uffff",
                "ｶ",
                "<!-- x -->",
            ),
            *("<a>1</a>", "<a><![CDATA[x]]></a>", "<c></c>", "<d>\n</d>", "<xml>1</xml>", "<a-b>1</a-b>", "é", "𝄞"),
        ]
    ),
    st.text(max_size=3),
)


def compare(body):
    quick = parser._flat(body)
    if quick is not None:
        assert outcome(parser._guarded_xml, body) == quick
    return quick


@settings(deadline=None, max_examples=500)
@given(st.lists(_pieces, max_size=12))
def test_quick_and_guarded_reading_agree(pieces):
    compare(f"<xml>{''.join(pieces)}</xml>".encode("utf-8", "surrogatepass"))
    compare("".join(pieces).encode("utf-8", "surrogatepass"))


@given(st.dictionaries(st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True), st.text(max_size=20), max_size=6))
def test_quick_reading_takes_the_usual_shape(fields):
    body = "".join(f"<{k}><![CDATA[{v}]]></{k}>\n" for k, v in fields.items() if "]]>" not in v)
    compare(f"<xml>{body}</xml>".encode("utf-8", "surrogatepass"))


def test_quick_reading_is_used_for_flat_samples():
    flat = [path for path in SAMPLES if path.suffix == ".xml" and compare(path.read_bytes()) is not None]
    assert len(flat) >= 30
