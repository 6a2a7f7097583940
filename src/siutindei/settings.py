"""Settings: all from the environment, all with a working default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal
from urllib.parse import parse_qs, urlsplit

import attrs

from siutindei.domain import fields
from siutindei.domain.challenge import Limits
from siutindei.domain.errors import Invalid
from siutindei.domain.mail import Senders

#: As many digits as a number may have.
_DIGITS: Final = 9

#: An address that can stand in a header as it is.
_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_CREDENTIALS: Final = re.compile(r"//.*@", re.DOTALL)
_FILE_CREDENTIALS: Final = re.compile(r"//[^/]*@")
_SQLITE: Final = "sqlite:///"
_POSTGRES: Final = ("postgresql://", "postgres://")
#: What may be shown of the parameters of a database's address; anything else may be a password.
_SHOWN: Final = frozenset({
    "application_name", "connect_timeout", "dbname", "host", "port", "sslmode", "sslrootcert",
    "target_session_attrs", "user",
})  # fmt: skip
_MAILDIR: Final = "maildir:"
_FILE: Final = "file:"
_PREFIXES: Final[Mapping[str, str]] = {
    "database": _SQLITE, "maildir": _MAILDIR, "secret": _FILE, "file": _FILE,
}  # fmt: skip
_LONGEST: Final = 4096
_LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")

Form = Literal[
    "text", "seconds", "days", "count", "secret", "file", "database", "maildir", "none", "address",
    "link", "level",
]  # fmt: skip


@attrs.frozen
class Setting:
    """One setting.

    Attributes:
        name: the environment variable.
        default_text: its default, as it would be written; `$SIUTINDEI_HOME` stands for the home.
        meaning: what it is for.
        form: how it is written: `seconds`, `days` and `count` are whole numbers, a `secret` is a
            file that holds one.
        least: the smallest number.
        most: the largest number.
    """

    name: str
    default_text: str
    meaning: str
    form: Form = "text"
    least: int = 0
    most: int = 999_999_999


SETTINGS: Final = (
    Setting("SIUTINDEI_HOME", "", "the folder that holds everything the embedded default keeps; "
            "by default the operating system's folder for a user's application data"),
    Setting("SIUTINDEI_DATABASE", "sqlite:///$SIUTINDEI_HOME/siutindei.db", "the database: a file, "
            "or PostgreSQL (docs/postgresql.md)", "database"),
    Setting("SIUTINDEI_MAIL", "maildir:$SIUTINDEI_HOME/mail", "where mails go", "maildir"),
    Setting("SIUTINDEI_NUDGE", "none", "what wakes the worker: `none`, it asks the ledger",
            "none"),
    Setting("SIUTINDEI_CODE_KEYS", "file:$SIUTINDEI_HOME/keys/code-keys.json",
            "the ring of keys that sign-in codes are derived from; made on first use", "secret"),
    Setting("SIUTINDEI_VAULT_KEYS", "file:$SIUTINDEI_HOME/keys/vault-keys.json",
            "the ring of master keys that wrap the keys of personal data; made on first use",
            "secret"),
    Setting("SIUTINDEI_INDEX_KEY", "file:$SIUTINDEI_HOME/keys/index-key.json",
            "the key of the fingerprints of addresses; made on first use, never rotated",
            "secret"),
    Setting("SIUTINDEI_DIRECTORY", "file:$SIUTINDEI_HOME/directory.json",
            "the platform's catalogue: organizations, labels, managers, stars", "file"),
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
    Setting("MAX_CHALLENGE_ATTEMPTS", "3", "answers that a challenge takes", "count", 1, 10),
    Setting("SIUTINDEI_SETTLE", "900", "how long an unknown outcome is left to feedback before "
            "the mail may be sent again", "seconds", 0, 86_400),
    Setting("SES_FROM_ADDRESS", "hello@lx-software.com", "the sender of sign-in codes",
            "address"),
    Setting("SES_SENDER_EMAIL", "no-reply@lx-software.com", "the sender of ticket mails",
            "address"),
    Setting("SUPPORT_EMAIL", "support@lx-software.com", "the mailbox that tickets are shown to",
            "address"),
    Setting("LOGIN_LINK_BASE_URL", "", "the page that a sign-in link opens, with the code filled "
            "in; empty means no link", "link"),
    Setting("LOG_LEVEL", "INFO", "the least level that is logged: DEBUG, INFO, WARNING or ERROR",
            "level"),
)  # fmt: skip


def _shown(parameter: str) -> str:
    name, mark, _ = parameter.partition("=")
    return parameter if name in _SHOWN else f"{name}{mark}****" if mark else ""


@attrs.frozen(kw_only=True)
class Value:
    """A setting's value, and where it came from."""

    setting: Setting
    text: str = attrs.field(repr=False)
    source: Literal["default", "environment", "option"]

    @property
    def shown(self) -> str:
        """The value for a reader; what may be a password in it is masked."""
        if not self.text.startswith(_POSTGRES):
            return _FILE_CREDENTIALS.sub("//****@", self.text)
        address, mark, query = _CREDENTIALS.sub("//****@", self.text).partition("?")
        return address + mark + "&".join(_shown(part) for part in query.split("&"))


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
    def postgres_url(self) -> str | None:
        """The address of the PostgreSQL database; None when SQLite is used."""
        text = self.text("SIUTINDEI_DATABASE")
        return text if text.startswith(_POSTGRES) else None

    @property
    def sqlite_path(self) -> str:
        """The SQLite file."""
        return self.text("SIUTINDEI_DATABASE").removeprefix(_SQLITE)

    @property
    def maildir(self) -> Path:
        """The folder of mails."""
        return Path(self.text("SIUTINDEI_MAIL").removeprefix(_MAILDIR))

    def file(self, name: str) -> Path:
        """Give the file that a setting names."""
        return Path(self.text(name).removeprefix(_FILE))

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
            text = _check(setting, str(home))
            value = Value(setting=setting, text=text, source="option")
        elif given:
            value = Value(setting=setting, text=_check(setting, given), source="environment")
        else:
            value = Value(setting=setting, text=_default(setting, values), source="default")
        values[setting.name] = value
    return Settings(values=values)


def _default(setting: Setting, values: Mapping[str, Value]) -> str:
    if setting.name == "SIUTINDEI_HOME":
        # Imported where it is needed: in Lambda there is no home.
        from platformdirs import user_data_dir

        return user_data_dir("siutindei", appauthor=False)
    home = values["SIUTINDEI_HOME"].text
    return setting.default_text.replace("$SIUTINDEI_HOME", home)


def _check(setting: Setting, text: str) -> str:
    """Check a value; what is wrong with it is said without it, because it may hold a password."""
    name, form = setting.name, setting.form
    fields.line(name, text, most=_LONGEST)
    if name == "SIUTINDEI_HOME":
        try:
            return str(Path(text).expanduser().absolute())
        except RuntimeError:
            raise Invalid(name, "begins with the home of a user whom nobody knows") from None
    if form in {"seconds", "days", "count"}:
        if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
            raise Invalid(name, f"must be a whole number of at most {_DIGITS} digits")
        if int(text) < setting.least:
            raise Invalid(name, f"must be at least {setting.least}")
        if int(text) > setting.most:
            raise Invalid(name, f"must be at most {setting.most}")
    if form == "link":
        fields.url(name, text)
        if "code" in parse_qs(urlsplit(text).query, keep_blank_values=True):
            raise Invalid(name, "must have no query parameter that is called code")
    if form == "level" and text.upper() not in _LEVELS:
        raise Invalid(name, f"must be one of {', '.join(_LEVELS)}")
    if form == "none" and text != "none":
        raise Invalid(name, "must be none; this version knows nothing else")
    if form == "address" and not _ADDRESS.fullmatch(text):
        raise Invalid(name, "must be an e-mail address, and nothing else")
    if form == "database" and text.startswith(_POSTGRES):
        return text
    if form == "database" and not text.startswith(_SQLITE):
        raise Invalid(name, "must be sqlite:///PATH or postgresql://USER@HOST:PORT/NAME")
    prefix = _PREFIXES.get(form)
    if prefix is not None and not (text.startswith(prefix) and len(text) > len(prefix)):
        raise Invalid(name, f"must be {prefix}PATH; this version knows nothing else")
    if prefix is not None and not Path(text.removeprefix(prefix)).is_absolute():
        # A relative one would be another file in every folder, and memory would lose everything.
        raise Invalid(name, f"must name an absolute path: {prefix}/...")
    return text
