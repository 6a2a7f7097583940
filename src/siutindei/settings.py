"""Settings: all from the environment, all with a working default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Final, Literal
from urllib.parse import parse_qs, unquote, urlsplit

import attrs

from siutindei.app.rules import Rules
from siutindei.domain import budget, fields
from siutindei.domain.challenge import Limits
from siutindei.domain.errors import Invalid
from siutindei.domain.mail import Senders

#: As many digits as a number may have.
_DIGITS: Final = 9

#: An address that can stand in a header as it is.
_ADDRESS: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
#: What browsers send as `Origin`, with commas between.
_ORIGINS: Final = re.compile(r"(https?://[a-z0-9.-]+(:[0-9]{1,5})?( *, *(?!$)|$))+")
#: https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_S3: Final = re.compile(r"s3://([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])/([A-Za-z0-9!_.*'()/-]{1,1024})")
#: A log's name stands in a signed note: https://c2sp.org/signed-note
_LOG: Final = re.compile(r"[!-*,-~]{1,200}")
_KMS_KEY: Final = re.compile(r"[A-Za-z0-9/_:-]{1,2048}")
_GROUP: Final = re.compile(r"[^\s,]+")
_ANY: Final = re.compile(".*", re.DOTALL)
#: Forms that one expression checks, and what is said when it does not fit.
_SHAPES: Final = {
    "origins": (_ORIGINS, "must be https://HOST or http://HOST:PORT, with commas between"),
    "group": (_GROUP, "must be one group's name, without commas and blanks"),
    "log": (_LOG, "must be a name such as example.com/log, without blanks and without +"),
}
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
_SMTP: Final = {"smtp": 25, "smtps": 465}
_SES: Final = "ses"
_REQUIRED: Final = "starttls=required"
#: A name or an address; an IPv6 address has lost its brackets.
_HOST: Final = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,251}[A-Za-z0-9])?|[0-9a-f:.]{2,45}")
_FILE: Final = "file:"
_SECRETS: Final = "secretsmanager:"
_KMS: Final = "kms:"
_KMS_SIGN: Final = "kms-sign:"
#: A secret's name or ARN.
_SECRET: Final = re.compile(r"[A-Za-z0-9/_+=.@:-]{1,2048}")
_POOL: Final = re.compile(r"[a-z0-9-]+_[A-Za-z0-9]+")
_PREFIXES: Final[Mapping[str, str]] = {
    "database": _SQLITE, "mail": _MAILDIR, "secret": _FILE, "file": _FILE,
    "catalogue": _FILE, "signing": _FILE, "checkpoints": _FILE,
}  # fmt: skip
_REGION: Final = re.compile(r"[a-z]{2}(-[a-z]+){1,3}-\d{1,2}")
_TOPIC: Final = re.compile(r"arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:[A-Za-z0-9_-]{1,256}")
_LONGEST: Final = 4096
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR")
_NUDGES: Final = ("none", "sns")
#: What has to be there for nudges over SNS.
_FOR_SNS: Final = (
    "MANAGER_REQUEST_TOPIC_ARN", "SIUTINDEI_QUEUE_URL", "SIUTINDEI_DEAD_LETTER_QUEUE_URL",
)  # fmt: skip

Form = Literal[
    "text", "seconds", "days", "count", "secret", "file", "database", "mail", "nudge", "address",
    "link", "level", "region", "auth", "pool", "group", "origins", "catalogue", "topic", "queue",
    "signing", "checkpoints", "log",
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
    Setting("SIUTINDEI_DATABASE_AUTH", "url", "where PostgreSQL's password comes from: the "
            "address itself, a token of IAM, or a secret with a username and a password", "auth"),
    Setting("SIUTINDEI_MAIL", "maildir:$SIUTINDEI_HOME/mail", "where mails go: into files, "
            "to a mail server, or to SES (docs/ses.md)", "mail"),
    Setting("SIUTINDEI_NUDGE", "none", "what wakes whoever works on effects: `none`, the worker "
            "asks the ledger, or `sns`, messages to the processor (docs/pipeline.md)", "nudge"),
    Setting("MANAGER_REQUEST_TOPIC_ARN", "", "the topic that nudges are published on; wanted with "
            "SIUTINDEI_NUDGE=sns", "topic"),
    Setting("SIUTINDEI_QUEUE_URL", "", "the queue behind it; wanted with SIUTINDEI_NUDGE=sns",
            "queue"),
    Setting("SIUTINDEI_DEAD_LETTER_QUEUE_URL", "", "that queue's dead-letter queue; wanted with "
            "SIUTINDEI_NUDGE=sns", "queue"),
    Setting("SIUTINDEI_CODE_KEYS", "file:$SIUTINDEI_HOME/keys/code-keys.json",
            "the ring of keys that sign-in codes are derived from; made on first use", "secret"),
    Setting("SIUTINDEI_VAULT_KEYS", "file:$SIUTINDEI_HOME/keys/vault-keys.json",
            "the ring of master keys that wrap the keys of personal data; made on first use",
            "secret"),
    Setting("SIUTINDEI_INDEX_KEY", "file:$SIUTINDEI_HOME/keys/index-key.json",
            "the key of the fingerprints of addresses; made on first use, never rotated",
            "secret"),
    Setting("SIUTINDEI_SIGNING_KEY", "file:$SIUTINDEI_HOME/keys/signing-key.json",
            "the ring of keys that sign checkpoints; made with the first one (docs/proof.md)",
            "signing"),
    Setting("SIUTINDEI_LOG_ORIGIN", "siutindei.lx-software.com/log", "what the signed log is "
            "called; each log has a name of its own", "log"),
    Setting("SIUTINDEI_CHECKPOINTS", "file:$SIUTINDEI_HOME/checkpoints", "where checkpoints are "
            "kept, outside the database", "checkpoints"),
    Setting("SIUTINDEI_DIRECTORY", "file:$SIUTINDEI_HOME/directory.json",
            "the platform's catalogue: organizations, labels, managers, stars", "catalogue"),
    Setting("USER_POOL_ID", "", "the Cognito user pool whose groups the platform uses; empty means "
            "that the catalogue's file says who is a manager", "pool"),
    Setting("MANAGER_GROUP", "manager", "the group that managers are in", "group"),
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
    Setting("SIUTINDEI_SOFT_BOUNCES", "3", "bounces for now within 7 days that suppress an address "
            "for 30 days", "count", 1),
    Setting("SIUTINDEI_DAILY_QUOTA", "1000", "mails in a rolling 24 hours, of every kind; as many "
            "as the mail service takes from us (docs/budget.md)", "count", 1),
    Setting("SIUTINDEI_DECISION_FLOOR", "100", "how many of them are kept for decisions", "count"),
    Setting("SIUTINDEI_CODE_RESERVE", "300", "how many of them are kept for codes", "count"),
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
    Setting("AWS_REGION", "ap-southeast-1", "the region of everything at AWS", "region"),
    Setting("CORS_ALLOWED_ORIGINS", "https://siutindei.lx-software.com,http://localhost:3000",
            "the sites whose pages may call the HTTP API", "origins"),
    Setting("ADMIN_GROUP", "admin", "the group whose members are administrators", "group"),
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
        if self.text.startswith(tuple(f"{scheme}://" for scheme in _SMTP)):
            return _CREDENTIALS.sub("//****@", self.text)
        if not self.text.startswith(_POSTGRES):
            return _FILE_CREDENTIALS.sub("//****@", self.text)
        address, mark, query = _CREDENTIALS.sub("//****@", self.text).partition("?")
        return address + mark + "&".join(_shown(part) for part in query.split("&"))


@attrs.frozen(kw_only=True)
class Relay:
    """The mail server that takes our mails.

    Attributes:
        host: its name.
        port: its port.
        is_tls: whether it is talked to encrypted from the beginning.
        needs_tls: whether nothing is said that is not encrypted, to the right server.
        user: who we are to it; None when it does not want to know.
        password: proves that.
    """

    host: str
    port: int
    is_tls: bool = False
    needs_tls: bool = False
    user: str | None = None
    password: str = attrs.field(default="", repr=False)


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
    def maildir(self) -> Path | None:
        """The folder of mails; None when they go elsewhere."""
        text = self.text("SIUTINDEI_MAIL")
        return Path(text.removeprefix(_MAILDIR)) if text.startswith(_MAILDIR) else None

    @property
    def is_ses(self) -> bool:
        """Whether mails go to SES."""
        return self.text("SIUTINDEI_MAIL") == _SES

    @property
    def relay(self) -> Relay | None:
        """The mail server; None when mails go elsewhere."""
        text = self.text("SIUTINDEI_MAIL")
        return None if self.maildir or text == _SES else _relay("SIUTINDEI_MAIL", text)

    def file(self, name: str) -> Path:
        """Give the file that a setting names."""
        return Path(self.text(name).removeprefix(_FILE))

    def secret(self, name: str) -> str | None:
        """Give the name of the secret at AWS that a setting names; None when it names none."""
        text = self.text(name)
        return text.removeprefix(_SECRETS) if text.startswith(_SECRETS) else None

    def wrapped(self, name: str) -> Path | None:
        """Give the file of keys encrypted by KMS that a setting names; None when it names none."""
        text = self.text(name)
        return Path(text.removeprefix(_KMS)) if text.startswith(_KMS) else None

    def is_file(self, name: str) -> bool:
        """Whether a setting names a file of ours."""
        return self.text(name).startswith(_FILE)

    @property
    def region(self) -> str:
        """The region at AWS."""
        return self.text("AWS_REGION")

    @property
    def directory_object(self) -> tuple[str, str] | None:
        """The bucket and the key of the catalogue; None when it is a file."""
        found = _S3.fullmatch(self.text("SIUTINDEI_DIRECTORY"))
        return None if found is None else (found[1], found[2])

    @property
    def checkpoint_objects(self) -> tuple[str, str] | None:
        """The bucket of the checkpoints, and what their keys begin with; None for a folder."""
        found = _S3.fullmatch(self.text("SIUTINDEI_CHECKPOINTS"))
        return None if found is None else (found[1], found[2].rstrip("/"))

    @property
    def kms_signing_key(self) -> str | None:
        """The key in KMS that signs checkpoints; None when a ring does."""
        text = self.text("SIUTINDEI_SIGNING_KEY")
        return text.removeprefix(_KMS_SIGN) if text.startswith(_KMS_SIGN) else None

    @property
    def allowed_origins(self) -> frozenset[str]:
        """The sites whose pages may call the HTTP API."""
        sites = self.text("CORS_ALLOWED_ORIGINS").split(",")
        return frozenset(site.strip() for site in sites)

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
    def budget_limits(self) -> budget.Limits:
        """The numbers of the budget."""
        return budget.Limits(
            quota=self.count("SIUTINDEI_DAILY_QUOTA"),
            floor=self.count("SIUTINDEI_DECISION_FLOOR"),
            reserve=self.count("SIUTINDEI_CODE_RESERVE"),
        )

    @property
    def rules(self) -> Rules:
        """The numbers that decide whether and when mails go."""
        return Rules(
            sign_in=self.limits,
            budget=self.budget_limits,
            settle=self.seconds("SIUTINDEI_SETTLE"),
            soft_bounces=self.count("SIUTINDEI_SOFT_BOUNCES"),
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
    if values["SIUTINDEI_NUDGE"].text == "sns":
        for name in _FOR_SNS:
            if not values[name].text:
                raise Invalid(name, "must be set when SIUTINDEI_NUDGE is sns")
    return Settings(values=values)


def change_settings(settings: Settings, changes: Mapping[str, int]) -> Settings:
    """Give settings of which some have other numbers.

    Raises:
        Invalid: names the setting.
    """
    values = dict(settings.values)
    for name, number in changes.items():
        setting = values[name].setting
        text = _check(setting, str(number))
        values[name] = Value(setting=setting, text=text, source="option")
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
        _check_number(setting, text)
    if form == "link":
        fields.url(name, text)
        if "code" in parse_qs(urlsplit(text).query, keep_blank_values=True):
            raise Invalid(name, "must have no query parameter that is called code")
    if form == "level" and text.upper() not in LEVELS:
        raise Invalid(name, f"must be one of {', '.join(LEVELS)}")
    if form == "nudge" and text not in _NUDGES:
        raise Invalid(name, f"must be one of {', '.join(_NUDGES)}")
    if form == "topic" and not _TOPIC.fullmatch(text):
        raise Invalid(name, "must be the ARN of an SNS topic")
    if form == "queue":
        fields.url(name, text)
    if form == "address" and not _ADDRESS.fullmatch(text):
        raise Invalid(name, "must be an e-mail address, and nothing else")
    shape, why = _SHAPES.get(form, (_ANY, ""))
    if not shape.fullmatch(text):
        raise Invalid(name, why)
    if _is_elsewhere(setting, text):
        return text
    if form == "database" and not text.startswith(_SQLITE):
        raise Invalid(name, "must be sqlite:///PATH or postgresql://USER@HOST:PORT/NAME")
    return _check_path(setting, text)


def _is_elsewhere(setting: Setting, text: str) -> bool:
    """Whether a value names something that is no file of this machine."""
    name, form = setting.name, setting.form
    if form == "signing" and text.startswith(_KMS_SIGN):
        if not _KMS_KEY.fullmatch(text.removeprefix(_KMS_SIGN)):
            raise Invalid(name, f"must be {_KMS_SIGN}KEY, with the id, ARN or alias of a key")
        return True
    is_at_aws = form in {"secret", "signing"} and text.startswith((_SECRETS, _KMS))
    if form == "log" or is_at_aws or form in {"auth", "pool", "group", "region"}:
        _check_at_aws(name, form, text)
        return True
    if form == "mail" and not text.startswith(_MAILDIR):
        if text != _SES:
            _relay(name, text)
        return True
    if form in {"catalogue", "checkpoints"}:
        return _S3.fullmatch(text) is not None
    return form == "database" and text.startswith(_POSTGRES)


def _check_path(setting: Setting, text: str) -> str:
    name, form = setting.name, setting.form
    prefix = _PREFIXES.get(form)
    if prefix is not None and not (text.startswith(prefix) and len(text) > len(prefix)):
        other = f", {_SECRETS}NAME or {_KMS}PATH" if form in {"secret", "signing"} else ""
        raise Invalid(name, f"must be {prefix}PATH{other}; this version knows nothing else")
    if prefix is not None and not Path(text.removeprefix(prefix)).is_absolute():
        # A relative one would be another file in every folder, and memory would lose everything.
        raise Invalid(name, f"must name an absolute path: {prefix}/...")
    return text


def _check_at_aws(name: str, form: Form, text: str) -> None:
    if form == "region" and not _REGION.fullmatch(text):
        raise Invalid(name, "must be the name of a region, such as ap-southeast-1")
    secret = text.removeprefix(_SECRETS) if text.startswith(_SECRETS) else None
    if (
        secret is not None
        and form in {"secret", "signing", "auth"}
        and not _SECRET.fullmatch(secret)
    ):
        raise Invalid(name, f"must be {_SECRETS}NAME, with the name or the ARN of a secret")
    if (
        form in {"secret", "signing"}
        and text.startswith(_KMS)
        and not Path(text.removeprefix(_KMS)).is_absolute()
    ):
        raise Invalid(name, f"must name an absolute path: {_KMS}/...")
    if form == "auth" and secret is None and text not in {"url", "iam"}:
        raise Invalid(name, f"must be url, iam or {_SECRETS}NAME")
    if form == "pool" and not _POOL.fullmatch(text):
        raise Invalid(name, "must be the id of a user pool, such as ap-southeast-1_Example1")
    if form == "group" and re.search(r"\s", text):
        raise Invalid(name, "must be the name of a group, without a blank")


def _check_number(setting: Setting, text: str) -> None:
    name = setting.name
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise Invalid(name, f"must be a whole number of at most {_DIGITS} digits")
    if int(text) < setting.least:
        raise Invalid(name, f"must be at least {setting.least}")
    if int(text) > setting.most:
        raise Invalid(name, f"must be at most {setting.most}")


def _relay(name: str, text: str) -> Relay:
    """Read the address of a mail server; what is wrong with it is said without it."""
    form = f"must be {_MAILDIR}PATH, smtp://HOST:PORT, smtps://HOST:PORT or {_SES}"
    try:
        parts = urlsplit(text)
        port = parts.port or _SMTP[parts.scheme]
    except (KeyError, ValueError):
        raise Invalid(name, form) from None
    host, user, password = parts.hostname or "", parts.username, unquote(parts.password or "")
    if not _HOST.fullmatch(host) or parts.path not in {"", "/"} or parts.fragment:
        raise Invalid(name, form)
    if parts.query not in {"", _REQUIRED} or (parts.query and parts.scheme != "smtp"):
        raise Invalid(name, f"takes nothing behind the port but smtp://HOST:PORT?{_REQUIRED}")
    if user is not None:
        user = unquote(user)
        if not (user and password and (user + password).isascii()):
            raise Invalid(name, "needs a user and a password in ASCII, or neither")
    return Relay(
        host=host,
        port=port,
        is_tls=parts.scheme == "smtps",
        # A password is not told to whoever happens to answer.
        needs_tls=bool(parts.query) or user is not None,
        user=user,
        password=password,
    )
