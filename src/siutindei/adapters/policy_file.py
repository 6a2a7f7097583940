"""Policy files: numbers of the rules, in JSON or TOML, by the names of the settings."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.domain.errors import Invalid
from siutindei.domain.notification import KINDS
from siutindei.settings import change_settings

if TYPE_CHECKING:
    from pathlib import Path

    from siutindei.app.rules import Rules
    from siutindei.settings import Settings

#: The settings that a policy can change.
SETTINGS: Final = (
    "SIUTINDEI_CODE_TTL", "SIUTINDEI_CODE_COOLDOWN", "SIUTINDEI_CODES_PER_ADDRESS",
    "SIUTINDEI_CODES_PER_CLIENT", "SIUTINDEI_UNPROVED_HOURLY", "MAX_CHALLENGE_ATTEMPTS",
    "SIUTINDEI_SOFT_BOUNCES", "SIUTINDEI_DAILY_QUOTA", "SIUTINDEI_DECISION_FLOOR",
    "SIUTINDEI_CODE_RESERVE", "SIUTINDEI_SETTLE",
)  # fmt: skip
#: Nothing is put off for longer than two days (`due.FARTHEST`), with jitter.
_DAY: Final = 86_400
#: Older soft bounces are forgotten (`suppression.evolve`).
_WINDOW: Final = 37 * _DAY
_TERM: Final = 3650 * _DAY
_MOST_ATTEMPTS: Final = 20
_LARGEST: Final = 65_536

_Change = Callable[["Rules", str, Any], "Rules"]


def read_policy(path: Path, settings: Settings) -> Rules:
    """Read a policy file: the rules of an installation, with what the file changes.

    Raises:
        Invalid: names what is wrong in it, and says what there is.
        OSError: it cannot be read.
    """
    document = _parse(path)
    for name in document:
        if name not in SETTINGS and name not in _OTHERS:
            known = ", ".join((*SETTINGS, *_OTHERS))
            raise Invalid("policy", f"there is no {name[:60]!r}; there are {known}")
    numbers = {name: _whole(name, document[name]) for name in SETTINGS if name in document}
    rules = change_settings(settings, numbers).rules
    for name, change in _OTHERS.items():
        if name in document:
            rules = change(rules, name, document[name])
    return rules


def _parse(path: Path) -> Mapping[str, Any]:
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise Invalid("policy", f"{path} is longer than {_LARGEST} bytes")
    try:
        if path.suffix == ".toml":
            return tomllib.loads(data.decode("utf-8-sig"))
        document = json.loads(
            data.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_no_number
        )
    except (ValueError, RecursionError) as error:
        what = "TOML" if path.suffix == ".toml" else "JSON"
        raise Invalid("policy", f"{path} is not {what} ({error})") from None
    if not isinstance(document, dict):
        raise Invalid("policy", f"{path} must be an object of names and numbers")
    return document


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Make an object of names that stand in it once."""
    found = dict(pairs)
    if len(found) < len(pairs):
        msg = "a name stands in it twice"
        raise ValueError(msg)
    return found


def _no_number(text: str) -> float:
    msg = f"{text} is no number"
    raise ValueError(msg)


# --- values ---------------------------------------------------------------------------------------


def _whole(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(name, "must be a whole number")
    return value


def _between(name: str, value: object, least: float, most: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Invalid(name, "must be a number")
    if not least <= value <= most:
        raise Invalid(name, f"must be from {least} to {most}")
    return value


def _seconds(name: str, value: object, *, most: float) -> timedelta:
    return timedelta(seconds=_between(name, value, 0, most))


def _by_kind(name: str, value: object) -> Mapping[Any, Any]:
    if not isinstance(value, dict) or not value.keys() <= set(KINDS):
        raise Invalid(name, f"must name kinds of mail: {', '.join(KINDS)}")
    return value


def _attempts(rules: Rules, name: str, value: object) -> Rules:
    attempts = _whole(name, value)
    _between(name, attempts, 1, _MOST_ATTEMPTS)
    return attrs.evolve(rules, retries=attrs.evolve(rules.retries, attempts=attempts))


def _backoff(rules: Rules, name: str, value: object) -> Rules:
    given = {}
    for kind, waits in _by_kind(name, value).items():
        if not isinstance(waits, list) or not waits:
            raise Invalid(name, f"{kind}: must be a list of seconds")
        given[kind] = tuple(_seconds(name, wait, most=_DAY) for wait in waits)
    backoff = {**rules.retries.backoff, **given}
    return attrs.evolve(rules, retries=attrs.evolve(rules.retries, backoff=backoff))


def _resent(rules: Rules, name: str, value: object) -> Rules:
    given = _by_kind(name, value)
    if not all(isinstance(resent, bool) for resent in given.values()):
        raise Invalid(name, "must say true or false of each kind")
    resent = {**rules.retries.resent_after_unknown, **given}
    return attrs.evolve(rules, retries=attrs.evolve(rules.retries, resent_after_unknown=resent))


def _look(rules: Rules, name: str, value: object) -> Rules:
    look = timedelta(seconds=_between(name, value, 1, _DAY))
    return attrs.evolve(rules, retries=attrs.evolve(rules.retries, look=look))


def _window(rules: Rules, name: str, value: object) -> Rules:
    window = _seconds(name, value, most=_WINDOW)
    return attrs.evolve(rules, terms=attrs.evolve(rules.terms, window=window))


def _term(rules: Rules, name: str, value: object) -> Rules:
    term = _seconds(name, value, most=_TERM)
    return attrs.evolve(rules, terms=attrs.evolve(rules.terms, term=term))


#: What is no setting, and how it changes the rules.
_OTHERS: Final[Mapping[str, _Change]] = {
    "ATTEMPTS": _attempts,
    "BACKOFF": _backoff,
    "RESENT_AFTER_UNKNOWN": _resent,
    "LOOK": _look,
    "SOFT_BOUNCE_WINDOW": _window,
    "SUPPRESSION_TERM": _term,
}
