"""Policy files: the numbers of the rules, by the names of the settings, with their bounds."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from siutindei.adapters.policy_file import SETTINGS, read_policy
from siutindei.domain.errors import Invalid
from siutindei.settings import read_settings

if TYPE_CHECKING:
    from siutindei.app.rules import Rules

NOW: Final = read_settings({}, home=Path("/nowhere"))
#: Another value of everything that a policy can change.
EVERYTHING: Final[dict[str, Any]] = {
    "SIUTINDEI_CODE_TTL": 601,
    "SIUTINDEI_CODE_COOLDOWN": 61,
    "SIUTINDEI_CODES_PER_ADDRESS": 6,
    "SIUTINDEI_CODES_PER_CLIENT": 301,
    "SIUTINDEI_UNPROVED_HOURLY": 61,
    "MAX_CHALLENGE_ATTEMPTS": 4,
    "SIUTINDEI_SOFT_BOUNCES": 4,
    "SIUTINDEI_DAILY_QUOTA": 1001,
    "SIUTINDEI_DECISION_FLOOR": 101,
    "SIUTINDEI_CODE_RESERVE": 301,
    "SIUTINDEI_SETTLE": 901,
    "ATTEMPTS": 4,
    "BACKOFF": {"sign_in_code": [0.5, 1]},
    "RESENT_AFTER_UNKNOWN": {"sign_in_code": True},
    "LOOK": 31,
    "SOFT_BOUNCE_WINDOW": 86_400,
    "SUPPRESSION_TERM": 604_800,
}


def read(folder: Path, document: object, name: str = "policy.json") -> Rules:
    """Read a policy."""
    path = folder / name
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return read_policy(path, NOW)


def test_an_empty_policy_changes_nothing(tmp_path: Path) -> None:
    """What a file does not name stays as the installation has it."""
    assert NOW.rules == read(tmp_path, {})


@pytest.mark.parametrize("name", EVERYTHING)
def test_each_name_changes_the_rules(tmp_path: Path, name: str) -> None:
    """Every name that there is changes one number."""
    changed = read(tmp_path, {name: EVERYTHING[name]})

    assert NOW.rules != changed
    before, after = (attrs.asdict(rules) for rules in (NOW.rules, changed))
    assert 1 == sum(before[part] != after[part] for part in before), (
        "one part of the rules is another one"
    )


def test_every_setting_of_the_rules_is_known() -> None:
    """The settings that a policy can change are those that this test changes."""
    assert set(SETTINGS) <= set(EVERYTHING)


def test_what_is_not_named_of_a_kind_stays(tmp_path: Path) -> None:
    """Waits are changed kind by kind."""
    retries = read(tmp_path, {"BACKOFF": {"sign_in_code": [0.5]}}).retries

    assert (timedelta(seconds=0.5),) == retries.backoff["sign_in_code"]
    assert NOW.rules.retries.backoff["ticket_decided"] == retries.backoff["ticket_decided"]


def test_a_mark_at_the_beginning_is_no_matter(tmp_path: Path) -> None:
    """Some editors write one."""
    assert timedelta(seconds=2) == read(tmp_path, '\ufeff{"LOOK": 2}').retries.look


def test_toml_says_the_same(tmp_path: Path) -> None:
    """A file in TOML has the same names."""
    toml = "SIUTINDEI_CODE_COOLDOWN = 240\n[BACKOFF]\nsign_in_code = [1, 2.5]\n"
    said = {"SIUTINDEI_CODE_COOLDOWN": 240, "BACKOFF": {"sign_in_code": [1, 2.5]}}

    assert read(tmp_path, said) == read(tmp_path, toml, "policy.toml")


@pytest.mark.parametrize(
    ("document", "field", "why"),
    [
        ({"COOLDOWN": 1}, "policy", "there is no 'COOLDOWN'; there are SIUTINDEI_CODE_TTL, "),
        ({"SIUTINDEI_HOME": "/"}, "policy", "SUPPRESSION_TERM"),
        ({"SIUTINDEI_CODE_TTL": "300"}, "SIUTINDEI_CODE_TTL", "must be a whole number"),
        ({"SIUTINDEI_CODE_TTL": True}, "SIUTINDEI_CODE_TTL", "must be a whole number"),
        ({"SIUTINDEI_CODE_TTL": 59}, "SIUTINDEI_CODE_TTL", "must be at least 60"),
        ({"SIUTINDEI_CODE_COOLDOWN": -1}, "SIUTINDEI_CODE_COOLDOWN", "must be a whole number of"),
        ({"MAX_CHALLENGE_ATTEMPTS": 11}, "MAX_CHALLENGE_ATTEMPTS", "must be at most 10"),
        ({"ATTEMPTS": 0}, "ATTEMPTS", "must be from 1 to 20"),
        ({"ATTEMPTS": 1.5}, "ATTEMPTS", "must be a whole number"),
        ({"BACKOFF": [1]}, "BACKOFF", "must name kinds of mail: sign_in_code, "),
        ({"BACKOFF": {"letter": [1]}}, "BACKOFF", "must name kinds of mail: sign_in_code, "),
        ({"BACKOFF": {"sign_in_code": 1}}, "BACKOFF", "sign_in_code: must be a list of seconds"),
        ({"BACKOFF": {"sign_in_code": []}}, "BACKOFF", "sign_in_code: must be a list of seconds"),
        ({"BACKOFF": {"sign_in_code": ["1"]}}, "BACKOFF", "must be a number"),
        ({"BACKOFF": {"sign_in_code": [86_401]}}, "BACKOFF", "must be from 0 to 86400"),
        ({"RESENT_AFTER_UNKNOWN": {"sign_in_code": 1}}, "RESENT_AFTER_UNKNOWN", "true or false"),
        ({"LOOK": 0}, "LOOK", "must be from 1 to 86400"),
        ({"LOOK": False}, "LOOK", "must be a number"),
        ([], "policy", "must be an object of names and numbers"),
        ("{", "policy", "is not JSON"),
        ('{"LOOK": 2, "LOOK": 3}', "policy", "is not JSON (a name stands in it twice)"),
        ('{"LOOK": NaN}', "policy", "is not JSON (NaN is no number)"),
        ({"SOFT_BOUNCE_WINDOW": -1}, "SOFT_BOUNCE_WINDOW", "must be from 0 to 3196800"),
        ("[" * 100_000, "policy", "is longer than 65536 bytes"),
        ("[" * 60_000, "policy", "is not JSON"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_wrong_policy_is_refused(tmp_path: Path, document: object, field: str, why: str) -> None:
    """What is wrong is named, and what there is."""
    with pytest.raises(Invalid) as refused:
        read(tmp_path, document)

    assert field == refused.value.field
    assert why in refused.value.why


def test_wrong_toml_is_refused(tmp_path: Path) -> None:
    """What is no TOML, and what is no text, is refused likewise."""
    with pytest.raises(Invalid, match="is not TOML"):
        read(tmp_path, "=", "policy.toml")
    path = tmp_path / "bytes.toml"
    path.write_bytes(b"\xff")
    with pytest.raises(Invalid, match="is not TOML"):
        read_policy(path, NOW)
