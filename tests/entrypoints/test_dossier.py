"""`audit ticket` and `audit access`: the dossier in a terminal, for programs, and to print."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
import subprocess
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from siutindei.app.ports import Unavailable
from siutindei.app.proof import Place
from siutindei.bootstrap import build
from siutindei.entrypoints.dossier_page import page
from siutindei.entrypoints.dossier_words import fate, lasted
from siutindei.settings import read_settings
from tests.app.world import World, make_world
from tests.entrypoints.commands import EMAIL, Cli, command, environment
from tests.entrypoints.test_explain_command import Page
from tests.support import context

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE: Final = "<script>alert(1)</script> \u202eevil\u202c & 'quoted' \"twice\""
LONG: Final = "謝" * 5000


@pytest.fixture(name="told")
def _told(cli: Cli) -> Cli:
    """Let a ticket be approved, and everything that follows be done."""
    cli.access()
    cli("ticket", "approve", "R00001", "--by", "admin-7", "--create-organization", "--note", "Yes!")
    cli("worker", "--once")
    return cli


def looks(cli: Cli, *words: str) -> list[tuple[str, str, str]]:
    """List who looked at what."""
    found = cli.json("audit", "access", *words)["items"]
    return [(one["what"], one["subject"], one["by"]) for one in found]


# --- the terminal ---------------------------------------------------------------------------------


def test_a_dossier_is_read_in_a_terminal(told: Cli) -> None:
    """Section after section, in 80 columns; both clocks, and who looked before."""
    told("audit", "ticket", "R00001", "--by", "bob")
    lines = told("audit", "ticket", "r00001", "--by", "eve").out.splitlines()
    heads = [line for line, below in pairwise(lines) if set(below) == {"-"}]

    assert ["Dossier of R00001", "=" * 17] == lines[:2]
    assert heads == [
        *("Decision", "Mails", "Grants", "Timeline"),
        *("Who looked before", "Proof that the record is intact"),
    ]
    assert [] == [line for line in lines if len(line) > 80]
    for said in (
        "submitted          2026-01-31 09:30:00 HKT (01:30:00 UTC)",
        f"by                 {EMAIL} (u-1)",
        "address proved by  nobody vouched for it",
        "organization       Star Dance 星星",
        "by               admin-7",
        "note             Yes!",
        "after            0 s",
        "  2026-01-31 09:30:00 HKT  attempt 1 was started",
        "  ticket_received: attempt 1 was started",
        "  R00001-manager: attempt 1 of the grant made the change",
        "why             no checkpoint covers the decision",
    ):
        assert said in lines, said
    assert [line for line in lines if line.startswith("2026-01-31 09:30:00 HKT  bob (operator:")]


def test_what_has_not_happened_yet_is_said(cli: Cli) -> None:
    """A ticket that nobody decided, whose mail nobody sent, and that nobody looked at."""
    cli.access()
    out = cli("audit", "ticket", "R00001").out

    assert "Decision\n--------\nnone yet" in out
    assert "Grants\n------\nnone" in out
    assert "Who looked before\n-----------------\nnobody" in out
    assert "nothing is decided yet" in out


def test_a_terminal_is_not_steered(cli: Cli) -> None:
    """What somebody typed stays text, however long it is and whatever is in it."""
    cli.submit("--organization-name", HOSTILE, "--description", LONG)
    cli("ticket", "decline", "S00001", "--by", "admin-7", "--note", f"no\u2066 {HOSTILE}")
    out = cli("audit", "ticket", "S00001").out

    assert LONG in out
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", out)
    assert "organization       <script>alert(1)</script> evil & 'quoted'" in out


def test_programs_get_a_document(told: Cli) -> None:
    """The timeline, the decision, the mails, and what proves it, beside what was said."""
    document = told.json("audit", "ticket", "R00001", "--by", "eve")
    again = told.json("audit", "ticket", document["ticket"]["id"], "--by", "eve")
    decision, (notice, decided) = document["decision"], document["mails"]

    assert {"timeline", "decision", "mails", "proof", "grants", "accesses"} <= set(document)
    assert ("approved", "admin-7", "Yes!", "ticket.decided_once.v1", 0) == tuple(
        decision[name] for name in ("status", "by", "note", "rule", "took_seconds")
    )
    assert ("support", "ticket_received", 64) == (
        notice["recipient"],
        notice["template"],
        len(notice["template_hash"]),
    )
    (attempt,) = decided["attempts"]
    assert "accepted" == attempt["outcome"]
    assert attempt["outcomes"][0]["message_id"].startswith("maildir-")
    first = document["timeline"][0]
    assert ("2026-01-31T01:30:00+00:00", "2026-01-31T09:30:00+08:00", "ticket-R00001/1") == (
        first["at"],
        first["at_hong_kong"],
        first["event"],
    )
    assert {
        "covered": False,
        "event": "ticket-R00001/2",
        "events": len(document["timeline"]),
        "events_covered": 0,
        "why": "no checkpoint covers the decision",
    } == document["proof"]
    assert ([], ["eve"]) == (document["accesses"], [one["by"] for one in again["accesses"]])
    assert "ticket.one_pending_per_user_and_type.v1" == document["submission"]["rule"]


class Log:
    """A checkpoint that covers everything."""

    def covered(self, events: Any) -> dict[str, Place]:
        """Say where the events stand."""
        return {id: Place(index=number, size=99, root="ab") for number, id in enumerate(events)}


def test_a_proof_is_shown(told: Cli, tmp_path: Path) -> None:
    """Where the decision stands in the checkpoint, and what that says of all."""
    proved = Cli(told.home, **told.seams, proofs=Log())
    proof = proved.json("audit", "ticket", "R00001")["proof"]
    proved("audit", "ticket", "R00001", "--html", str(tmp_path / "page.html"))

    assert (True, 99, "ab") == (proof["covered"], proof["size"], proof["root"])
    assert "leaf index" in proved("audit", "ticket", "R00001").out
    assert "<td" in (text := (tmp_path / "page.html").read_text("utf-8"))
    assert "99 events" in text


# --- who looked -----------------------------------------------------------------------------------


def test_every_look_is_recorded(told: Cli) -> None:
    """Dossiers, exports and addresses in clear: one event a call, newest first."""
    told("suppression", "add", EMAIL, "--by", "op", "--reason", "asked")
    told("audit", "ticket", "R00001", "--by", "eve")
    told("person", "export", "u-1", "--by", "bob")
    told("suppression", "list", "--reveal", "--by", "cem")
    told("audit", "ticket", "R00001", "--by", "eve")
    dossier, export = ("dossier", "R00001", "eve"), ("export", "u-1", "bob")

    assert [dossier, ("addresses", "suppressions", "cem"), export, dossier] == looks(told)
    assert [dossier, dossier] == looks(told, "--subject", "R00001")
    assert [export] == looks(told, "--subject", "u-1")
    first = told("audit", "access", "--limit", "3").out
    assert "more: --cursor" in first
    cursor = first.split("--cursor ")[1].strip()
    assert [dossier] == looks(told, "--cursor", cursor)
    assert "nobody looked" in told("audit", "access", "--subject", "R00009").out
    assert 4 == told.events().count("access.opened.v1")


def test_by_default_the_operating_systems_user_looks(
    told: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As with everything else that an operator does."""
    monkeypatch.setenv("LOGNAME", "olga")
    told("audit", "ticket", "R00001")
    told("person", "export", "u-1")

    assert ["olga", "olga"] == [by for _, _, by in looks(told)]


def test_what_there_is_not_is_not_recorded(told: Cli) -> None:
    """Exit code 3, nothing on standard output, and no event."""
    for words in (("audit", "ticket", "R00009"), ("person", "export", "nobody")):
        assert "" == told(*words, code=3).out
    told("audit", "ticket", "R00001", "--by", " ", code=2)

    assert [] == looks(told)


def test_nothing_is_shown_that_cannot_be_recorded(told: Cli) -> None:
    """Exit code 75 where the database takes nothing now, and nothing personal anywhere."""
    services = build(read_settings({}, home=told.home), **told.seams)

    class Full:
        """Everything of a store, but for its transactions."""

        def __getattr__(self, name: str) -> Any:
            return getattr(services.store, name)

        def transaction(self, _: object) -> Any:
            """Begin none."""
            text = "the disk is full; nothing was changed"
            raise Unavailable(text)

    full = Cli(told.home, **told.seams, store=Full())
    told("suppression", "add", EMAIL, "--by", "op", "--reason", "asked")
    for words in (
        ("audit", "ticket", "R00001"),
        ("person", "export", "u-1"),
        ("suppression", "list", "--reveal"),
    ):
        done = full(*words, code=75)
        assert "" == done.out
        assert EMAIL not in done.err
    services.store.close()


@pytest.mark.slow
def test_a_look_is_recorded_when_nobody_reads_on(told: Cli) -> None:
    """Whoever closes the output after a line has looked all the same."""
    words = ("audit", "ticket", "R00001", "--by", "eve")
    with subprocess.Popen(
        [*command(told.home), *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    ) as process:
        assert process.stdout is not None
        process.stdout.close()
        process.wait(timeout=60)

    assert [("dossier", "R00001", "eve")] == looks(told)


# --- the page -------------------------------------------------------------------------------------


def test_the_page_stands_alone(told: Cli, tmp_path: Path) -> None:
    """One file for its owner that loads nothing, runs nothing, and can be printed."""
    file = tmp_path / "R00001.html"
    done = told("audit", "ticket", "R00001", "--html", str(file))
    text = file.read_text("utf-8")
    read = Page(text)
    names = [tag for tag, _ in read.tags]
    style = text.partition("<style>")[2].partition("</style>")[0]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert f"written: {file}\n" == done.out
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    assert [] == read.open
    assert not {"script", "link", "img", "iframe", "base", "form"} & set(names)
    assert f"default-src 'none'; style-src 'sha256-{digest}'" in text
    assert not re.search(r"url\(|@import|https?:(?!//www.w3.org/2000/svg)", style)
    assert not [name for _, given in read.tags for name in given if name.startswith("on")]
    assert ["h1", "h2", "h2", "h2", "h3", "h3", "h2", "h3", "h3", "h2", "h2", "h2", "h2"] == [
        name for name in names if re.fullmatch("h[1-6]", name)
    ]
    assert {"row", "col"} == {given["scope"] for tag, given in read.tags if tag == "th"}
    assert "@page { size: A4" in style
    assert 1 == names.count("svg")
    for said in (EMAIL, "Yes!", "admin-7", "2026-01-31 01:30:00", "2026-01-31 09:30:00", "Nobody."):
        assert said in text
    assert 'Star Dance <span lang="zh-HK">星星</span>' in text


def test_nothing_hostile_gets_into_the_page(cli: Cli, tmp_path: Path) -> None:
    """Whatever somebody typed, it is text, in its own direction and its own language."""
    cli.submit("--organization-name", HOSTILE, "--description", LONG, "--additional-notes", "a\nb")
    cli("ticket", "decline", "S00001", "--by", "admin-7", "--note", HOSTILE)
    file = tmp_path / "page.html"
    cli("audit", "ticket", "S00001", "--html", str(file))
    text = file.read_text("utf-8")

    assert "<script" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; evil &amp; &#x27;quoted&#x27;" in text
    assert f'<span lang="zh-HK">{LONG}</span>' in text
    assert '<td class="said" dir="auto">a\nb</td>' in text
    assert [] == Page(text).open


def test_a_file_that_is_there_is_not_written_over(told: Cli, tmp_path: Path) -> None:
    """Exit code 2, before anybody looks."""
    file = tmp_path / "page.html"
    file.write_text("mine")
    told("audit", "ticket", "R00001", "--html", str(file), code=2)
    told("audit", "ticket", "R00001", "--html", str(tmp_path / "none" / "x.html"), code=2)

    assert "mine" == file.read_text()
    assert [] == looks(told)


def test_the_page_and_the_document_come_together(told: Cli, tmp_path: Path) -> None:
    """A program that asks for both has looked once."""
    file = tmp_path / "page.html"
    document = told.json("audit", "ticket", "R00001", "--html", str(file))

    assert "R00001" == document["ticket"]["ticket_id"]
    assert file.exists()
    assert 1 == len(looks(told))


@pytest.fixture(name="world")
def _world(tmp_path: Path) -> World:
    return make_world(tmp_path / "world")


def test_rare_things_are_shown(world: World) -> None:
    """A call without an outcome, older looks, a time that cannot be read, another chain."""
    world.submit()
    world.store.then_fails(None, ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        world.drain()
    dossier = world.services.dossiers.open(context(), "R00001", by="eve")
    tree = dossier.explanation
    event = next(node for node in tree.nodes if node.kind == "event")
    blind = attrs.evolve(event, at=None, actor=None, context={}, is_aside=True)
    nodes = tuple(blind if node is event else node for node in tree.nodes)
    rare = attrs.evolve(
        dossier,
        explanation=attrs.evolve(tree, nodes=nodes),
        has_older_accesses=True,
    )
    text = page(rare)

    assert (None, "attempt 1 has no outcome yet") == fate(dossier.mails[0])[-1]
    assert "attempt 1 has no outcome yet" in text
    assert "elsewhere: ticket R00001 was submitted" in text
    assert "And others earlier." in text


def test_a_newer_template_is_said(world: World) -> None:
    """What a mail was written from, where that is not what it was asked for with."""
    world.submit()
    world.drain()
    (mail,) = world.services.dossiers.open(context(), "R00001", by="eve").mails
    (attempt,) = mail.attempts
    newer = attrs.evolve(attempt, template_version=7, template_hash="other")

    assert "attempt 1 was started, written from version 7" in [
        text for _, text in fate(attrs.evolve(mail, attempts=(newer,)))
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (0.2, "0 s"), (59.6, "1 min"), (3 * 3600 + 5, "3 h 5 s")),
        *((90_061, "1 d 1 h 1 min 1 s"), (-61, "-1 min 1 s")),
    ],
)
def test_a_duration_is_written(seconds: float, text: str) -> None:
    """In days, hours, minutes and seconds; a clock that went back is no reason to fail."""
    assert text == lasted(seconds)


def test_the_json_is_json(told: Cli) -> None:
    """One document on one line."""
    (line,) = told("--json", "audit", "ticket", "R00001").out.splitlines()

    assert json.loads(line)["decision"]["event"] == "ticket-R00001/2"
