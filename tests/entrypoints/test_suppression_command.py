"""`suppression` and `lane` as people and scripts use them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from siutindei.app.ports import Unavailable
from tests.app.test_suppressions import SesList
from tests.aws_events import published
from tests.entrypoints.commands import EMAIL, Cli
from tests.entrypoints.test_feedback_command import write
from tests.entrypoints.test_homes import refused
from tests.entrypoints.test_transfer import restore

if TYPE_CHECKING:
    from pathlib import Path

ADD = ("suppression", "add", EMAIL, "--by", "op", "--reason", "asked")


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Give a home."""
    return Cli(tmp_path / "home")


def test_a_bounce_shows_up_in_the_list_and_is_lifted(cli: Cli, tmp_path: Path) -> None:
    """From the report that was ingested to the person who lifts it."""
    cli.access()
    cli("worker", "--once")
    (notice,) = cli.json("notification", "list")["items"]
    report = write(tmp_path, published("Bounce", tag=notice["id"]))
    told = cli("feedback", "ingest", report).out
    (item,) = cli.json("suppression", "list")["items"]
    (problem,) = cli.json("doctor", code=1)["problems"]
    lifted = cli.json("suppression", "lift", item["fingerprint"], "--by", "op", "--reason", "ok")

    assert "suppressed" in told
    assert {"address": "s***@lx-software.com", "reason": "bounce", "active": True}.items() <= (
        item.items()
    )
    assert item["evidence"].startswith("notification-")
    assert "the support mailbox is suppressed" in problem["what"]
    assert f"lift {item['fingerprint']}" in problem["mend"]
    assert not lifted["active"]
    assert "nobody is suppressed" in cli("suppression", "list").out
    assert 1 == len(cli.json("suppression", "list", "--all")["items"])


def test_an_address_is_shown_to_whoever_says_who_looks(cli: Cli) -> None:
    """Masked by default; revealed, it is recorded who looked."""
    shown = cli(*ADD).out
    revealed = cli("suppression", "list", "--reveal", "--by", "eve").out

    assert EMAIL not in shown + cli("suppression", "list").out
    assert EMAIL in revealed
    assert "access.opened.v1" == cli.events()[-1]


def test_what_is_refused(cli: Cli) -> None:
    """Each with its exit code, in one line."""
    lift = ("suppression", "lift", EMAIL, "--by", "op", "--reason", "x")
    assert "suppression" in refused(cli("--json", *lift, code=3))
    cli(*ADD)
    cli(*lift)
    assert "is not suppressed" in refused(cli("--json", *lift, code=1))
    assert "address" in refused(cli("--json", *ADD[:2], "nobody", *ADD[3:], code=2))
    assert "SIUTINDEI_MAIL=ses" in refused(cli("--json", "suppression", "drift", code=2))
    assert "not halted" in refused(
        cli("--json", "lane", "resume", "codes", "--by", "op", "--reason", "x", code=1)
    )


def test_the_lists_are_compared(cli: Cli) -> None:
    """A drift is a finding; after a sync there is none."""
    ses = SesList()
    cli.seams["ses_suppressions"] = ses
    ses.put("seen@example.com", "BOUNCE")
    (item,) = cli.json("suppression", "drift", code=1)["items"]
    told = cli("suppression", "sync").out

    assert ("only_at_ses", "s***@example.com") == (item["where"], item["address"])
    assert "at SES alone" in told
    assert {"items": []} == cli.json("suppression", "drift")
    assert "the lists agree" in cli("suppression", "drift").out


def test_a_restored_lane_waits_for_the_suppressions(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What bounced after the backup is on SES's list alone: it is taken over first."""
    resume = ("lane", "resume", "codes", "--by", "op", "--reason", "the reports are in")
    cli.access()
    cli("database", "backup", str(tmp_path / "a.db"))
    cli.seams.pop("store", None)
    restore(cli, tmp_path / "a.db")
    ses = SesList()
    ses.put("seen@example.com", "BOUNCE")
    cli.seams["ses_suppressions"] = ses
    monkeypatch.setenv("SIUTINDEI_MAIL", "ses")
    line = refused(cli("--json", *resume, code=1))
    cli("suppression", "sync")
    (item,) = cli.json(*resume)["items"]

    assert "1 addresses that are not suppressed here" in line
    assert "suppression sync" in line
    assert not item["halted"]


def test_ses_that_cannot_be_reached_is_for_later(cli: Cli) -> None:
    """Exit code 75: nothing was changed."""

    class Away(SesList):
        """SES, away."""

        def list(self) -> object:  # type: ignore[override]
            raise Unavailable("SES cannot be reached; try again")

    cli.seams["ses_suppressions"] = Away()

    assert "cannot be reached" in refused(cli("--json", "suppression", "sync", code=75))


def test_lanes_are_shown_halted_and_resumed(cli: Cli) -> None:
    """What a person halted waits for one, and `doctor` says so."""
    why = ("--by", "op", "--reason", "wrong text")
    halted = cli.json("lane", "halt", "tickets", *why)["items"]
    (problem,) = cli.json("doctor", code=1)["problems"]
    shown = cli("lane", "list").out
    cli("lane", "resume", "tickets", *why)

    assert [("tickets", True, "person")] == [
        (item["name"], item["halted"], item["why"]) for item in halted
    ]
    assert "no mail of the lane tickets goes (person)" in problem["what"]
    assert "codes" in shown
    assert cli.json("doctor")["ok"]
