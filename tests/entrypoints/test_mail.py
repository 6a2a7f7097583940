"""Where mails go: the setting, from the command line to whoever takes them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import pytest

from siutindei.adapters.maildir import Maildir
from siutindei.adapters.ses import SesMail
from siutindei.adapters.smtp import SmtpMail
from siutindei.bootstrap import build
from siutindei.settings import Relay, read_settings
from tests.adapters.test_ses import Wire, answers, closes, on_the_wire
from tests.adapters.test_smtp import Relayed, relay
from tests.entrypoints.commands import EMAIL, Cli, command, environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MAIL: Final = "SIUTINDEI_MAIL"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")


@pytest.fixture
def handler() -> Relayed:
    """What takes every mail."""
    return Relayed()


@pytest.fixture
def server(handler: Relayed) -> Iterator[Relay]:
    """Where it listens."""
    with relay(handler) as found:
        yield found


def url(server: Relay) -> str:
    """Write a mail server as the setting has it."""
    return f"smtp://{server.host}:{server.port}"


def test_the_setting_chooses(tmp_path: Path) -> None:
    """Each of the three places has its port, with what the setting says."""

    def chosen(text: str) -> Any:
        return build(read_settings({MAIL: text, "AWS_REGION": "eu-west-2"}, home=tmp_path)).mail

    folder, server, ses = (
        chosen(text) for text in (f"maildir:{tmp_path}/m", "smtps://mail.example.com", "ses")
    )
    assert isinstance(folder, Maildir)
    assert tmp_path / "m" == folder.path
    assert isinstance(server, SmtpMail)
    assert Relay(host="mail.example.com", port=465, is_tls=True) == server.relay
    assert isinstance(ses, SesMail)
    assert ses.client.meta.region_name == "eu-west-2"
    assert (1.0, 3.0) == (
        ses.client.meta.config.connect_timeout,
        ses.client.meta.config.read_timeout,
    )


def test_a_sign_in_over_smtp(
    cli: Cli, handler: Relayed, server: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The code arrives while one waits for it, and is the right one."""
    monkeypatch.setenv(MAIL, url(server))
    started = cli.json("sign-in", "start", EMAIL)

    ((sender, recipients, content),) = handler.mails
    assert (sender, recipients) == ("hello@lx-software.com", [EMAIL])
    found = re.search(rb"(?m)^ *([0-9]{6})\r$", content)
    assert found
    answer = cli.json("sign-in", "answer", started["challenge"], found.group(1).decode())
    assert answer["correct"]


def test_a_sign_in_names_no_folder_that_is_not_there(
    cli: Cli, server: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where mails are to be found is said when they are in files."""
    assert "mail " in cli("sign-in", "start", EMAIL).out
    monkeypatch.setenv(MAIL, url(server))

    started = cli("sign-in", "start", "bob@example.com")

    assert "mail " not in started.out
    assert "challenge" in started.out


@pytest.mark.slow
def test_the_worker_sends_over_smtp(cli: Cli, handler: Relayed, server: Relay) -> None:
    """A worker in a process of its own hands over the notice and the decision, each once, and
    records the ids that the mails have.
    """
    reference = cli.access()
    cli("ticket", "approve", reference, "--by", "admin-1", "--create-organization")
    worker = subprocess.Popen(
        [*command(cli.home), "worker"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(**{MAIL: url(server)}),
    )
    until = time.monotonic() + 30
    while len(handler.mails) < 2 and time.monotonic() < until:
        time.sleep(0.05)
    time.sleep(0.3)
    worker.send_signal(signal.SIGTERM)
    out, err = worker.communicate(timeout=30)

    assert worker.returncode == 0, err
    assert [["support@lx-software.com"], [EMAIL]] == sorted(
        (recipients for _, recipients, _ in handler.mails), reverse=True
    )
    assert {"no-reply@lx-software.com"} == {sender for sender, _, _ in handler.mails}
    assert b"sent" in out
    assert EMAIL.encode() not in err
    items = cli.json("notification", "list", "--ticket", reference)["items"]
    assert {f"{item['id']}@lx-software.com" for item in items} == {
        item["message_id"] for item in items
    }
    assert {item["id"] for item in items} == set(handler.notifications)
    assert {"accepted"} == {item["status"] for item in items}


def test_a_mail_that_the_relay_refuses(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a relay will never take is set aside, and nothing of its answer is stored or shown."""
    handler = Relayed(RCPT=f"550 nobody is called {EMAIL}")
    cli.access()
    with relay(handler) as server:
        monkeypatch.setenv(MAIL, url(server))
        done = cli("worker", "--once")

    assert EMAIL not in done.out + done.err
    assert "the mail server does not take the recipient (550)" in done.err
    (item,) = cli.json("notification", "list")["items"]
    assert (item["status"], item["attempts"]) == ("dead_lettered", 1)
    assert "notification.refused.v1" in cli.events()


def test_a_relay_that_is_not_there(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The attempt is recorded, and the mail stays due."""
    monkeypatch.setenv(MAIL, "smtp://127.0.0.1:1")
    cli.access()

    counts = cli.json("worker", "--once")

    assert counts["failed"] == 1
    assert counts["next_due"]
    assert "notification.failed.v1" in cli.events()


def test_the_demo_writes_to_nobody(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its people do not exist: it does not mail them, and says why."""
    monkeypatch.setenv(MAIL, "ses")

    done = cli("demo", code=2)

    assert "maildir" in done.err
    assert not cli.home.exists()


def test_the_doctor_looks_at_what_is_there(
    cli: Cli, server: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asks for no folder where mails go elsewhere, and for the packages that SES needs."""
    cli.access()
    for text in (url(server), "ses"):
        monkeypatch.setenv(MAIL, text)
        assert cli.json("doctor") == {"ok": True, "problems": []}
    monkeypatch.setitem(sys.modules, "boto3", None)

    (problem,) = cli.json("doctor", code=1)["problems"]

    assert "AWS needs more packages" in problem["what"]
    assert "siutindei[aws]" in problem["mend"]


def test_config_masks_the_password(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who we are to a mail server is nobody else's business."""
    monkeypatch.setenv(MAIL, "smtps://ann:geheim@mail.example.com")

    done = cli("config")

    assert "smtps://****@mail.example.com" in done.out
    assert "geheim" not in done.out


def test_a_sign_in_through_ses(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """The code goes out in one request, which names the notification; that has SES's id."""
    monkeypatch.setenv(MAIL, "ses")
    with Wire(answers(200, '{"MessageId": "0100-example"}')) as wire:
        on_the_wire(monkeypatch, wire)
        started = cli.json("sign-in", "start", EMAIL)

    (asked,) = wire.requests
    (item,) = cli.json("notification", "list")["items"]
    assert (item["status"], item["message_id"]) == ("accepted", "0100-example")
    assert {"Name": "notification_id", "Value": item["id"]} in asked["EmailTags"]
    found = re.search(r"(?m)^ *([0-9]{6})$", asked["Content"]["Simple"]["Body"]["Text"]["Data"])
    assert found
    assert cli.json("sign-in", "answer", started["challenge"], found.group(1))["correct"]


def test_a_code_that_ses_does_not_answer_for(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody can tell whether it was sent: it is asked for once, and left alone."""
    monkeypatch.setenv(MAIL, "ses")
    with Wire(closes) as wire:
        on_the_wire(monkeypatch, wire)
        cli("sign-in", "start", EMAIL)
        cli("worker", "--once")

    assert len(wire.requests) == 1
    (item,) = cli.json("notification", "list")["items"]
    assert item["status"] == "unknown"


def test_a_pause_of_ses(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    """Mails that were not sent because of the account say so, and none is lost."""
    monkeypatch.setenv(MAIL, "ses")
    paused = answers(400, "{}", x_amzn_ErrorType="SendingPausedException")
    with Wire(paused) as wire:
        on_the_wire(monkeypatch, wire)
        cli.access()
        done = cli("worker", "--once")

    assert "sending is paused" in done.err
    (item,) = cli.json("notification", "list")["items"]
    assert item["status"] == "failed"
