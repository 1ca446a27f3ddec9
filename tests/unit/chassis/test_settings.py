"""Settings: whatever is wrong is an error that names the variable and says what to do."""

import pytest

from chassis.settings import Settings, load
from contracts.errors import SettingsError

TOKEN = "an-admin-token-of-30-characters"


def test_without_any_variable_the_defaults_hold() -> None:
    assert load({}) == Settings()
    assert load({"PATH": "/bin", "HOME": "/tmp", "WEIR_HOME": ".weir", "WEIR_PORT": "8000"}) == Settings()


def test_every_kind_of_setting_is_read() -> None:
    settings = load(
        {
            "WEIR_AMQP_URL": "amqps://u:p@rabbit:5671/vhost",
            "WEIR_MONGODB_URL": "mongodb://u:p@one:27017,two:27018/?replicaSet=rs",
            "WEIR_HTTP_PORT": "0",
            "WEIR_REPLY_DEADLINE": "2.5",
            "WEIR_RULES_DIR": "/etc/weir/rules",
            "WEIR_ADMIN_TOKEN": TOKEN,
        }
    )
    assert settings.http_port == 0
    assert settings.reply_deadline == 2.5
    assert str(settings.rules_dir) == "/etc/weir/rules"


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("WEIR_HTTP_PORT", "http", "a whole number"),
        ("WEIR_HTTP_PORT", "80.5", "a whole number"),
        ("WEIR_HTTP_PORT", "-1", "0 or more"),
        ("WEIR_HTTP_PORT", "65536", "65535 or less"),
        ("WEIR_REPLY_DEADLINE", "soon", "a number"),
        ("WEIR_REPLY_DEADLINE", "4.6", "4.5 or less"),
        ("WEIR_REPLY_DEADLINE", "0", "0.1 or more"),
        ("WEIR_REPLY_DEADLINE", "nan", "0.1 or more"),
        ("WEIR_PUBLISH_TIMEOUT", "inf", "3.0 or less"),
        ("WEIR_JOURNAL_MAX_MB", "0", "1 or more"),
        ("WEIR_LOG_FORMAT", "xml", "json or console"),
        ("WEIR_LOG_LEVEL", "loud", "debug, info, warning or error"),
        ("WEIR_ADMIN_TOKEN", "short", "24 or more"),
        ("WEIR_AMQP_URL", "http://rabbit", "amqp:// or amqps://"),
        ("WEIR_AMQP_URL", "amqp://u:p@rabbit:port/", "no number"),
        ("WEIR_AMQP_URL", "amqp://[::1/", "no host"),
        ("WEIR_AMQP_URL", "amqp:///", "no host"),
        ("WEIR_MONGODB_URL", "mongo://x", "mongodb:// or mongodb+srv://"),
        ("WEIR_MONGODB_URL", "mongodb://one,two:x/", "no number"),
        ("WEIR_AMQP_URL", "", "amqp:// or amqps://"),
    ],
)
def test_a_malformed_setting_is_named_with_what_it_should_be(name: str, value: str, wanted: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({name: value})
    assert name in str(caught.value)
    assert wanted in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("unknown", "meant"),
    [("WEIR_AMQP_URI", "WEIR_AMQP_URL"), ("WEIR_MONGO_URL", "WEIR_MONGODB_URL"), ("WEIR_LOGLEVEL", "WEIR_LOG_LEVEL")],
)
def test_a_misspelt_setting_is_told_what_it_may_have_meant(unknown: str, meant: str) -> None:
    with pytest.raises(SettingsError, match=f"{unknown} is not a setting; did you mean {meant}"):
        load({unknown: "x"})


def test_an_unknown_setting_is_an_error() -> None:
    with pytest.raises(SettingsError, match="WEIR_QQQQQQQQ is not a setting"):
        load({"WEIR_QQQQQQQQ": "1"})


@pytest.mark.parametrize("token", [TOKEN, "scheme://looks-like-a-url/but-is-a-token"])
def test_what_may_be_shown_holds_no_password_and_no_token(token: str) -> None:
    settings = Settings(
        amqp_url="amqp://weir:s3cret-amqp@rabbit:5672/vhost?password=s3cret-query",
        mongodb_url="mongodb://weir:s3cret-mongo@mongo:27017/?authSource=admin",
        admin_token=token,
    )
    shown = settings.redacted()
    assert shown["amqp_url"] == "amqp://***@rabbit:5672/vhost"
    assert shown["mongodb_url"] == "mongodb://***@mongo:27017/"
    assert shown["admin_token"] == "(set)"
    assert Settings().redacted()["admin_token"] == "(not set)"
    assert "s3cret" not in str(shown)


def test_an_error_about_a_url_does_not_show_it() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"WEIR_AMQP_URL": "amqp://weir:s3cret@rabbit:port/"})
    assert "s3cret" not in str(caught.value)


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        Settings().http_port = 1
