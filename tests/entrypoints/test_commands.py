"""Every command, as a person at a terminal, a script and an auditor use it."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.memory_queue import MemoryQueue
from siutindei.app.ports import (
    GrantError,
    MailNotSent,
    MailOutcomeUnknown,
    MailRefused,
    Unavailable,
)
from siutindei.domain.notification import STATUSES
from tests.entrypoints.commands import EMAIL, LABEL, ORGANIZATION, Cli

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support import VirtualClock

TICKET_KEYS = {
    *("id", "ticket_id", "ticket_type", "organization_name", "message", "status"),
    *("submitter_email", "submitter_id", "created_at", "reviewed_at", "reviewed_by"),
    *("admin_notes", "description", "suggested_district", "suggested_address", "suggested_lat"),
    *("suggested_lng", "media_urls", "organization_id", "feedback_stars", "feedback_label_ids"),
    *("feedback_text", "created_organization_id"),
}
COUNTS = {"sent", "done", "failed", "refused", "unknown", "deferred", "withheld", "dead_lettered"}


def code_in(home: Path) -> str:
    """Read the code of the newest mail, as a person does."""
    newest = max((home / "mail" / "new").iterdir(), key=lambda path: path.stat().st_mtime_ns)
    found = re.search(r"^[ \t]*(\d{6})[ \t]*$", newest.read_text(encoding="utf-8"), re.MULTILINE)
    assert found is not None
    return found.group(1)


# --- signing in -----------------------------------------------------------------------------------


def test_a_script_signs_somebody_in(cli: Cli) -> None:
    """`sign-in` gives a challenge, counts a wrong code, and takes the right one once."""
    started = cli.json("sign-in", "start", EMAIL, "--locale", "zh-HK")
    assert {"challenge", "expires_at"} == set(started)
    right = code_in(cli.home)
    wrong = f"{(int(right) + 1) % 1_000_000:06d}"

    missed = cli.json("sign-in", "answer", started["challenge"], wrong, code=1)
    assert {"correct": False, "attempts_left": 2} == missed
    passed = cli.json("sign-in", "answer", started["challenge"], f" {right}\n")
    assert {"correct": True, "attempts_left": 0} == passed
    again = cli.json("sign-in", "answer", started["challenge"], right, code=1)
    assert again["correct"] is False


def test_a_person_is_told_how_to_answer(cli: Cli) -> None:
    """What `sign-in start` says can be copied: it names this home, the challenge, and the mail."""
    told = cli("sign-in", "start", EMAIL).out

    assert f"siutindei --home {cli.home} sign-in answer " in told
    assert str(cli.home / "mail" / "new") in told
    challenge = told.split()[1]
    assert "wrong: answers left: 2\n" == cli("sign-in", "answer", challenge, "x", code=1).out
    assert "signed in" in cli("sign-in", "answer", challenge, code_in(cli.home)).out


def test_a_code_that_was_not_mailed_is_not_kept_secret(tmp_path: Path, clock: VirtualClock) -> None:
    """When the mail did not go out, the one who waits for it is told what sends it."""
    mail = MemoryMail()
    for _ in range(2):
        mail.then_raises(MailNotSent("not now"))
    cli = Cli(tmp_path, clock=clock, mail=mail)

    said = cli("sign-in", "start", EMAIL).err
    assert f"siutindei --home {tmp_path} worker --once" in said
    clock.advance(seconds=20)
    assert cli.json("worker", "--once")["sent"] == 1


def test_a_sign_in_that_a_limit_forbids_is_refused(cli: Cli, clock: VirtualClock) -> None:
    """The sixth challenge within an hour is refused with exit code 1 and a way out."""
    for _ in range(5):
        cli("sign-in", "start", EMAIL)
        clock.advance(seconds=61)

    assert "wait an hour" in cli("sign-in", "start", EMAIL, code=1).err


def test_an_unknown_challenge_is_not_found(cli: Cli) -> None:
    """Answering a challenge that was never issued ends with exit code 3."""
    assert "no challenge" in cli.json("sign-in", "answer", "nowhere", "123456", code=3)["error"]


# --- tickets --------------------------------------------------------------------------------------


def test_a_ticket_is_the_contract_s_object(cli: Cli) -> None:
    """Submitting, showing, listing and deciding give the 23 keys, all of them, each time."""
    submitted = cli.submit("--organization-name", " Harbour Chess ", "--suggested-lat", "0")

    assert set(submitted) == TICKET_KEYS
    assert submitted["organization_name"] == "Harbour Chess"
    assert submitted["suggested_lat"] == 0
    assert submitted["status"] == "pending"
    assert submitted == cli.json("ticket", "show", "S00001")
    assert submitted == cli.json("ticket", "show", submitted["id"])
    assert {"items": [submitted], "next_cursor": None} == cli.json("ticket", "list")
    declined = cli.json("ticket", "decline", "S00001", "--by", "admin-7", "--note", "No.")
    assert set(declined) == TICKET_KEYS
    assert ("rejected", "admin-7", "No.") == tuple(
        declined[key] for key in ("status", "reviewed_by", "admin_notes")
    )


def test_every_field_has_an_option(cli: Cli) -> None:
    """What the contract lets a user say can be said with options, and comes back as it was said."""
    cli.catalogue()
    suggestion = cli.submit(
        *("--organization-name", "Harbour Chess", "--description", "a\nb"),
        *("--suggested-district", "Central", "--suggested-address", "1 Pier Road"),
        *("--suggested-lat", "-90", "--suggested-lng", "180", "--additional-notes", "Sat"),
        *("--media-url", "https://a.example.com", "--media-url", "https://b.example.com"),
    )
    feedback = cli.submit(
        *("--organization-id", ORGANIZATION, "--stars", "0", "--label-id", LABEL),
        *("--label-id", LABEL, "--description", "很好"),
        kind="feedback",
    )
    access = cli.submit(
        *("--organization-name", "Star Dance", "--request-message", "Hi"), kind="access-request"
    )

    assert suggestion["description"] == "a\nb"
    assert (-90, 180) == (suggestion["suggested_lat"], suggestion["suggested_lng"])
    assert suggestion["media_urls"] == ["https://a.example.com", "https://b.example.com"]
    assert ("Central", "1 Pier Road", "Sat") == (
        suggestion["suggested_district"],
        suggestion["suggested_address"],
        suggestion["message"],
    )
    assert ("F00001", 0, [LABEL], "很好", "Harbour Chess") == tuple(
        feedback[key]
        for key in (
            *("ticket_id", "feedback_stars", "feedback_label_ids", "feedback_text"),
            "organization_name",
        )
    )
    assert ("R00001", "Hi") == (access["ticket_id"], access["message"])


def test_a_file_says_what_options_say(cli: Cli, tmp_path: Path) -> None:
    """`--input` takes the fields from a file or from standard input, the submitter's too."""
    body = {"user": "u-1", "email": EMAIL, "organization_name": "Star Dance"}
    path = tmp_path / "ticket.json"
    path.write_text(json.dumps(body), encoding="utf-8")

    first = cli.json("ticket", "submit", "access-request", "--input", str(path))
    second = cli.json(
        *("ticket", "submit", "access-request", "--input", "-"), input=json.dumps(body), code=1
    )
    assert first["organization_name"] == "Star Dance"
    assert "R00001 of the same type is still pending" in second["error"]


def test_a_ticket_entered_by_hand_says_that_nobody_vouches_for_it(cli: Cli) -> None:
    """A person is told on standard error that the address is not proved; a script reads no more."""
    words = ("ticket", "submit", "access-request", "--user", "u-1", "--email", EMAIL)
    by_hand = cli(*words, "--organization-name", "Star Dance")

    assert "nobody vouched for this address" in by_hand.err
    assert "address proved by  none" in by_hand.out


def test_people_read_a_ticket_field_by_field(cli: Cli) -> None:
    """`ticket show` writes lines below each other and leaves out what was not said."""
    cli.submit(
        "--organization-name", "星星舞蹈", "--description", "a\nb", "--media-url", "http://x.y"
    )
    shown = cli("ticket", "show", "s00001").out

    assert "organization       星星舞蹈\n" in shown
    assert "description        a\n                   b\n" in shown
    assert "media              http://x.y\n" in shown
    assert "latitude" not in shown
    assert "submitted          2026-01-31 09:30:00 HKT\n" in shown


def test_a_list_is_read_page_by_page(cli: Cli) -> None:
    """Following the cursor gives every ticket once, newest first, for people and for scripts."""
    for user in ("u-1", "u-2", "u-3"):
        words = ("ticket", "submit", "access-request", "--user", user, "--email", EMAIL)
        cli(*words, "--organization-name", user)

    seen: list[str] = []
    cursor: tuple[str, ...] = ()
    while True:
        page = cli.json("ticket", "list", "--limit", "2", *cursor)
        seen += [item["ticket_id"] for item in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = ("--cursor", page["next_cursor"])
    assert ["R00003", "R00002", "R00001"] == seen
    assert "more: --cursor " in cli("ticket", "list", "--limit", "2").out


def test_a_list_is_narrowed(cli: Cli) -> None:
    """Status and type choose; declined and rejected are the same status."""
    cli.submit("--organization-name", "a")
    cli.access()
    cli("ticket", "decline", "R00001", "--by", "admin-7")

    def listed(*words: str) -> list[str]:
        return [item["ticket_id"] for item in cli.json("ticket", "list", *words)["items"]]

    assert ["S00001"] == listed("--status", "pending")
    assert ["R00001"] == listed("--status", "declined") == listed("--status", "rejected")
    assert ["S00001"] == listed("--type", "organization_suggestion")
    assert "no tickets\n" == cli("ticket", "list", "--status", "approved").out


def test_a_decision_stands(cli: Cli) -> None:
    """A second decision, the same one too, ends with exit code 1 and names what was decided."""
    cli.access()
    approved = cli.json("ticket", "approve", "R00001", "--by", "mei", "--create-organization")
    assert approved["created_organization_id"] == approved["organization_id"] is not None

    for words in (("approve", "--create-organization"), ("decline",)):
        refused = cli.json("ticket", words[0], "R00001", "--by", "lee", *words[1:], code=1)
        assert "R00001 was approved before" in refused["error"]


def test_an_access_request_needs_one_organization(cli: Cli) -> None:
    """Approving it with none, with both, or with one that is not there is wrong input."""
    cli.catalogue()
    cli.access()
    approve = ("ticket", "approve", "R00001", "--by", "mei")
    for words in (
        (),
        ("--create-organization", "--organization-id", ORGANIZATION),
        ("--organization-id", LABEL),
    ):
        assert cli.json(*approve, *words, code=2)["field"] == "organization_id"

    assert cli.json(*approve, "--organization-id", ORGANIZATION)["status"] == "approved"


def test_what_does_not_exist_is_not_found(cli: Cli) -> None:
    """Naming what is not there ends with exit code 3, whatever it is."""
    for words in (
        ("ticket", "show", "R00009"),
        ("ticket", "approve", "R00009", "--by", "mei"),
        ("ticket", "decline", "R00009", "--by", "mei"),
        ("notification", "show", "nowhere"),
        ("dead-letter", "show", "nowhere"),
        ("dead-letter", "redrive", "nowhere", "--by", "mei"),
        ("dead-letter", "discard", "nowhere", "--by", "mei", "--reason", "x"),
        ("history", "stream", "ticket-R00009"),
        ("history", "stream", "ticket-R00009", "--at", "1"),
        ("person", "export", "nobody"),
        ("person", "erase", "nobody", "--reason", "x"),
    ):
        refused = cli("--json", *words, code=3)
        assert set(refused.document) == {"error"}
        assert refused.err == f"siutindei: {refused.document['error']}\n"


def test_a_repeated_command_answers_the_same(cli: Cli) -> None:
    """Under one `--command-id`, submitting and deciding are done once and answered twice."""
    submit = ("ticket", "submit", "access-request", "--user", "u-1", "--email", EMAIL)
    first = cli.json("--command-id", "a", *submit, "--organization-name", "Star Dance")
    assert first == cli.json("--command-id", "a", *submit, "--organization-name", "Star Dance")
    decline = ("ticket", "decline", "R00001", "--by", "mei")
    decided = cli.json("--command-id", "b", *decline)

    assert decided == cli.json("--command-id", "b", *decline)
    assert cli.events().count("ticket.declined.v1") == 1


# --- worker and ledger ----------------------------------------------------------------------------


def test_the_worker_counts_what_it_did(cli: Cli) -> None:
    """`worker --once` drains: mails and grants, and then nothing; its log is JSON with ids."""
    cli.access()
    cli("ticket", "approve", "R00001", "--by", "mei", "--create-organization")
    worked = cli("--json", "worker", "--once")

    assert set(worked.document) == COUNTS | {"next_due"}
    assert (2, 2, None) == tuple(worked.document[key] for key in ("sent", "done", "next_due"))
    log = [json.loads(line) for line in worked.err.splitlines()]
    assert {"notification sent", "grant done"} == {entry["event"] for entry in log}
    assert all(entry["correlation_id"] and entry["timestamp"] for entry in log)
    assert "nothing was due\n" == cli("worker", "--once").out


def test_a_mail_that_fails_is_due_later(tmp_path: Path, clock: VirtualClock) -> None:
    """A failed attempt ends the worker with exit code 0, and it says when the next one is due."""
    mail = MemoryMail()
    mail.then_raises(MailNotSent("not now"))
    cli = Cli(tmp_path, clock=clock, mail=mail)
    cli.access()

    told = cli("worker", "--once").out.splitlines()
    (item,) = cli.json("notification", "list", "--status", "failed")["items"]
    assert "1 failed" == told[0]
    assert told[1].startswith("next due: 2026-01-31 09:30:")
    assert ("not now", 1) == (item["last_error"], item["attempts"])
    assert item["due_at"] == cli.json("worker", "--once")["next_due"]


def test_a_worker_waits_for_a_database_that_is_locked(tmp_path: Path, clock: VirtualClock) -> None:
    """A locked or full database does not end a worker: it says so, waits, and goes on."""

    class Locked:
        """What is due cannot be worked on now; meanwhile somebody stops the worker."""

        def drain(self, **_: object) -> int:
            os.kill(os.getpid(), signal.SIGTERM)
            raise Unavailable("the database is locked; try again")

    cli = Cli(tmp_path, clock=clock, delivery=Locked())
    waited = cli("--json", "worker")
    assert ("waiting", "warning") == tuple(
        json.loads(waited.err)[key] for key in ("event", "level")
    )
    assert waited.document["sent"] == 0
    assert "try again" in cli.json("worker", "--once", code=75)["error"]


def test_a_dead_letter_is_looked_at_and_redriven(tmp_path: Path, clock: VirtualClock) -> None:
    """What failed three times waits for a person, who redrives it; doctor says so meanwhile."""
    mail = MemoryMail()
    for _ in range(3):
        mail.then_raises(MailNotSent("not now"))
    cli = Cli(tmp_path, clock=clock, mail=mail)
    cli.access()
    for _ in range(3):
        cli("worker", "--once")
        clock.advance(minutes=5)
    (letter,) = cli.json("dead-letter", "list")["items"]

    assert ("attempts_exhausted", 3, "R00001") == tuple(
        letter[key] for key in ("why", "calls", "ticket")
    )
    assert letter == cli.json("dead-letter", "show", letter["id"])
    assert "last_error" in cli("dead-letter", "show", letter["id"]).out
    assert "1 dead letters wait" in cli.json("doctor", code=1)["problems"][0]["what"]
    redrive = ("dead-letter", "redrive", "--all", "--by", "ops-1")
    assert cli.json(*redrive, "--dry-run") == {"items": [letter], "dry_run": True}
    done = {"items": [letter], "dry_run": False, "done": "redriven"}
    assert cli.json(*redrive) == done
    assert cli.json("dead-letter", "list") == {"items": []}
    assert cli.json("worker", "--once")["sent"] == 1
    assert "nothing to redrive\n" == cli(*redrive).out
    again = ("dead-letter", "redrive", letter["id"], letter["id"], "--by", "ops-1")
    for words in ((*again, "--dry-run"), again):
        (left,) = cli.json(*words)["items"]
        assert ("accepted", True) == (left["no_op"], left["would_do_nothing"])
    assert "the mail service took it meanwhile" in cli(*again).out
    assert cli.json("worker", "--once")["sent"] == 0


def test_a_dead_letter_is_discarded_with_a_reason(tmp_path: Path, clock: VirtualClock) -> None:
    """A discarded letter leaves the list, is never sent, and its notification says so."""
    mail = MemoryMail()
    mail.then_raises(MailRefused("never"))
    cli = Cli(tmp_path, clock=clock, mail=mail)
    cli.access()
    cli("worker", "--once")
    (letter,) = cli.json("dead-letter", "list")["items"]
    assert "would try again" in cli("dead-letter", "list").out
    discard = ("dead-letter", "discard", letter["id"], "--by", "ops-1")

    assert "--reason" in cli("--json", *discard, code=2).err
    assert cli.json(*discard, "--reason", "told by telephone")["items"] == [letter]
    assert "no dead letters\n" == cli("dead-letter", "list").out
    assert cli.json("notification", "show", letter["id"])["discarded"] is True
    shown = cli.json("dead-letter", "show", letter["id"])
    assert [("discarded", "ops-1", "told by telephone")] == [
        (action["what"], action["by"], action["reason"]) for action in shown["actions"]
    ]
    assert "by ops-1: told by telephone" in cli("dead-letter", "show", letter["id"]).out
    again = cli.json(*discard, "--reason", "again", code=1)
    assert "is discarded, not a dead letter" in again["error"]
    assert cli.json("worker", "--once")["sent"] == 0


def test_what_lies_on_the_queue_is_listed_too(
    tmp_path: Path, clock: VirtualClock, cli: Cli
) -> None:
    """Beside the dead letters, where there is a queue; when it is out of reach, that is said."""
    queue = MemoryQueue(clock)
    queue.put("ann@example.com", reason="not_json")
    queued = Cli(tmp_path, clock=clock, nudges=queue, dead_letter_queue=queue)
    listed = queued.json("dead-letter", "list")
    shown = queued("dead-letter", "list").out
    queue.then_fails(2)
    missed = queued.json("dead-letter", "list")

    assert [("not_json", None)] == [(found["wrong"], found["id"]) for found in listed["queue"]]
    assert "not_json" in shown
    assert "@" not in shown
    assert ([], None) == (missed["items"], missed["queue"])
    assert "out of reach" in missed["queue_problem"]
    assert "was not looked at" in queued("dead-letter", "list").err
    assert "queue" not in cli.json("dead-letter", "list")


def test_which_dead_letters_is_said_in_one_way(cli: Cli) -> None:
    """Ids and `--all` exclude each other, and one of them is needed."""
    for words in ((), ("x", "--all")):
        refused = cli.json("dead-letter", "redrive", "--by", "ops-1", *words, code=2)
        assert refused["field"] == "id"


def test_a_grant_that_fails_is_a_dead_letter_too(tmp_path: Path, clock: VirtualClock) -> None:
    """An organization that is gone when the grant is carried out is laid out for a person."""
    cli = Cli(tmp_path, clock=clock)
    cli.catalogue()
    cli.access()
    cli("ticket", "approve", "R00001", "--by", "mei", "--organization-id", ORGANIZATION)
    (tmp_path / "directory.json").unlink()
    cli("worker", "--once")

    (letter,) = cli.json("dead-letter", "list")["items"]
    assert ("grant", "R00001-organization", "permanent_error") == (
        letter["work"],
        letter["id"],
        letter["why"],
    )
    assert GrantError.__name__ not in letter["last_error"]


def test_an_unknown_outcome_is_shown_as_what_it_is(tmp_path: Path, clock: VirtualClock) -> None:
    """A mail that nobody knows about is unknown, and due when the settle time is over."""
    mail = MemoryMail(can_tell=False, has_feedback=True)
    mail.then_raises(MailOutcomeUnknown("no answer"))
    cli = Cli(tmp_path, clock=clock, mail=mail)
    cli.access()
    worked = cli.json("worker", "--once")

    assert (1, "2026-01-31T01:45:00+00:00") == (worked["unknown"], worked["next_due"])


def test_notifications_are_narrowed(cli: Cli) -> None:
    """Status, kind and ticket choose, and every status can be asked for."""
    cli("sign-in", "start", EMAIL)
    cli.access()

    def listed(*words: str) -> list[str]:
        return [item["kind"] for item in cli.json("notification", "list", *words)["items"]]

    assert ["sign_in_code", "ticket_received"] == listed()
    assert ["ticket_received"] == listed("--ticket", "r00001")
    assert ["sign_in_code"] == listed("--kind", "sign_in_code", "--status", "accepted")
    for status in STATUSES:
        assert len(listed("--status", status)) == (status in {"accepted", "requested"})
    assert "no notifications\n" == cli("notification", "list", "--kind", "ticket_decided").out


def test_a_notification_tells_its_cause_and_its_fate(cli: Cli) -> None:
    """`notification show` gives cause, status, attempts and message id, and no address."""
    cli.access()
    cli("worker", "--once")
    (item,) = cli.json("notification", "list")["items"]

    assert ("ticket-R00001/1", "accepted", 1) == tuple(
        item[key] for key in ("cause", "status", "attempts")
    )
    assert item["message_id"] == f"maildir-{item['id']}"
    assert item == cli.json("notification", "show", item["id"])
    shown = cli("notification", "show", item["id"]).out
    assert "cause          ticket-R00001/1\n" in shown
    assert "@" not in shown


# --- history --------------------------------------------------------------------------------------


def test_an_auditor_reads_a_stream(cli: Cli) -> None:
    """A stream is JSON lines of events in order, and its state at a version or a time."""
    cli.access()
    cli("ticket", "decline", "R00001", "--by", "mei")
    events = cli("--json", "history", "stream", "ticket-R00001").lines

    assert ["ticket-R00001/1", "ticket-R00001/2"] == [event["id"] for event in events]
    assert {"id", "position", "name", "actor", "causation_id", "correlation_id"} < set(events[0])
    for at, status in (("1", "pending"), ("2", "declined"), ("2026-02-01T00:00:00Z", "declined")):
        state = cli.json("history", "stream", "ticket-R00001", "--at", at)["state"]
        assert state["status"] == status
    assert "status" in cli("history", "stream", "ticket-R00001", "--at", "1").out
    assert (
        "no event at that moment"
        in cli.json(
            *("history", "stream", "ticket-R00001", "--at", "2026-01-01T00:00:00Z"), code=3
        )["error"]
    )


def test_the_log_is_read_in_order_and_in_part(cli: Cli) -> None:
    """`history tail` narrows by position, name (with or without version), stream and moment."""
    cli.access()
    cli("ticket", "decline", "R00001", "--by", "mei")

    def names(*words: str) -> list[str]:
        return [event["name"] for event in cli("--json", "history", "tail", *words).lines]

    everything = names()
    assert everything == [
        *("ticket.submitted.v1", "notification.requested.v1"),
        *("ticket.declined.v1", "notification.requested.v1"),
    ]
    assert everything[2:] == names("--after", "2")
    assert everything[:2] == names("--until", "2")
    assert ["ticket.declined.v1"] == names("--type", "ticket.declined")
    assert ["ticket.declined.v1"] == names("--type", "ticket.declined.v1")
    assert ["ticket.submitted.v1", "ticket.declined.v1"] == names("--stream", "ticket-R00001")
    assert [] == names("--until", "2026-01-01T00:00:00+08:00")
    assert everything == names("--follow", "--until", "4")
    assert 4 == len(cli("history", "tail").out.splitlines())
    assert "docs/events.md" in cli.json("history", "tail", "--type", "ticket.lost", code=2)["error"]


def test_following_ends_at_its_moment(cli: Cli, clock: VirtualClock) -> None:
    """`--follow --until TIME` ends when that time is over, and needs nobody to stop it."""
    cli.access()
    clock.advance(hours=1)

    followed = cli("--json", "history", "tail", "--follow", "--until", "2026-01-31T09:31:00+08:00")
    assert len(followed.lines) == 2


def test_the_same_history_gives_the_same_digest(cli: Cli) -> None:
    """A replay counts events, gives one digest each time, another one in part, and adds nothing."""
    cli.access()
    whole, again = cli.json("history", "replay"), cli.json("history", "replay")

    assert {"events", "seconds", "digest"} < set(whole)
    assert (2, whole["digest"]) == (again["events"], again["digest"])
    part = cli.json("history", "replay", "--until", "1")
    assert (1, False) == (part["events"], part["digest"] == whole["digest"])
    one = cli.json("history", "replay", "--projection", "tickets")
    assert one["projections"] == ["tickets"]
    assert cli.json("history", "replay", "--projection", "x", code=2)["field"] == "projection"
    assert f"digest       {whole['digest']}" in cli("history", "replay").out
    assert len(cli.events()) == 2


def test_a_read_model_can_be_seen_as_it_was(cli: Cli) -> None:
    """Its rows at a moment, a JSON document each, whether that was asked for or not."""
    reference = cli.access()
    cli("ticket", "approve", reference, "--by", "adm", "--create-organization")
    rows = ("history", "replay", "--projection", "tickets", "--rows")
    (then,) = cli("--json", *rows, "--until", "1").lines
    (now,) = cli(*rows).lines

    assert ["pending", "approved"] == [row["status"] for row in (then, now)]
    assert "[sealed]" == now["document"]["submitted"]["submitter_email"]
    assert "rows" == cli.json("history", "replay", "--rows", code=2)["field"]


def test_the_log_is_shown_from_a_moment_on(cli: Cli, clock: VirtualClock) -> None:
    """What was recorded before it is left out."""
    cli.access()
    before = clock.now().isoformat()
    clock.advance(hours=1)
    cli.submit("--organization-name", "B")

    assert 4 == len(cli("--json", "history", "tail").lines)
    assert 2 == len(cli("--json", "history", "tail", "--after", before).lines)
    assert "after" == cli.json("history", "tail", "--after", "yesterday", code=2)["field"]


def test_the_log_is_shown_of_one_address(cli: Cli) -> None:
    """Whatever its case; what is about others is left out, and nobody is looked for by nonsense."""
    cli("sign-in", "start", "eve@example.com")
    cli.access()
    found = cli("--json", "history", "tail", "--address", "Eve@Example.com").lines

    assert ["person.signed_up.v1", "challenge.issued.v1", "notification.requested.v1"] == [
        entry["name"] for entry in found
    ]
    assert [] == cli("--json", "history", "tail", "--address", "nobody@example.com").lines
    for what in ("add", "lift"):
        cli("suppression", what, "eve@example.com", "--by", "op", "--reason", "asked")
    found = cli("--json", "history", "tail", "--address", "eve@example.com").lines
    assert ["suppression.suppressed.v1", "suppression.lifted.v1"] == [
        entry["name"] for entry in found[-2:]
    ]
    assert "address" == cli.json("history", "tail", "--address", "eve", code=2)["field"]


def test_a_read_model_is_made_again_and_checked(cli: Cli) -> None:
    """What each command did is told in numbers; going back is told too."""
    cli.access()
    listed = {item["name"]: item for item in cli.json("projection", "list")["items"]}
    made = cli.json("projection", "rebuild", "tickets")
    back = cli.json("projection", "revert", "tickets")
    checked = cli.json("projection", "verify", "tickets")

    assert (1, 1, 1, None, None) == tuple(
        listed["tickets"][key] for key in ("version", "newest", "rows", "building", "previous")
    )
    for document in (made, back, checked):
        assert {"events", "rows", "digest", "switched"} < set(document)
        assert (1, 1, 0, made["digest"]) == tuple(
            document[key] for key in ("events", "rows", "different", "digest")
        )
    assert [(2, True), (1, True), (1, False)] == [
        (document["generation"], document["switched"]) for document in (made, back, checked)
    ]
    row = cli("projection", "list").out.splitlines()[1]
    assert row.split() == [
        "tickets",
        "1",
        "1",
        "1",
        "generation",
        "1",
        "generation",
        "2,",
        "up",
        "to",
        "2",
    ]
    assert "tickets: every row is as it was\n" in cli("projection", "rebuild", "tickets").out
    assert "serves   generation 1\n" in cli("projection", "revert", "tickets").out
    assert "every row is what the history gives\n" in cli("projection", "verify", "tickets").out
    assert "no read model 'nix'" in cli("projection", "rebuild", "nix", code=3).err


def test_a_read_model_that_is_wrong_is_exit_code_4(cli: Cli) -> None:
    """A check that fails names the rows and what to do; a rebuild mends it and says so."""
    cli.access()
    lose_a_row(cli.home)
    checked = cli("projection", "verify", "pending", code=4).out

    assert "pending: 1 rows are not what the history gives: R00001\n" in checked
    assert f"siutindei --home {cli.home} projection rebuild pending\n" in checked
    assert 1 == cli.json("projection", "verify", "pending", code=4)["different"]
    assert "1 rows were different: R00001\n" in cli("projection", "rebuild", "pending").out
    assert cli.json("doctor")["ok"] is True


# --- people, installation -------------------------------------------------------------------------


def test_a_person_is_exported_and_erased(cli: Cli) -> None:
    """The export is in full; after the erasure nothing of it can be read, and that is no error."""
    cli("sign-in", "start", EMAIL)
    user: str = cli("--json", "history", "tail").lines[0]["data"]["user"]
    submit = ("ticket", "submit", "suggestion", "--user", user, "--email", EMAIL)
    cli(*submit, "--organization-name", "Harbour Chess")
    data = cli.json("person", "export", user)
    assert (EMAIL, "Harbour Chess") == (data["email"], data["tickets"][0]["organization_name"])
    shown = cli("person", "export", user).out
    assert EMAIL in shown
    for section in [name for name, value in data.items() if isinstance(value, list)]:
        assert f"\n\n{section}\n" in shown

    erased = cli.json("person", "erase", user, "--by", "ops-1", "--reason", "asked by letter")
    assert (user, True) == (erased["user"], erased["erased_fields"] > 0)
    assert EMAIL not in json.dumps(cli.json("person", "export", user))
    assert EMAIL not in cli("person", "export", user).out
    assert cli.json("ticket", "show", "S00001")["organization_name"] == "[erased]"
    assert "0 fields" in cli("person", "erase", user, "--reason", "again").out


def test_config_says_where_each_setting_came_from(cli: Cli) -> None:
    """Every setting is printed with value and source; an option wins over the environment."""
    env = {"SIUTINDEI_HOME": "/nowhere", "SIUTINDEI_CODE_TTL": "120"}
    found = {item["name"]: item for item in cli.json("config", env=env)["settings"]}

    assert (str(cli.home), "option") == (
        found["SIUTINDEI_HOME"]["value"],
        found["SIUTINDEI_HOME"]["source"],
    )
    assert ("120", "environment") == (
        found["SIUTINDEI_CODE_TTL"]["value"],
        found["SIUTINDEI_CODE_TTL"]["source"],
    )
    assert found["SIUTINDEI_SETTLE"]["source"] == "default"
    assert len(found) == len(cli("config").out.splitlines()) - 1
    assert not cli.home.exists()


def test_doctor_finds_nothing_in_a_fresh_home(cli: Cli) -> None:
    """A home that was just made is well."""
    assert {"ok": True, "problems": []} == cli.json("doctor")
    assert "nothing is wrong\n" == cli("doctor").out


def lose_a_row(home: Path) -> None:
    """Take a row out of a read model, behind the history's back."""
    with closing(sqlite3.connect(home / "siutindei.db")) as connection:
        connection.execute("DELETE FROM pending_1")
        connection.commit()


@pytest.mark.parametrize(
    ("breaks", "says", "mend"),
    [
        (lambda home: (home / "keys/vault-keys.json").unlink(), "is missing", "put it back"),
        (lambda home: (home / "keys/index-key.json").chmod(0o644), "read by others", "chmod 600"),
        (lambda home: (home / "keys/code-keys.json").write_text("x"), "damaged", "put it back"),
        (lambda home: (home / "directory.json").write_text("[]"), "catalogue", "backup"),
        (lambda home: (home / "mail").write_text("x"), "mail cannot be written", "mode"),
        (lambda home: (home / "siutindei.db").write_bytes(b"x" * 9999), "damaged", "backup"),
        (
            lose_a_row,
            "read model pending is not what the history gives in 1 rows",
            "rebuild pending",
        ),
    ],
    ids=["no key", "open key", "bad key", "bad catalogue", "no maildir", "bad file", "bad row"],
)
def test_doctor_says_what_is_wrong_and_how_to_mend_it(
    cli: Cli, breaks: Callable[[Path], object], says: str, mend: str
) -> None:
    """What is broken by hand is found with exit code 1, and said together with the remedy."""
    cli.access()
    breaks(cli.home)
    found = cli.json("doctor", code=1)

    assert found["ok"] is False
    assert says in found["problems"][0]["what"]
    assert mend in str(found["problems"][0])
    assert says in cli("doctor", code=1).out


def test_doctor_finds_an_event_that_no_read_model_is_made_from(cli: Cli) -> None:
    """An event of a kind that this version does not know keeps the books shut, and that is said."""
    cli.access()
    with closing(sqlite3.connect(cli.home / "siutindei.db")) as connection:
        connection.execute(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
            " VALUES ('parcel-x', 1, 'parcel.sent.v1', X'7B7D')"
        )
        connection.commit()
    found = cli.json("doctor", "--deep", code=1)

    assert found["books"] is None
    assert "the books cannot be read: event parcel-x/1" in found["problems"][0]["what"]


def test_doctor_finds_a_damaged_index(cli: Cli) -> None:
    """With --deep the pages of the file are compared, which no list would show to be wrong."""
    cli.access()
    with closing(sqlite3.connect(cli.home / "siutindei.db")) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("DELETE FROM sqlite_schema WHERE name = 'tickets_1_by_status'")
        connection.commit()
    assert cli.json("doctor")["ok"] is True
    (problem,) = cli.json("doctor", "--deep", code=1)["problems"]

    assert "is damaged" in problem["what"]
    assert "restore a backup" == problem["mend"]


def test_doctor_looks_at_the_settings_too(cli: Cli, clock: VirtualClock) -> None:
    """A wrong setting, a misspelt one and an idle worker are findings, not failures."""
    wrong = cli.json("doctor", env={"SIUTINDEI_CODE_TTL": "1"}, code=1)["problems"]
    assert "SIUTINDEI_CODE_TTL: must be at least 60" == wrong[0]["what"]
    misspelt = cli.json("doctor", env={"SIUTINDEI_CODE_TLL": "90"}, code=1)["problems"]
    assert "SIUTINDEI_CODE_TLL is set" in misspelt[0]["what"]
    cli.access()
    clock.advance(minutes=2)

    (overdue,) = cli.json("doctor", code=1)["problems"]
    assert f"start a worker: siutindei --home {cli.home} worker" == overdue["mend"]


# --- the books ------------------------------------------------------------------------------------


def lose_events(home: Path, name: str) -> None:
    """Take events out of the history, which no command of ours can."""
    with closing(sqlite3.connect(home / "siutindei.db")) as connection:
        connection.execute("DELETE FROM stored_events WHERE topic = ?", (name,))
        connection.commit()


def test_doctor_reconciles_the_books_when_it_is_asked_to(cli: Cli) -> None:
    """`--deep` counts what was asked for and what became of it; without it there are no books."""
    cli.access()
    cli("ticket", "approve", "R00001", "--by", "admin-7", "--create-organization")
    cli("worker", "--once")
    found = cli.json("doctor", "--deep")
    told = cli("doctor", "--deep").out
    effects = {"waiting": 0, "unknown": 0, "withheld": 0, "dead_lettered": 0, "discarded": 0}
    done = {"requested": 2, "done": 2, "attempts": 2, "open": 0, **effects}

    assert ["ok", "problems"] == list(cli.json("doctor"))
    assert (True, []) == (found["ok"], found["problems"])
    assert {
        "events": 14,
        "streams": 5,
        "commands": 10,
        "tickets": 1,
        "causes": 4,
        "notifications": done,
        "grants": done,
        "feedback": {"heard": 0, "silent": 0, "parked": 0, "foreign": 0, "applied": 0},
        "next_due": None,
        "findings": 0,
    } == found["books"]
    assert "mails    2 requested: 2 done (2 attempts)" in told
    assert told.endswith("\nnothing is wrong\n")


def test_doctor_says_where_the_books_do_not_add_up(cli: Cli, clock: VirtualClock) -> None:
    """Each finding is a problem that says how to look at it; what is open is counted."""
    cli.access()
    cli("worker", "--once")
    lose_events(cli.home, "notification.accepted.v1")
    lose_events(cli.home, "ticket.submitted.v1")
    clock.advance(minutes=2)
    found = cli.json("doctor", "--deep", code=1)
    whats = [problem["what"] for problem in found["problems"]]
    (problem,) = [each for each in found["problems"] if "nothing in its command" in each["what"]]

    assert 1 == found["books"]["findings"]
    assert "cause is said to be ticket-R00001/1" in problem["what"]
    assert f"siutindei --home {cli.home} history stream notification-" in problem["mend"]
    assert any("read model" in what for what in whats)
    told = cli("doctor", "--deep", code=1).out
    assert "(1 attempts, 1 of them without an outcome)" in told
    assert "nothing in its command asks for it" in told


def test_doctor_counts_what_it_does_not_tell(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a history with more findings than anybody reads, the rest is a number."""
    monkeypatch.setattr("siutindei.app.books.MOST", 0)
    cli.access()
    lose_events(cli.home, "notification.requested.v1")
    whats = [problem["what"] for problem in cli.json("doctor", "--deep", code=1)["problems"]]

    assert "1 more things in the books do not add up" == whats[-1]


def test_books_that_cannot_be_read_are_a_problem(cli: Cli) -> None:
    """What keeps them from being read is said: a file, an event, or a setting."""
    cli.access()
    with closing(sqlite3.connect(cli.home / "siutindei.db")) as connection:
        connection.execute(
            "UPDATE stored_events SET topic = 'ticket.submitted.v99' WHERE rowid = 1"
        )
        connection.commit()
    unreadable = cli.json("doctor", "--deep", code=1)
    assert (None, 2) == (unreadable["books"], len(unreadable["problems"]))
    assert unreadable["problems"][1]["what"].startswith("the books cannot be read: event ticket-")
    assert "install the version that wrote it" == unreadable["problems"][1]["mend"]
    (cli.home / "siutindei.db").write_bytes(b"x" * 9999)
    found = cli.json("doctor", "--deep", code=1)

    assert (None, 1) == (found["books"], len(found["problems"]))
    assert "damaged" in cli("doctor", "--deep", code=1).out
    broken = cli.json("doctor", "--deep", env={"SIUTINDEI_CODE_TTL": "1"}, code=1)
    assert (None, 1) == (broken["books"], len(broken["problems"]))
    assert "mails    none\n" in Cli(cli.home / "other")("doctor", "--deep").out
