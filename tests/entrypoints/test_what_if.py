"""`history what-if`: what would differ, for people and for builds."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from siutindei.domain.challenge import TooManySignIns
from tests.entrypoints.commands import EMAIL, Cli, process

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import VirtualClock


@pytest.fixture(name="history")
def _history(cli: Cli, clock: VirtualClock) -> Cli:
    """Let somebody ask for four codes, and submit a ticket that is declined."""
    for seconds in (90, 250, 600, 0):
        cli("sign-in", "start", EMAIL)
        clock.advance(seconds=seconds)
    reference = cli.access()
    cli("worker", "--once")
    cli("ticket", "decline", reference, "--by", "admin-7")
    cli("worker", "--once")
    clock.advance(hours=1)
    return cli


def policy(folder: Path, **changes: Any) -> str:
    """Write a policy, and give its path."""
    path = folder / "policy.json"
    path.write_text(json.dumps(changes), encoding="utf-8")
    return str(path)


def test_a_policy_that_changes_nothing(history: Cli, tmp_path: Path) -> None:
    """Nothing would differ, everything was enacted as it was, and the exit code is 0."""
    document = history.json("history", "what-if", "--policy", policy(tmp_path))

    assert {"mails": 6, "same": 6, "unlike": []} == document["fidelity"]
    assert [] == document["added"] + document["removed"] + document["changed"]
    assert [] == document["refused"] + document["budget"]
    assert document["not_enacted"]


def test_a_longer_cool_down(history: Cli, tmp_path: Path) -> None:
    """The code that would not be mailed is named, for programs and for people."""
    file = policy(tmp_path, SIUTINDEI_CODE_COOLDOWN=240)
    document = history.json("history", "what-if", "--policy", file, code=1)
    (removed,) = document["removed"]
    shown = history("history", "what-if", "--policy", file, code=1).out

    assert ("sign_in_code", None) == (removed["kind"], removed["after"])
    assert "mailed" == removed["before"]["fate"]
    assert removed["why"].startswith("given again: ")
    assert removed["event"].startswith("challenge-cli-")
    assert removed["event"] in shown
    assert "Removed: would not be mailed, and are" in shown
    assert [] == document["added"] + document["changed"]


def test_each_list_is_shown(history: Cli, tmp_path: Path, clock: VirtualClock) -> None:
    """Refused sign-ins, short days, late mails and what is not as it was have their lists."""
    file = policy(
        tmp_path,
        SIUTINDEI_CODES_PER_ADDRESS=3,
        SIUTINDEI_DAILY_QUOTA=4,
        SIUTINDEI_CODE_RESERVE=0,
        SIUTINDEI_DECISION_FLOOR=0,
    )
    clock.advance(days=2)
    words = ("history", "what-if", "--policy", file)
    shown = history(*words, code=1, env={"SIUTINDEI_CODE_COOLDOWN": "100"}).out

    for title in (
        "Changed: would be mailed at another time, or have another fate",
        "Enacted under the rules of now, and yet not as it was",
        "Days short of budget",
        "Not enacted",
    ):
        assert f"\n{title}\n" in shown
    assert "\nSign-ins that would be refused\n" in history(*words, code=1).out


def test_a_mail_that_would_be_added(cli: Cli, tmp_path: Path, clock: VirtualClock) -> None:
    """What was refused is added where the limit is higher, and sent again where it may be."""
    for _ in range(5):
        cli("sign-in", "start", EMAIL)
        clock.advance(seconds=61)
    cli("sign-in", "start", EMAIL, code=1)
    clock.advance(hours=1)
    file = policy(tmp_path, SIUTINDEI_CODES_PER_ADDRESS=6)
    shown = cli("history", "what-if", "--policy", file, code=1).out

    assert "Added: would be mailed, and are not" in shown
    assert "not asked for" in shown
    assert TooManySignIns.__name__ not in shown


def test_nothing_is_written_and_nothing_sent(history: Cli, tmp_path: Path) -> None:
    """However often it is asked, the history and the mails are the same."""
    mails = sorted(path.name for path in (history.home / "mail").rglob("*"))

    def digest(number: int) -> Any:
        return history.json("database", "export", str(tmp_path / f"{number}.jsonl"))["digest"]

    before = digest(0)
    for _ in range(3):
        file = policy(tmp_path, SIUTINDEI_CODE_COOLDOWN=240)
        history("history", "what-if", "--policy", file, code=1)

    assert before == digest(1)
    assert mails == sorted(path.name for path in (history.home / "mail").rglob("*"))


def test_a_wrong_policy_ends_with_a_line(cli: Cli, tmp_path: Path) -> None:
    """What is wrong in a policy is said in one line, with exit code 2."""
    wrong = policy(tmp_path, COOLDOWN=240)
    done = cli("history", "what-if", "--policy", wrong, code=2)
    assert done.err.startswith("siutindei: policy: there is no 'COOLDOWN'; there are SIUTINDEI_")
    assert 1 == done.err.count("\n")
    # Nothing was opened for it.
    assert not cli.home.exists()

    missing = cli("history", "what-if", "--policy", str(tmp_path / "none.json"), code=2)
    assert "none.json: No such file or directory" in missing.err


@pytest.mark.slow
def test_the_demo_is_enacted_as_it_was(tmp_path: Path) -> None:
    """The whole story, which took real time, comes out mail by mail."""
    assert 0 == process(tmp_path / "home", "demo").code
    file = policy(tmp_path)
    done = process(tmp_path / "home", "--json", "history", "what-if", "--policy", file)

    assert (0, "") == (done.code, done.err)
    assert [] == done.document["fidelity"]["unlike"]
    assert done.document["mails"] >= 10


def test_a_mail_that_goes_twice(cli: Cli, tmp_path: Path, clock: VirtualClock) -> None:
    """How often a mail would go is shown where that is more than once."""
    from siutindei.adapters.memory_mail import MemoryMail
    from siutindei.app.ports import Report

    mail = MemoryMail(can_tell=False)
    cli = Cli(cli.home, clock=clock, mail=mail)
    reference = cli.access()
    cli("worker", "--once")
    (id,) = [mail.notification_id for mail in mail.sent]
    from siutindei.bootstrap import build
    from siutindei.settings import read_settings
    from tests.support import context

    services = build(read_settings({}, home=cli.home), clock=clock, mail=mail)
    services.feedback.hear(
        context(),
        Report(kind="accepted", name="Send", message_id="another", notification_id=id),
    )
    services.store.close()
    clock.advance(seconds=timedelta(hours=1).total_seconds())
    file = policy(tmp_path, SIUTINDEI_DAILY_QUOTA=1, SIUTINDEI_CODE_RESERVE=1)
    shown = cli("history", "what-if", "--policy", file, code=1).out

    assert reference in shown
    assert "mailed (2 times)" in shown


def test_what_waits_for_ever_is_not_looked_at_for_ever(
    history: Cli, tmp_path: Path, clock: VirtualClock
) -> None:
    """However long ago the history ended, an answer comes, and says that it waits."""
    clock.advance(days=3650)
    file = policy(tmp_path, SIUTINDEI_DECISION_FLOOR=1000)
    removed = history.json("history", "what-if", "--policy", file, code=1)["removed"]

    assert ["waiting"] == list({one["after"]["fate"] for one in removed if one["ticket"]})[:1]
    assert {"ticket_received"} <= {one["kind"] for one in removed}


def test_what_does_not_fit_together_cannot_be_enacted(history: Cli, tmp_path: Path) -> None:
    """It is no fault of the program: the event is named, and who says more."""
    with closing(sqlite3.connect(history.home / "siutindei.db")) as database, database:
        database.execute(
            "UPDATE stored_events SET state = CAST(replace(state, 'R00001', 'R00009') AS BLOB)"
            " WHERE topic = 'ticket.submitted.v1'"
        )
    line = history("history", "what-if", "--policy", policy(tmp_path), code=2).err

    assert "event ticket-R00001/2 cannot be enacted" in line
    assert "doctor --deep" in line
