"""How callback fields are written."""

import json
import xml.etree.ElementTree as ET

from sandbox.pushformat import to_json, to_xml

FIELDS = {
    "ToUserName": "gh_1",
    "CreateTime": 1750132800,
    "Content": "a < b & ]]> c 😀\x00\x0b\ud800",
    "SendPicsInfo": {"Count": 2, "PicList": {"item": [{"PicMd5Sum": "1"}, {"PicMd5Sum": "2"}]}},
}


def test_xml_survives_every_character_and_nests() -> None:
    root = ET.fromstring(to_xml(FIELDS))
    assert root.findtext("Content") == "a < b & ]]> c 😀"
    assert root.findtext("CreateTime") == "1750132800"
    assert [item.findtext("PicMd5Sum") for item in root.iter("item")] == ["1", "2"]


def test_json_keeps_numbers_and_lists() -> None:
    fields = json.loads(to_json(FIELDS))
    assert fields["CreateTime"] == 1750132800
    assert fields["SendPicsInfo"]["PicList"]["item"] == [{"PicMd5Sum": "1"}, {"PicMd5Sum": "2"}]


def test_a_list_of_one_comes_as_an_object_in_json() -> None:
    assert json.loads(to_json({"List": [{"TemplateId": "t"}]})) == {"List": {"TemplateId": "t"}}
