import pytest
from hypothesis import given
from hypothesis import strategies as st
from wechatpy.replies import TextReply, deserialize_reply

from chassis.wechat.cdata import cdata
from chassis.wechat.parser import parse
from chassis.wechat.reply import NEWS_MAX_ARTICLES, TEXT_MAX_BYTES, UnsendableReply, render
from contracts.content import Article, Image, MenuItem, MiniProgramPage, MsgMenu, Music, News, Text, Video, Voice

TO, SOURCE, CREATED = "oT5kWx0m3QbRz8LhYc2NfVu7EaJg", "gh_4f1c9d20b7e3", 1731571200
NASTY = "]]><MsgType>x</MsgType>]]]]>\x08\ud800{title}"
CLEAN = "]]><MsgType>x</MsgType>]]]]>{title}"


def rendered(content):
    fields = parse(render(content, TO, SOURCE, CREATED).encode())
    assert (fields["ToUserName"], fields["FromUserName"], fields["CreateTime"]) == (TO, SOURCE, CREATED)
    return fields


def test_text():
    fields = rendered(Text("你好 <b> & ]]> 再见"))
    assert fields["MsgType"] == "text"
    assert fields["Content"] == "你好 <b> & ]]> 再见"


def test_the_quick_text_says_what_wechatpy_says():
    quick = deserialize_reply(render(Text("你好"), TO, SOURCE, CREATED))
    slow = deserialize_reply(TextReply(content="你好", target=TO, source=SOURCE, time=CREATED).render())
    assert type(quick) is type(slow) is TextReply
    assert quick._data == slow._data


@pytest.mark.parametrize(
    ("content", "kind", "field", "value"),
    [
        (Image("m1"), "image", "Image", {"MediaId": "m1"}),
        (Voice("m1"), "voice", "Voice", {"MediaId": "m1"}),
        (Video("m1"), "video", "Video", {"MediaId": "m1"}),
        (
            Video("m1", NASTY, "d"),
            "video",
            "Video",
            {"MediaId": "m1", "Title": CLEAN, "Description": "d"},
        ),
        (Music("t1"), "music", "Music", {"ThumbMediaId": "t1"}),
        (
            Music("t1", "a", NASTY, "http://m/1", "http://m/2"),
            "music",
            "Music",
            {
                "ThumbMediaId": "t1",
                "Title": "a",
                "Description": CLEAN,
                "MusicUrl": "http://m/1",
                "HQMusicUrl": "http://m/2",
            },
        ),
        (
            News((Article(NASTY, "http://a/1?x=1&y=2"),)),
            "news",
            "Articles",
            {"item": {"Title": CLEAN, "Description": "", "PicUrl": "", "Url": "http://a/1?x=1&y=2"}},
        ),
    ],
)
def test_other_kinds(content, kind, field, value):
    fields = rendered(content)
    assert fields["MsgType"] == kind
    assert fields[field] == value


def test_news_counts_its_articles():
    fields = rendered(News(tuple(Article(f"t{n}", f"http://a/{n}", "d", "http://p") for n in range(8))))
    assert fields["ArticleCount"] == "8"
    assert [item["Title"] for item in fields["Articles"]["item"]] == [f"t{n}" for n in range(8)]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (Text(""), "empty"),
        (Text("a" * (TEXT_MAX_BYTES + 1)), "2049 bytes"),
        (Text("好" * 683), "2049 bytes"),
        (News(()), "0 articles"),
        (News(tuple(Article("t", "u") for _ in range(NEWS_MAX_ARTICLES + 1))), "9 articles"),
        (MsgMenu((MenuItem("1", "yes"),)), "msgmenu"),
        (MiniProgramPage("t", "wx", "p", "m"), "miniprogrampage"),
    ],
)
def test_what_cannot_be_a_passive_reply_is_refused_with_the_reason(content, says):
    with pytest.raises(UnsendableReply, match=says):
        render(content, TO, SOURCE, CREATED)


def test_the_longest_text_passes():
    assert rendered(Text("a" * TEXT_MAX_BYTES))
    assert rendered(Text("好" * 682))


@given(st.text(min_size=1, max_size=200))
def test_no_text_breaks_the_reply(text):
    read = parse(render(Text(text), TO, SOURCE, CREATED).encode())["Content"]
    kept = "".join(
        c for c in text if c in "\t\n\r" or (c >= " " and not "\ud800" <= c <= "\udfff" and c not in "\ufffe\uffff")
    )
    assert read == kept.replace("\r\n", "\n").replace("\r", "\n")


def test_ordinary_text_is_not_copied():
    text = "你好" * 10
    assert cdata(text) is text
