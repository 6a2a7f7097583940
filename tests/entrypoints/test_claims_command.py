"""`audit claims`, as people, scripts and auditors give it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import stat
import subprocess
import sys
from typing import TYPE_CHECKING, Final

import attrs
import pytest

from infrastructure.iam.evaluate import allowed
from infrastructure.iam.matrix import questions
from infrastructure.template import Deployment, load
from siutindei.app.ports import Unavailable
from siutindei.app.promises import SAYS
from tests.app.test_claims import KNOWN
from tests.app.test_sending import ACCOUNT, FakeSes
from tests.entrypoints.commands import Cli, environment
from tests.entrypoints.test_check_command import change
from tests.entrypoints.test_explain_command import Page
from tests.entrypoints.test_processes import SES

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import VirtualClock

#: What makes a notice another kind of mail.
NEWSLETTER: Final = ('"template":"ticket_received"', '"template":"newsletter"')
OPEN: Final = ["C8", "C9", "C14", "C18"]


@pytest.fixture
def told(tmp_path: Path) -> Cli:
    """Give a home in which the demo was told, with the machine's clock."""
    cli = Cli(tmp_path / "home")
    cli("demo")
    return cli


def rewrite(cli: Cli, old: str, new: str, *, stream: str = "%") -> None:
    """Write something else into stored events, behind the back of the program."""
    change(
        cli,
        "UPDATE stored_events SET state = CAST(replace(CAST(state AS TEXT), ?, ?) AS BLOB)"
        " WHERE originator_id LIKE ?",
        *(old, new, stream),
    )


def test_the_demo_keeps_every_promise_that_can_be_known(told: Cli) -> None:
    """What only SES, the deployment and a later version show is null, and says what shows it."""
    before = told("--json", "history", "tail").out
    found = told.json("audit", "claims")["claims"]

    assert list(SAYS) == [claim["id"] for claim in found]
    assert {claim["id"] for claim in found if claim["holds"] is True} == KNOWN
    assert OPEN == [claim["id"] for claim in found if claim["holds"] is None]
    for claim in found:
        assert claim["evidence"]
        assert (claim["events"], claim["broken"]) == ([], 0)
        assert bool(claim["shown_by"]) is (claim["id"] in OPEN)
    assert before == told("--json", "history", "tail").out


def test_people_get_a_line_for_each(told: Cli) -> None:
    """Then, for what cannot be known, why and what would show it; nothing personal."""
    out = told("audit", "claims").out
    lines = out.splitlines()

    assert lines[0].split() == ["claim", "standing", "what", "it", "says"]
    for line, id in zip(lines[1:19], SAYS, strict=True):
        words = "cannot be known from here" if id in OPEN else "holds"
        assert re.fullmatch(rf"{id} +{words} +{SAYS[id]}", line)
    assert OPEN == re.findall(r"^(C\d+) cannot be known from here$", out, re.MULTILINE)
    assert "what shows it: siutindei ses status shows it" in out
    assert "@example.com" not in out


def test_a_ticket_by_hand_is_not_known(cli: Cli) -> None:
    """It has no token behind it; that breaks nothing."""
    cli.access()
    (claim,) = [one for one in cli.json("audit", "claims")["claims"] if one["id"] == "C7"]

    assert claim["holds"] is None
    assert "ticket-R00001/1" in claim["evidence"][0]


def test_what_breaks_a_promise_is_named(told: Cli) -> None:
    """Exit code 1; the event that breaks it is named, for people and for programs."""
    (first, *_) = [
        event["id"]
        for event in told("--json", "history", "tail", "--type", "notification.requested").lines
        if event["data"]["kind"] == "ticket_received"
    ]
    rewrite(told, *NEWSLETTER, stream=first.partition("/")[0])
    (claim,) = [
        one for one in told.json("audit", "claims", code=1)["claims"] if one["holds"] is False
    ]
    out = told("audit", "claims", code=1).out

    assert ("C2", [first], 1) == (claim["id"], claim["events"], claim["broken"])
    said = f"broken: {first} asks for a ticket_received mail, written as newsletter"
    assert said in claim["evidence"]
    assert "\nC2 does not hold\n  " + said in out


def test_a_setting_that_breaks_a_promise(cli: Cli) -> None:
    """Another region than was promised; no event is to blame."""
    env = {"AWS_REGION": "eu-west-1"}
    cli("ticket", "list")
    found = cli.json("audit", "claims", env=env, code=1)["claims"][0]

    assert (False, []) == (found["holds"], found["events"])
    assert "AWS_REGION is eu-west-1" in cli("audit", "claims", env=env, code=1).out


def test_many_breaks_are_counted(cli: Cli) -> None:
    """The first few are named, and how many more there are."""
    for number in range(22):
        cli(
            *("ticket", "submit", "access-request", "--user", f"u-{number}"),
            *("--email", f"u{number}@example.com", "--organization-name", "Club"),
        )
    rewrite(cli, *NEWSLETTER)
    found = cli.json("audit", "claims", code=1)["claims"][1]

    assert (22, 20) == (found["broken"], len(found["events"]))
    assert "  broken by 2 more\n" in cli("audit", "claims", code=1).out


def test_an_event_that_cannot_be_read(told: Cli) -> None:
    """Nothing is answered: what it says may break a promise. The error names it; exit code 2."""
    change(
        told,
        "UPDATE stored_events SET topic = 'ticket.approved.v9' WHERE topic = 'ticket.approved.v1'",
    )
    done = told("audit", "claims", code=2)

    assert done.out == ""
    assert "ticket.approved.v9" in done.err


# --- SES ------------------------------------------------------------------------------------------


def test_ses_is_asked_when_mails_go_there(tmp_path: Path, clock: VirtualClock) -> None:
    """What it says of the suppression list is an answer; one that is off is a break."""
    ses = FakeSes()
    cli = Cli(tmp_path / "home", clock=clock, ses_settings=ses)
    env = {"SIUTINDEI_MAIL": "ses"}
    cli("ticket", "list")
    assert cli.json("audit", "claims", env=env)["claims"][-1]["holds"] is True

    ses.state = attrs.evolve(ACCOUNT, suppressed=frozenset())
    found = cli.json("audit", "claims", env=env, code=1)["claims"][-1]
    assert (False, ["broken: SES says of suppression list: off"]) == (
        found["holds"],
        found["evidence"][:1],
    )


def test_ses_that_is_out_of_reach_is_not_known(tmp_path: Path, clock: VirtualClock) -> None:
    """The rest is answered all the same."""

    class Away(FakeSes):
        def account(self) -> object:  # type: ignore[override]
            raise Unavailable("SES cannot be reached")

    cli = Cli(tmp_path / "home", clock=clock, ses_settings=Away())
    cli("ticket", "list")
    found = cli.json("audit", "claims", env={"SIUTINDEI_MAIL": "ses"})["claims"]

    assert None is found[-1]["holds"]
    assert "SES cannot be reached" in found[-1]["evidence"][0]
    assert found[0]["holds"] is True


_MODULES: Final = """
import sys
from siutindei.entrypoints.cli import main
try:
    main(["--home", sys.argv[1], "--json", "audit", "claims", "--html", sys.argv[2]])
finally:
    sys.stdout.flush()
    print(*sys.modules, file=sys.stderr)
"""


@pytest.mark.slow
@pytest.mark.parametrize("mail", ["maildir", "smtp", "ses"])
def test_a_process_that_looks_has_nothing_to_send_with(cli: Cli, tmp_path: Path, mail: str) -> None:
    """No adapter of mail is loaded; AWS is, where SES is to be asked, and without credentials that
    is what cannot be known.
    """
    cli.access()
    settings = {"maildir": {}, "smtp": {"SIUTINDEI_MAIL": "smtp://127.0.0.1:1"}, "ses": SES}[mail]
    nowhere = {
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": str(tmp_path / "none"),
        "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
    }
    done = subprocess.run(
        [sys.executable, "-c", _MODULES, str(cli.home), str(tmp_path / "page.html")],
        capture_output=True,
        text=True,
        check=True,
        env=environment(**settings, **nowhere),
        timeout=60,
    )
    modules = set(done.stderr.split())
    sending = {f"siutindei.adapters.{name}" for name in ("maildir", "memory_mail", "mime", "smtp")}
    sending |= {"smtplib", "mailbox"}
    if mail != "ses":
        sending |= {"siutindei.adapters.ses", "botocore"}

    assert set() == sending & modules
    assert ("boto3" in modules) is (mail == "ses")
    (listed,) = [one for one in json.loads(done.stdout)["claims"] if one["id"] == "C18"]
    assert listed["holds"] is None


# --- the page -------------------------------------------------------------------------------------


def test_the_page_stands_alone_and_says_all_of_it(told: Cli) -> None:
    """One file for its owner: no script, no request, its own style; a row for each promise."""
    file = told.home.parent / "claims.html"
    done = told("audit", "claims", "--html", str(file))
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()

    assert done.out.splitlines()[-1] == f"written: {file}"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert page.open == []
    assert not {tag for tag, _ in page.tags} & {"script", "link", "img", "iframe", "object", "a"}
    assert not [name for _, values in page.tags for name in values if name in {"style", "src"}]
    assert not re.findall("https?://", text)
    assert policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert list(SAYS) == [values["id"] for tag, values in page.tags if "id" in values]
    whole = "".join(page.said)
    assert "14 holds, 0 does not hold, 4 cannot be known from here" in whole
    for claim in told.json("audit", "claims")["claims"]:
        for sentence in (claim["says"], *claim["evidence"]):
            assert sentence in whole
    assert "@example.com" not in text


def test_a_page_can_be_read_without_a_colour(told: Cli) -> None:
    """How a promise stands is said in words, and framed; only its ink has a colour."""
    file = told.home.parent / "claims.html"
    told("audit", "claims", "--html", str(file), env={"AWS_REGION": "eu-west-1"}, code=1)
    text = file.read_text(encoding="utf-8")
    (style,) = re.findall("<style>(.*?)</style>", text, re.DOTALL)

    for look, words in (
        ("good", "holds"),
        ("wrong", "does not hold"),
        ("open", "cannot be known from here"),
    ):
        assert f'<span class="standing {look}">{words}</span>' in text
    assert "@media print" in style
    assert "border: 3px solid" in style
    assert "border-style: dashed" in style


def test_what_comes_from_outside_is_escaped(cli: Cli) -> None:
    """Names of streams come from outside, and may hold what a browser would obey."""
    cli.access()
    change(cli, "UPDATE stored_events SET originator_id = 'ticket-<b>' WHERE rowid = 1")
    file = cli.home.parent / "claims.html"
    cli("audit", "claims", "--html", str(file), code=1)
    text = file.read_text(encoding="utf-8")

    assert "ticket-&lt;b&gt;/1" in text
    assert "<b>" not in text


def test_a_file_that_is_there_is_kept(told: Cli) -> None:
    """The page is a new file, or none; with `--json` nothing but the document is printed."""
    file = told.home.parent / "mine.html"
    file.write_text("mine", encoding="utf-8")
    done = told("audit", "claims", "--html", str(file), code=2)

    assert done.out == ""
    assert "is there already" in done.err
    assert file.read_text(encoding="utf-8") == "mine"
    assert told.json("audit", "claims", "--html", str(file.with_name("new.html")))["claims"]
    assert file.with_name("new.html").exists()


# --- what it points to ----------------------------------------------------------------------------


def test_what_would_show_the_roles_and_the_alarm_is_there() -> None:
    """The template's roles allow what was promised and nothing else; its alarm tells the team."""
    deployment = Deployment()
    for one in questions(deployment):
        answers = [
            allowed(
                deployment.policies(one.role),
                action=one.action,
                resource=resource,
                context=one.context,
            )
            for resource in one.resources
        ]
        assert one.expected is all(answers)
    alarm = load()["Resources"]["NudgeDeadLettersAlarm"]["Properties"]
    assert (1, "GreaterThanOrEqualToThreshold") == (alarm["Threshold"], alarm["ComparisonOperator"])
    assert [{"Ref": "OpsTopic"}] == alarm["AlarmActions"]
