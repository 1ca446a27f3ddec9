"""Contents that name a file of the media library."""

import msgspec
import pytest

from chassis.wechat.reply import UnsendableReply, render
from contracts.content import Content, Image, Music, Text, media_names, with_media


def test_a_name_gets_its_id_and_content_without_one_stays() -> None:
    assert media_names(Image(media="map")) == {"map": "image"}
    assert media_names(Music(thumb_media="cover")) == {"cover": "thumb"}
    assert with_media(Image(media="map"), lambda name, kind: f"{kind}:{name}") == Image("image:map")
    assert with_media(Image(media="map"), lambda *_: None) is None
    assert with_media(text := Text("hi"), lambda *_: None) is text


def test_exactly_one_of_id_and_name_is_given() -> None:
    for wrong in ('{"type":"image"}', '{"type":"image","media":"a","media_id":"b"}'):
        with pytest.raises(msgspec.ValidationError, match="exactly one of `media`"):
            msgspec.json.decode(wrong, type=Content)


def test_a_name_without_its_id_cannot_be_a_passive_reply() -> None:
    with pytest.raises(UnsendableReply, match="map"):
        render(Image(media="map"), "o1", "gh_1", 1)
