"""Settings: read from the environment, checked at once, and named when they are wrong."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from siutindei.domain.errors import Invalid
from siutindei.settings import SETTINGS, read_settings

HOME = Path("/tmp/siutindei-settings")
NUMBERS = [setting for setting in SETTINGS if setting.form in {"seconds", "days", "count"}]


def test_every_default_works() -> None:
    """With an empty environment every setting has a value that passes its own check."""
    settings = read_settings({}, home=HOME)

    defaults = {name: value.text for name, value in settings.values.items() if value.text}
    assert defaults.keys() == settings.values.keys() - {"LOGIN_LINK_BASE_URL"}
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
        ("SIUTINDEI_MAIL", "ses"),
        ("SIUTINDEI_MAIL", "maildir:"),
        ("SIUTINDEI_NUDGE", "sns"),
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
    assert "\n" not in str(refused.value)


def test_an_empty_variable_is_as_good_as_none() -> None:
    """A variable that is set to nothing leaves the default in place."""
    settings = read_settings({"SIUTINDEI_CODE_TTL": "", "LOG_LEVEL": ""}, home=HOME)

    assert settings.values["SIUTINDEI_CODE_TTL"].source == "default"
    assert settings.text("LOG_LEVEL") == "INFO"


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
