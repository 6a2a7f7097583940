"""Settings: read from the environment, checked at once, and named when they are wrong."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from siutindei.domain.errors import Invalid
from siutindei.settings import SETTINGS, Relay, Value, read_settings

HOME = Path("/tmp/siutindei-settings")
WITHOUT_DEFAULT = {
    "USER_POOL_ID",
    "LOGIN_LINK_BASE_URL",
    "MANAGER_REQUEST_TOPIC_ARN",
    "SIUTINDEI_QUEUE_URL",
    "SIUTINDEI_DEAD_LETTER_QUEUE_URL",
}
NUMBERS = [setting for setting in SETTINGS if setting.form in {"seconds", "days", "count"}]


def test_every_default_works() -> None:
    """With an empty environment every setting has a value that passes its own check."""
    settings = read_settings({}, home=HOME)

    defaults = {name: value.text for name, value in settings.values.items() if value.text}
    assert defaults.keys() == settings.values.keys() - WITHOUT_DEFAULT
    assert defaults == {
        name: value.text
        for name, value in read_settings(defaults).values.items()
        if name in defaults
    }


def test_everything_is_under_the_home() -> None:
    """The files of the embedded default follow the home, wherever it is named."""
    for settings in (
        read_settings({"SIUTINDEI_HOME": "/elsewhere"}, home=HOME),
        read_settings({"SIUTINDEI_HOME": str(HOME)}),
    ):
        assert settings.home == HOME
        assert settings.sqlite_path == str(HOME / "siutindei.db")
        assert settings.maildir == HOME / "mail"
        assert settings.file("SIUTINDEI_INDEX_KEY") == HOME / "keys" / "index-key.json"


def test_the_numbers_reach_those_who_need_them() -> None:
    """Limits and senders are made from the settings."""
    settings = read_settings(
        {
            "SIUTINDEI_CODE_TTL": "120",
            "MAX_CHALLENGE_ATTEMPTS": "5",
            "SUPPORT_EMAIL": "help@example.com",
            "LOGIN_LINK_BASE_URL": "https://example.com/sign-in?from=mail",
        },
        home=HOME,
    )

    assert settings.limits.ttl == timedelta(seconds=120)
    assert settings.limits.attempts == 5
    assert settings.senders.support == "help@example.com"
    assert settings.senders.login_link_base_url == "https://example.com/sign-in?from=mail"


def test_a_home_is_found_from_anywhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A relative home is made absolute, and `~` is the user's; without any there is a default."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/ann")
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)

    assert read_settings({}, home=Path("here")).home == tmp_path / "here"
    assert read_settings({"SIUTINDEI_HOME": "~/s"}).home == Path("/home/ann/s")
    assert read_settings({}).home.name == "siutindei"


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
def test_a_number_is_a_whole_number_in_its_range(setting: object) -> None:
    """Anything but digits, too many of them, or too small a number is refused by name."""
    name, least = setting.name, setting.least  # type: ignore[attr-defined]
    for text in (
        "x",
        "-1",
        "1.5",
        "1e3",
        "0x10",
        "１２",
        "1_000",
        "9" * 10,
        "9" * 5000,
        str(least - 1),
    ):
        with pytest.raises(Invalid, match=name) as refused:
            read_settings({name: text}, home=HOME)
        assert refused.value.field == name
    assert read_settings({name: str(least)}, home=HOME).count(name) == least


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SIUTINDEI_HOME", "/a\nb"),
        ("SIUTINDEI_HOME", "/\udcff"),
        ("SIUTINDEI_HOME", "~nobody-of-that-name/x"),
        ("SIUTINDEI_HOME", "/" + "a" * 5000),
        ("SIUTINDEI_DATABASE", "mysql://db.example.com/x"),
        ("SIUTINDEI_DATABASE", "sqlite:///"),
        ("SIUTINDEI_DATABASE", "/tmp/x.db"),
        ("SIUTINDEI_MAIL", "maildir:"),
        ("SIUTINDEI_MAIL", "SES"),
        ("SIUTINDEI_MAIL", "ses:eu-west-1"),
        ("SIUTINDEI_MAIL", "smtp:mail.example.com"),
        ("SIUTINDEI_MAIL", "smtp://"),
        ("SIUTINDEI_MAIL", "smtp://:25"),
        ("SIUTINDEI_MAIL", "smtp://mail.example.com:port"),
        ("SIUTINDEI_MAIL", "smtp://mail.example.com:70000"),
        ("SIUTINDEI_MAIL", "smtp://mail.example.com/inbox"),
        ("SIUTINDEI_MAIL", "smtp://mail.example.com#x"),
        ("SIUTINDEI_MAIL", "smtp://mail.example.com?starttls=perhaps"),
        ("SIUTINDEI_MAIL", "smtps://mail.example.com?starttls=required"),
        ("SIUTINDEI_MAIL", "smtp://ann@mail.example.com"),
        ("SIUTINDEI_MAIL", "smtp://:geheim@mail.example.com"),
        ("SIUTINDEI_MAIL", "smtp://ann:geh%C3%A4im@mail.example.com"),
        ("SIUTINDEI_MAIL", "smtp://[::1"),
        ("SIUTINDEI_MAIL", "lmtp://mail.example.com"),
        ("SIUTINDEI_NUDGE", "sqs"),
        ("MANAGER_REQUEST_TOPIC_ARN", "siutindei"),
        ("SIUTINDEI_QUEUE_URL", "siutindei"),
        ("SIUTINDEI_CODE_KEYS", "secret"),
        ("SIUTINDEI_VAULT_KEYS", "file:"),
        ("SIUTINDEI_INDEX_KEY", "arn:aws:x"),
        ("SIUTINDEI_DIRECTORY", "x.json"),
        ("SES_FROM_ADDRESS", "a@example.com\r\nBcc: b@example.com"),
        ("SES_FROM_ADDRESS", "Ann <a@example.com>"),
        ("SES_SENDER_EMAIL", "a@example.com, b@example.com"),
        ("SUPPORT_EMAIL", "a@localhost"),
        ("SUPPORT_EMAIL", "ä@example.com"),
        ("LOGIN_LINK_BASE_URL", "javascript:alert(1)"),
        ("LOGIN_LINK_BASE_URL", "https://example.com/?code=1"),
        ("LOGIN_LINK_BASE_URL", "https://example.com/?a=1&code="),
        ("AWS_REGION", "singapore"),
        ("USER_POOL_ID", "pool"),
        ("USER_POOL_ID", "arn:aws:cognito-idp:ap-southeast-1:123456789012:userpool/x_y"),
        ("MANAGER_GROUP", "the managers"),
        ("SIUTINDEI_DATABASE_AUTH", "password"),
        ("SIUTINDEI_DATABASE_AUTH", "secretsmanager:"),
        ("SIUTINDEI_DATABASE_AUTH", "kms:/x"),
        ("SIUTINDEI_VAULT_KEYS", "secretsmanager:a b"),
        ("SIUTINDEI_VAULT_KEYS", "kms:ring.json"),
        ("SIUTINDEI_DIRECTORY", "secretsmanager:x"),
        ("AWS_REGION", "ap-southeast-1.example.com"),
        ("CORS_ALLOWED_ORIGINS", "*"),
        ("CORS_ALLOWED_ORIGINS", "https://example.com/"),
        ("CORS_ALLOWED_ORIGINS", "https://example.com https://www.example.com"),
        ("CORS_ALLOWED_ORIGINS", "https://example.com,"),
        ("ADMIN_GROUP", "admin,manager"),
        ("ADMIN_GROUP", "the admins"),
        ("LOG_LEVEL", "LOUD"),
    ],
    ids=lambda value: value[:30].encode("ascii", "backslashreplace").decode(),
)
def test_a_setting_that_does_not_work_is_refused_at_once(name: str, text: str) -> None:
    """It is named, what it should be is said, and what it was is not."""
    with pytest.raises(Invalid, match=name) as refused:
        read_settings({name: text})

    assert refused.value.field == name
    assert "example.com" not in str(refused.value)
    assert "geheim" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("smtp://mail.example.com", Relay(host="mail.example.com", port=25)),
        ("smtp://mail.example.com:2525/", Relay(host="mail.example.com", port=2525)),
        ("smtp://[::1]:1025", Relay(host="::1", port=1025)),
        (
            "smtp://mail.example.com:587?starttls=required",
            Relay(host="mail.example.com", port=587, needs_tls=True),
        ),
        ("smtps://mail.example.com", Relay(host="mail.example.com", port=465, is_tls=True)),
        (
            "smtp://ann%40x:ge%3Ah%2Feim@mail.example.com",
            Relay(
                host="mail.example.com", port=25, needs_tls=True, user="ann@x", password="ge:h/eim"
            ),
        ),
    ],
)
def test_a_mail_server_is_named(text: str, expected: Relay) -> None:
    """Its address says where it is, how it is encrypted and who we are; with a password it has to
    be encrypted.
    """
    settings = read_settings({"SIUTINDEI_MAIL": text}, home=HOME)

    assert expected == settings.relay
    assert settings.maildir is None


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("smtp://ann:ge@he/im@mail.example.com:25", "smtp://****@mail.example.com:25"),
        ("smtps://ann:geheim@mail.example.com", "smtps://****@mail.example.com"),
        ("smtp://mail.example.com:25", "smtp://mail.example.com:25"),
        ("ses", "ses"),
    ],
)
def test_the_password_of_a_mail_server_is_masked(text: str, shown: str) -> None:
    """Who we are to a mail server is not shown, nor is it in what Python shows."""
    (setting,) = (setting for setting in SETTINGS if setting.name == "SIUTINDEI_MAIL")
    value = Value(setting=setting, text=text, source="environment")

    assert shown == value.shown
    assert "geheim" not in repr(value)
    named = read_settings({"SIUTINDEI_MAIL": "smtps://ann:geheim@mail.example.com"}, home=HOME)
    assert "geheim" not in repr(named)
    assert "geheim" not in repr(named.relay)


def test_mails_go_to_ses() -> None:
    """`ses` is neither a folder nor a server of ours."""
    settings = read_settings({"SIUTINDEI_MAIL": "ses", "AWS_REGION": "eu-west-2"}, home=HOME)

    assert settings.maildir is None
    assert settings.relay is None
    assert settings.region == "eu-west-2"


def test_an_empty_variable_is_as_good_as_none() -> None:
    """A variable that is set to nothing leaves the default in place."""
    settings = read_settings({"SIUTINDEI_CODE_TTL": "", "LOG_LEVEL": ""}, home=HOME)

    assert settings.values["SIUTINDEI_CODE_TTL"].source == "default"
    assert settings.text("LOG_LEVEL") == "INFO"


def test_sites_are_a_list() -> None:
    """The sites that may call the API stand with commas between, blanks beside them or not."""
    sites = {"CORS_ALLOWED_ORIGINS": "https://example.com , http://localhost:3000"}

    assert {"https://example.com", "http://localhost:3000"} == (
        read_settings(sites, home=HOME).allowed_origins
    )
    assert {"https://siutindei.lx-software.com", "http://localhost:3000"} == (
        read_settings({}, home=HOME).allowed_origins
    )


def test_a_level_is_understood_in_any_case() -> None:
    """`debug` is DEBUG."""
    assert read_settings({"LOG_LEVEL": "debug"}, home=HOME).text("LOG_LEVEL") == "debug"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("SIUTINDEI_DATABASE", "sqlite:///:memory:"),
        ("SIUTINDEI_DATABASE", "sqlite:///here.db"),
        ("SIUTINDEI_MAIL", "maildir:here"),
        ("SIUTINDEI_INDEX_KEY", "file:here.json"),
        ("SIUTINDEI_SETTLE", "86401"),
    ],
)
def test_what_would_lose_or_repeat_something_is_refused(
    tmp_path: Path, name: str, text: str
) -> None:
    """A place that depends on the folder, or a wait as long as a clock's fault, is no setting."""
    with pytest.raises(Invalid) as refused:
        read_settings({name: text}, home=tmp_path)

    assert name == refused.value.field


def test_keys_may_be_at_aws() -> None:
    """A ring is a file, a secret, or a file whose keys KMS decrypts."""
    arn = "arn:aws:secretsmanager:ap-southeast-1:123456789012:secret:vault-a1B2c3"
    settings = read_settings(
        {
            "SIUTINDEI_VAULT_KEYS": f"secretsmanager:{arn}",
            "SIUTINDEI_INDEX_KEY": "kms:/var/task/index-key.json",
            "SIUTINDEI_DATABASE_AUTH": "secretsmanager:siutindei/database",
        },
        home=HOME,
    )
    names = ("SIUTINDEI_CODE_KEYS", "SIUTINDEI_VAULT_KEYS", "SIUTINDEI_INDEX_KEY")

    assert [True, False, False] == [settings.is_file(name) for name in names]
    assert [None, arn, None] == [settings.secret(name) for name in names]
    assert [None, None, Path("/var/task/index-key.json")] == [
        settings.wrapped(name) for name in names
    ]
    assert settings.secret("SIUTINDEI_DATABASE_AUTH") == "siutindei/database"


def test_nudges_over_sns_want_a_topic_and_two_queues() -> None:
    """What is missing is named; with all of it the setting works."""
    queue = "https://sqs.ap-southeast-1.amazonaws.com/123456789012/siutindei"
    environment = {
        "SIUTINDEI_NUDGE": "sns",
        "MANAGER_REQUEST_TOPIC_ARN": "arn:aws:sns:ap-southeast-1:123456789012:siutindei",
        "SIUTINDEI_QUEUE_URL": queue,
        "SIUTINDEI_DEAD_LETTER_QUEUE_URL": f"{queue}-dead",
    }
    for name in list(environment)[1:]:
        with pytest.raises(Invalid, match="must be set when SIUTINDEI_NUDGE is sns") as refused:
            read_settings({**environment, name: ""}, home=HOME)

        assert name == refused.value.field
    assert "sns" == read_settings(environment, home=HOME).text("SIUTINDEI_NUDGE")
