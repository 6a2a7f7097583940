"""`history explain`: the tree for people, the document for programs, the page for whoever."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
import subprocess
import sys
from html.parser import HTMLParser
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree as ET

import attrs
import pytest

from siutindei.bootstrap import build
from siutindei.domain import report
from siutindei.settings import read_settings
from tests.aws_events import published
from tests.entrypoints.commands import Cli, Done, environment, process
from tests.histories import reveal_each
from tests.support import CountingIds, VirtualClock, context, drain

if TYPE_CHECKING:
    from pathlib import Path

ANN: Final = "ann@example.com"
SENDERS: Final = {
    *("siutindei.adapters.maildir", "siutindei.adapters.memory_mail", "siutindei.adapters.mime"),
    *("siutindei.adapters.ses", "siutindei.adapters.smtp"),
    *("smtplib", "boto3", "botocore"),
}
#: Ends of elements that have none.
VOID: Final = frozenset({"meta", "!doctype"})


@pytest.fixture
def cli(tmp_path: Path, clock: VirtualClock) -> Cli:
    """Give the command line on a fresh home, with names that can be foretold."""
    return Cli(tmp_path / "home", clock=clock, ids=CountingIds())


def looked_at_each(cli: Cli) -> str:
    """Let one request have looked at each address, as older versions recorded it; give its id."""
    services = build(read_settings({}, home=cli.home), **cli.seams)
    reveal_each(services.store, context("looked"))
    services.store.close()
    return "looked"


# --- every kind of id, in a process of its own ----------------------------------------------------


def _tell(home: Path) -> dict[str, str]:
    """Let something of everything happen; give an id of each kind, with what it belongs to."""
    services = build(read_settings({}, home=home))
    started = services.sign_in.start(
        context(), client="app", email="bob@example.com", user="user-bob"
    )
    services.tickets.submit(
        context("request-1"),
        ticket_type="access_request",
        user="user-ann",
        email=ANN,
        body={"organization_name": "Star Dance"},
    )
    by_lambda = attrs.evolve(
        context("step", actor="worker"),
        aws_request_id="8f5b7c1e-0d0c-4f53-9f3e-7c1e9f6f8a11",
        sqs_message_id="2e1fcdd4-7c1e-4f53-9f3e-0d0c9f6f8a11",
    )
    notice = services.store.views.notifications(ticket="R00001")[0].requested
    assert notice is not None
    services.delivery.deliver(by_lambda, notice.id)
    api = attrs.evolve(context("approval"), request_id="api-1", correlation_id="correlation-1")
    services.tickets.approve(api, "R00001", by="admin-7", create_organization=True)
    drain(services)
    (ticket, _) = services.store.load("ticket-R00001")
    message = services.store.views.find_notification(notice.id)
    assert message is not None
    feedback = services.feedback
    said = published(
        "Bounce", tag=notice.id, message_id=message.message_id or "", feedbackId="feedback-1"
    )
    feedback.hear(context(), feedback.read(json.dumps(said)))
    parked = published("Delivery", tag=None, message_id="parked-1", feedbackId="parked-feedback")
    feedback.hear(context(), feedback.read(json.dumps(parked)))
    code = services.store.views.find_code(started.challenge)
    assert code is not None
    services.store.close()
    return {
        "ticket": "R00001",
        "ticket's id": ticket.event.id,  # type: ignore[union-attr]
        "notification": notice.id,
        "notification's stream": f"notification-{notice.id}",
        "grant": "R00001-organization",
        "grant's stream": "grant-R00001-manager",
        "event": f"notification-{notice.id}/3",
        "stream": "ticket-R00001",
        "SES message": message.message_id or "",
        "feedback": "feedback-1",
        "command": "approval",
        "request": "api-1",
        "correlation": "correlation-1",
        "Lambda request": by_lambda.aws_request_id or "",
        "SQS message": by_lambda.sqs_message_id or "",
        "challenge": started.challenge,
        "challenge's stream": f"challenge-app-{code.fingerprint}",
        "parked report": "parked-1",
        "parked report's stream": report.stream("parked-1"),
        "parked feedback": "parked-feedback",
    }


@pytest.mark.slow
def test_a_fresh_process_explains_every_kind_of_id(tmp_path: Path) -> None:
    """Whatever somebody holds of a story leads to the one tree of it."""
    ids = _tell(tmp_path)
    events: dict[str, list[str]] = {}
    for kind, id in ids.items():
        done = process(tmp_path, "--json", "history", "explain", id)
        assert done.code == 0, (kind, done)
        assert done.err == ""
        nodes = done.document["nodes"]
        seen: set[str] = set()
        for node in nodes:
            assert set(node["causes"]) <= seen, (kind, node)
            assert node["at"]
            assert node["actor"]
            seen.add(node["id"])
        assert [node["parent"] for node in nodes].count(None) == 1
        assert [node for node in nodes if node["asked_for"]], kind
        assert not re.search("example.com|Star Dance|sealed", done.out)
        events[kind] = [node["id"] for node in nodes if node["kind"] == "event"]

    for kind, found in events.items():
        of = (
            "challenge"
            if "challenge" in kind
            else "parked report"
            if "parked" in kind
            else "ticket"
        )
        assert found == events[of], kind
    assert len({tuple(found) for found in events.values()}) == 3


_MODULES: Final = """
import json, sys
from siutindei.entrypoints.cli import main
try:
    main(["--home", sys.argv[1], "--json", "history", "explain", "R00001", "--html", sys.argv[2]])
except SystemExit as ended:
    assert not ended.code
print(json.dumps([*sys.modules]))
"""


@pytest.mark.slow
def test_a_process_that_explains_has_nothing_to_send_with(cli: Cli, tmp_path: Path) -> None:
    """It has loaded no module that can send mail."""
    cli.access()
    done = subprocess.run(
        [sys.executable, "-c", _MODULES, str(cli.home), str(tmp_path / "page.html")],
        capture_output=True,
        text=True,
        check=True,
        env=environment(),
        timeout=60,
    )
    document, modules = (json.loads(line) for line in done.stdout.splitlines())

    assert document["nodes"]
    assert set() == SENDERS & set(modules)


# --- the terminal ---------------------------------------------------------------------------------


def test_the_tree_is_drawn(cli: Cli) -> None:
    """One line for each step: when, what, by which rule and by whom; the id's own is marked."""
    cli(
        *("--command-id", "submit-1", "ticket", "submit", "access-request", "--user", "u-1"),
        *("--email", ANN, "--organization-name", "Star Dance"),
    )
    cli("worker", "--once")
    cli("ticket", "decline", "R00001", "--by", "admin-7")
    lines = cli("history", "explain", "ticket-R00001/2").out.splitlines()
    drawn = [re.sub("[0-9a-f]{32}|operator:[^ ]+", "X", line) for line in lines]

    assert {"2026-01-31 09:30:00 HKT  "} == {line[:25] for line in lines}
    assert [line[25:] for line in drawn] == [
        "request 00000000-0000-4000-8000-000000000001, command submit-1 by X",
        "└─ ticket R00001 was submitted: access_request [ticket.one_pending_per_user_and_type.v1]",
        "   ├─ a mail was asked for: ticket_received",
        "   │  └─ attempt 1 was started by worker",
        "   │     └─ attempt 1 was accepted as maildir-X",
        *[line[25:] for line in drawn[5:6]],
        "      └─ ticket R00001 was declined by admin-7 [ticket.decided_once.v1] ◂ asked for",
        "         └─ a mail was asked for: ticket_decided",
    ]
    assert drawn[5][25:].startswith("   └─ request 00000000-0000-4000-8000-")


def test_what_a_terminal_would_obey_is_taken_out(cli: Cli) -> None:
    """Ids come from outside, and may hold what reorders a line."""
    cli("--command-id", "\u202eevil", "sign-in", "start", ANN)
    done = cli("history", "explain", "\u202eevil")

    assert "command evil" in done.out
    assert "\u202e" not in done.out


def test_what_is_left_out_is_said(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tree that would be too large ends with how much is missing."""
    monkeypatch.setattr("siutindei.app.explaining.MOST", 1)
    for name in (ANN, "bob@example.com"):
        cli("suppression", "add", name, "--by", "op", "--reason", "asked")
    request = looked_at_each(cli)
    done = cli("history", "explain", request)

    assert done.out.splitlines()[-1] == "left out: 1 more; ask for one of them by its own id"
    assert cli.json("history", "explain", request)["left_out"] == 1


# --- what is not found ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("id", "code"),
    [
        *(("R00009", 3), ("%", 3), ("'; DROP TABLE stored_events; --", 3), ("<script>", 3)),
        *((ANN, 3), ("R0000", 3), ("x" * 500, 3)),
        *(("", 2), ("x" * 10_000, 2), ("a\x1b[2Jb", 2), ("\n", 2)),
    ],
)
def test_what_has_no_tree(cli: Cli, id: str, code: int) -> None:
    """Exit code 3 says that nothing has the id, and names the kinds; 2 that it cannot be one."""
    cli.access()
    document = cli.json("history", "explain", "--", id, code=code)
    said = cli("history", "explain", "--", id, code=code)

    assert said.out == ""
    assert len(said.err) < 450
    assert "\x1b" not in said.err
    if code == 3 and "@" not in id:
        assert "SES message, feedback, command, request" in document["error"]
    assert ANN not in said.err


def test_the_ids_of_nodes_lead_back(cli: Cli) -> None:
    """What a document calls a request or a command is an id too."""
    cli.access()
    nodes = cli.json("history", "explain", "R00001")["nodes"]
    ids = [node["id"] for node in nodes if node["kind"] in {"request", "command"}]

    assert 2 == len(ids)
    for id in ids:
        again = cli.json("history", "explain", id)["nodes"]
        assert [node["id"] for node in nodes] == [node["id"] for node in again]


def test_an_empty_history_explains_nothing(cli: Cli) -> None:
    """Nothing has any id there."""
    cli("ticket", "list")
    assert "nothing has this id" in cli("history", "explain", "R00001", code=3).err


# --- the page -------------------------------------------------------------------------------------


class Page(HTMLParser):
    """A page that is read as a browser does, and closes what it opens."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.said: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Remember it."""
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        """Remember it."""
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        """Expect that it is the newest."""
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        """Remember what is said."""
        self.said.append(data)


def written(cli: Cli, id: str, name: str = "page.html") -> tuple[Done, Path, str]:
    """Write a page, and read it."""
    file = cli.home.parent / name
    done = cli("history", "explain", id, "--html", str(file))
    return done, file, file.read_text(encoding="utf-8")


def _told(cli: Cli) -> None:
    """Let a ticket that came under a hostile command id be approved, and its mails be sent."""
    cli(
        *("--command-id", "<b>&\"'evil", "ticket", "submit", "access-request", "--user", "u-1"),
        *("--email", ANN, "--organization-name", "Star Dance", "--request-message", "Please."),
    )
    cli("ticket", "approve", "R00001", "--by", "admin-7", "--create-organization", "--note", "Yes!")
    cli("worker", "--once")


def test_the_page_stands_alone_and_says_the_whole_tree(cli: Cli) -> None:
    """It is one file for its owner, without a script, a request or anything personal."""
    _told(cli)
    done, file, text = written(cli, "R00001")
    page = Page(text)
    names = {tag for tag, _ in page.tags}
    document = cli.json("history", "explain", "R00001")

    assert done.out.splitlines()[-1] == f"written: {file}"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert page.open == []
    assert not names & {"script", "link", "img", "iframe", "object", "b", "a:script", "base"}
    assert not [
        (tag, name)
        for tag, attributes in page.tags
        for name in attributes
        if name.startswith("on") or name in {"style", "src"}
    ]
    links = [values["href"] for tag, values in page.tags if tag == "a"]
    assert links
    assert all(re.fullmatch("#n[0-9]+", link or "") for link in links)
    assert {*re.findall(r"https?://[^\"'< ]+", text)} <= {"http://www.w3.org/2000/svg"}
    assert "url(" not in text
    assert not re.search("example.com|Star Dance|Please|Yes!|sealed,", text)
    whole = "".join(page.said)
    for node in document["nodes"]:
        assert node["id"] in whole
        assert node["title"] in whole
    assert "<b>&\"'evil" in whole
    assert sum(values.get("class") == "mark" for tag, values in page.tags if tag == "tr") == 1


def test_the_page_allows_its_own_style_and_nothing_else(cli: Cli) -> None:
    """Its policy names the hash of the one style that stands in it."""
    _told(cli)
    _, _, text = written(cli, "R00001")
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert text.index("Content-Security-Policy") < text.index("<style>")
    for media in ("prefers-color-scheme: dark", "@media print"):
        assert media in style


def test_no_two_labels_of_the_picture_meet(cli: Cli) -> None:
    """Every line has a row of its own, inside the picture, and what is long is shortened."""
    _told(cli)
    _, _, text = written(cli, "R00001")
    picture = ET.fromstring(text[text.index("<svg") : text.index("</svg>") + 6])  # noqa: S314
    space = "{http://www.w3.org/2000/svg}"
    width, height = (int(picture.attrib[name]) for name in ("width", "height"))
    labels = picture.findall(f"{space}text")
    heights = [int(label.attrib["y"]) for label in labels]
    document = cli.json("history", "explain", "R00001")
    commands = sum(node["kind"] == "command" for node in document["nodes"])

    assert picture.attrib["role"] == "img"
    assert {element.tag for element in picture[:2]} == {f"{space}title", f"{space}desc"}
    assert len(labels) == 2 * (len(document["nodes"]) - commands)
    assert heights == sorted(set(heights))
    assert min(after - before for before, after in pairwise(heights)) >= 13
    assert heights[-1] < height
    for label in labels:
        assert len(label.text or "") <= 84
        assert int(label.attrib["x"]) + 7.6 * len(label.text or "") <= width
    assert any("…" in (label.text or "") for label in labels)


def test_a_file_that_is_there_is_kept(cli: Cli) -> None:
    """The page is written into a new file, or nowhere; nothing is printed then."""
    _told(cli)
    file = cli.home.parent / "mine.html"
    file.write_text("mine", encoding="utf-8")
    done = cli("history", "explain", "R00001", "--html", str(file), code=2)

    assert done.out == ""
    assert "is there already" in done.err
    assert file.read_text(encoding="utf-8") == "mine"
    assert cli("history", "explain", "R9", "--html", str(file.with_name("new")), code=3).out == ""
    assert not file.with_name("new").exists()


def test_an_event_that_cannot_be_read_is_on_the_page(cli: Cli) -> None:
    """It stands where it belongs, with what is wrong."""
    cli.access()
    services: Any = build(read_settings({}, home=cli.home))
    with services.store.writing() as cursor:
        cursor.execute(
            "INSERT INTO stored_events (originator_id, originator_version, topic, state)"
            " VALUES ('ticket-R00001', 2, 'ticket.<i>.v1', X'7B7D')"
        )
    services.store.close()
    _, _, text = written(cli, "R00001")
    lines = cli("history", "explain", "R00001").out.splitlines()

    assert lines[-1].startswith(" " * 25)
    assert "this cannot be read" in lines[-1]
    assert "this cannot be read" in text
    assert "<i>" not in text


def test_the_page_says_what_is_left_out(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """And what stands above several chains."""
    monkeypatch.setattr("siutindei.app.explaining.MOST", 2)
    for name in (ANN, "bob@example.com", "cem@example.com"):
        cli("suppression", "add", name, "--by", "op", "--reason", "asked")
    request = looked_at_each(cli)
    _, _, text = written(cli, request)

    assert "Left out: 1 more" in text
    assert "2 chains have to do with this request" in text
