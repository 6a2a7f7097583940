"""`budget`, as its users give it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from tests.app.test_sending import ACCOUNT, FakeSes
from tests.entrypoints.commands import EMAIL, Cli
from tests.support import VirtualClock

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Give the command line on an empty home."""
    return Cli(tmp_path / "home")


def test_the_budget_of_an_empty_home(cli: Cli) -> None:
    """Nothing is used; what is kept for codes and decisions is left to nobody else."""
    assert {
        "used": 0,
        "limit": 1000,
        "reserve": {"sign_in_code": 300, "ticket_decided": 100},
        "left": {"sign_in_code": 900, "ticket_received": 600, "ticket_decided": 700},
        "counts": {"sign_in_code": 0, "ticket_received": 0, "ticket_decided": 0},
        "waiting": {"sign_in_code": 0, "ticket_received": 0, "ticket_decided": 0},
        "forecast": {"last_hour": 0, "full_at": None},
        "ses": None,
        "findings": [],
    } == cli.json("budget")


def test_what_went_is_used(cli: Cli) -> None:
    """A code and a notice that were sent are counted, and are left no more."""
    cli("sign-in", "start", EMAIL)
    cli.access()
    cli("worker", "--once")
    found = cli.json("budget")

    assert (2, 1000) == (found["used"], found["limit"])
    assert {"sign_in_code": 299, "ticket_decided": 100} == found["reserve"]
    assert {"sign_in_code": 898, "ticket_received": 599, "ticket_decided": 699} == found["left"]
    assert 2 == found["forecast"]["last_hour"]


def test_a_table_for_people(cli: Cli) -> None:
    """Each kind has a line, and the forecast is a sentence."""
    cli.access()
    cli("worker", "--once")
    lines = cli("budget").out.splitlines()

    assert ["kind", "used", "kept for it", "left", "waiting"] == lines[0].split("  ")[:1] + [
        part.strip() for part in lines[0].split("  ")[1:] if part.strip()
    ]
    assert ["ticket_received", "1", "-", "599", "0"] == lines[2].split()
    assert "used       1 of 1000 in 24 hours" in lines
    assert "full       not full at that rate" in lines


def test_a_budget_that_is_used_up(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What waits is shown, and that it is full; no attempt was made."""
    for name, value in (("DAILY_QUOTA", "1"), ("DECISION_FLOOR", "0"), ("CODE_RESERVE", "0")):
        monkeypatch.setenv(f"SIUTINDEI_{name}", value)
    cli("sign-in", "start", EMAIL)
    cli.access()
    worked = cli.json("worker", "--once")
    found = cli.json("budget")

    assert 1 == worked["deferred"]
    assert {"sign_in_code": 0, "ticket_received": 1, "ticket_decided": 0} == found["waiting"]
    assert {0} == set(found["left"].values())
    assert None is not found["forecast"]["full_at"]
    assert "HKT" in cli("budget").out
    (item,) = cli.json("notification", "list", "--status", "deferred")["items"]
    assert 0 == item["attempts"]


def test_numbers_that_leave_nothing_to_somebody(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The budget and the doctor say which mails would wait forever, and how to mend it."""
    monkeypatch.setenv("SIUTINDEI_DAILY_QUOTA", "200")
    done = cli("budget", code=1)
    document = cli.json("doctor", code=1)

    assert "wrong: ticket_received, ticket_decided: no such mail is ever sent" in done.out
    (problem,) = document["problems"]
    assert problem["what"].endswith("keep all of SIUTINDEI_DAILY_QUOTA for others")
    assert "make them less than 200, together" == problem["mend"]


# --- beside SES -----------------------------------------------------------------------------------


@pytest.fixture
def ses(monkeypatch: pytest.MonkeyPatch) -> FakeSes:
    """Give an account that mails go to, from which nothing was sent."""
    monkeypatch.setenv("SIUTINDEI_MAIL", "ses")
    made = FakeSes()
    made.state = attrs.evolve(ACCOUNT, sent=0.0)
    return made


def test_what_ses_counts_stands_beside_it(tmp_path: Path, ses: FakeSes) -> None:
    """The account's own numbers, when mails go there."""
    cli = Cli(tmp_path / "home", ses_settings=ses)

    assert {"used": 0, "limit": 1000} == cli.json("budget")["ses"]
    assert "SES        0 of 1000 in 24 hours" in cli("budget").out
    ses.state = attrs.evolve(ses.state, quota=-1.0)
    assert "SES        0 of any number in 24 hours" in cli("budget").out


def test_a_quota_above_the_one_of_ses(tmp_path: Path, ses: FakeSes) -> None:
    """Exit code 1, with what to set."""
    ses.state = attrs.evolve(ses.state, quota=200.0)
    cli = Cli(tmp_path / "home", ses_settings=ses)

    assert "set it to 200, or ask AWS for more" in cli("budget", code=1).out
    assert 1 == len(cli.json("budget", code=1)["findings"])


def test_ses_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 75 says that SES could not be reached, in a line."""
    monkeypatch.setenv("SIUTINDEI_MAIL", "ses")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    done = Cli(tmp_path / "home")("budget", code=75)

    assert "cannot be reached" in done.err
    assert 1 == len(done.err.splitlines())


def test_the_budget_of_another_day(tmp_path: Path) -> None:
    """What had gone by then is what counts; before the first event there is nothing to say."""
    clock = VirtualClock()
    cli = Cli(tmp_path / "home", clock=clock)
    cli.access()
    before = clock.now().isoformat()
    clock.advance(hours=1)
    cli("worker", "--once")

    assert (0, 1) == (cli.json("budget", "--at", before)["used"], cli.json("budget")["used"])
    assert "at" == cli.json("budget", "--at", "yesterday", code=2)["field"]
    cli("budget", "--at", "2001-01-01T00:00:00Z", code=3)
