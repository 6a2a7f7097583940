"""Settings: all from the environment, all with a working default."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal

import attrs

from siutindei.domain.challenge import Limits
from siutindei.domain.errors import Invalid
from siutindei.domain.mail import Senders

#: As many digits as a number may have.
_DIGITS: Final = 9

Form = Literal["text", "seconds", "days", "count", "secret"]


@attrs.frozen
class Setting:
    """One setting.

    Attributes:
        name: the environment variable.
        default_text: its default, as it would be written; `$SIUTINDEI_HOME` stands for the home.
        meaning: what it is for.
        form: how it is written: `seconds`, `days` and `count` are whole numbers.
        least: the smallest number.
    """

    name: str
    default_text: str
    meaning: str
    form: Form = "text"
    least: int = 0


SETTINGS: Final = (
    Setting("SIUTINDEI_HOME", "", "the folder that holds everything the embedded default keeps; "
            "by default the operating system's folder for a user's application data"),
    Setting("SIUTINDEI_DATABASE", "sqlite:///$SIUTINDEI_HOME/siutindei.db", "the database"),
    Setting("SIUTINDEI_MAIL", "maildir:$SIUTINDEI_HOME/mail", "where mails go"),
    Setting("SIUTINDEI_NUDGE", "none", "what wakes the worker: `none`, it asks the ledger"),
    Setting("SIUTINDEI_CODE_KEYS", "file:$SIUTINDEI_HOME/keys/code-keys.json",
            "the ring of keys that sign-in codes are derived from; made on first use", "secret"),
    Setting("SIUTINDEI_VAULT_KEYS", "file:$SIUTINDEI_HOME/keys/vault-keys.json",
            "the ring of master keys that wrap the keys of personal data; made on first use",
            "secret"),
    Setting("SIUTINDEI_INDEX_KEY", "file:$SIUTINDEI_HOME/keys/index-key.json",
            "the key of the fingerprints of addresses; made on first use, never rotated",
            "secret"),
    Setting("SIUTINDEI_DIRECTORY", "file:$SIUTINDEI_HOME/directory.json",
            "the platform's catalogue: organizations, labels, managers, stars"),
    Setting("SIUTINDEI_FEEDBACK_STARS", "1", "stars that an approved feedback adds to its "
            "submitter", "count"),
    Setting("SIUTINDEI_CODE_TTL", "300", "how long a code lives", "seconds", 60),
    Setting("SIUTINDEI_CODE_COOLDOWN", "60", "time before a new code", "seconds"),
    Setting("SIUTINDEI_CODES_PER_ADDRESS", "5", "challenges that an address may start in an hour",
            "count", 1),
    Setting("SIUTINDEI_CODES_PER_CLIENT", "300", "challenges that an app client may start in an "
            "hour", "count", 1),
    Setting("SIUTINDEI_UNPROVED_HOURLY", "60", "challenges that all addresses that never answered "
            "a code may start in an hour, together", "count", 1),
    Setting("MAX_CHALLENGE_ATTEMPTS", "3", "answers that a challenge takes", "count", 1),
    Setting("SIUTINDEI_SETTLE", "900", "how long an unknown outcome is left to feedback before "
            "the mail may be sent again", "seconds"),
    Setting("SES_FROM_ADDRESS", "hello@lx-software.com", "the sender of sign-in codes"),
    Setting("SES_SENDER_EMAIL", "no-reply@lx-software.com", "the sender of ticket mails"),
    Setting("SUPPORT_EMAIL", "support@lx-software.com", "the mailbox that tickets are shown to"),
    Setting("LOGIN_LINK_BASE_URL", "", "the page that a sign-in link opens, with the code filled "
            "in; empty means no link"),
    Setting("LOG_LEVEL", "INFO", "the least level that is logged"),
)  # fmt: skip


@attrs.frozen(kw_only=True)
class Value:
    """A setting's value, and where it came from."""

    setting: Setting
    text: str
    source: Literal["default", "environment", "option"]

    @property
    def shown(self) -> str:
        """The value for a reader: a secret that is not a file's name is masked."""
        if self.setting.form == "secret" and not self.text.startswith("file:"):
            return "****"
        return self.text


@attrs.frozen(kw_only=True)
class Settings:
    """Every setting, read and checked.

    Attributes:
        values: as they were read, by name.
    """

    values: Mapping[str, Value]

    def text(self, name: str) -> str:
        """Give a value as it was written."""
        return self.values[name].text

    def count(self, name: str) -> int:
        """Give a whole number."""
        return int(self.values[name].text)

    def seconds(self, name: str) -> timedelta:
        """Give a duration."""
        return timedelta(seconds=self.count(name))

    @property
    def home(self) -> Path:
        """The home."""
        return Path(self.text("SIUTINDEI_HOME"))

    @property
    def sqlite_path(self) -> str:
        """The SQLite file.

        Raises:
            Invalid: the database is none that this version knows.
        """
        url = self.text("SIUTINDEI_DATABASE")
        scheme, separator, path = url.partition(":///")
        if scheme != "sqlite" or not separator or not path:
            raise Invalid("SIUTINDEI_DATABASE", f"{url!r} is not sqlite:///PATH")
        return path

    @property
    def maildir(self) -> Path:
        """The folder of mails.

        Raises:
            Invalid: mails go somewhere that this version does not know.
        """
        return _path("SIUTINDEI_MAIL", self.text("SIUTINDEI_MAIL"), "maildir")

    def file(self, name: str) -> Path:
        """Give the file that a setting names.

        Raises:
            Invalid: it does not name a file.
        """
        return _path(name, self.text(name), "file")

    @property
    def limits(self) -> Limits:
        """The numbers of a sign-in."""
        return Limits(
            ttl=self.seconds("SIUTINDEI_CODE_TTL"),
            cooldown=self.seconds("SIUTINDEI_CODE_COOLDOWN"),
            attempts=self.count("MAX_CHALLENGE_ATTEMPTS"),
            per_address=self.count("SIUTINDEI_CODES_PER_ADDRESS"),
            unproved=self.count("SIUTINDEI_UNPROVED_HOURLY"),
            per_client=self.count("SIUTINDEI_CODES_PER_CLIENT"),
        )

    @property
    def senders(self) -> Senders:
        """Who writes, and whom support is."""
        return Senders(
            codes_from=self.text("SES_FROM_ADDRESS"),
            tickets_from=self.text("SES_SENDER_EMAIL"),
            support=self.text("SUPPORT_EMAIL"),
            login_link_base_url=self.text("LOGIN_LINK_BASE_URL"),
        )


def read_settings(environment: Mapping[str, str], *, home: Path | None = None) -> Settings:
    """Read every setting.

    Args:
        environment: the process's environment.
        home: the home that the command line names; it wins over the environment.

    Raises:
        Invalid: names the setting.
    """
    values: dict[str, Value] = {}
    for setting in SETTINGS:
        given = environment.get(setting.name, "")
        if setting.name == "SIUTINDEI_HOME" and home is not None:
            value = Value(setting=setting, text=str(home.absolute()), source="option")
        elif given:
            value = Value(setting=setting, text=_check(setting, given), source="environment")
        else:
            value = Value(setting=setting, text=_default(setting, values), source="default")
        values[setting.name] = value
    if values["SIUTINDEI_NUDGE"].text != "none":
        raise Invalid("SIUTINDEI_NUDGE", "must be none")
    return Settings(values=values)


def _default(setting: Setting, values: Mapping[str, Value]) -> str:
    if setting.name == "SIUTINDEI_HOME":
        # Imported where it is needed: in Lambda there is no home.
        from platformdirs import user_data_dir

        return user_data_dir("siutindei", appauthor=False)
    home = values["SIUTINDEI_HOME"].text
    return setting.default_text.replace("$SIUTINDEI_HOME", home)


def _check(setting: Setting, text: str) -> str:
    if setting.name == "SIUTINDEI_HOME":
        return str(Path(text).expanduser().absolute())
    if setting.form in {"seconds", "days", "count"}:
        if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
            raise Invalid(setting.name, f"{text!r} is not a whole number")
        if int(text) < setting.least:
            raise Invalid(setting.name, f"must be at least {setting.least}")
    if setting.name == "LOG_LEVEL" and text.upper() not in {"DEBUG", "INFO", "WARNING", "ERROR"}:
        raise Invalid(setting.name, f"{text!r} is none of DEBUG, INFO, WARNING, ERROR")
    return text


def _path(name: str, text: str, scheme: str) -> Path:
    found, separator, path = text.partition(":")
    if found != scheme or not separator or not path:
        raise Invalid(name, f"{text!r} is not {scheme}:PATH")
    return Path(path)
