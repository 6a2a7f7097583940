"""Nothing personal, no code and no key is printed, logged or stored where it has no business."""

from __future__ import annotations

import base64
import json
import re
import traceback
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.app.ports import MailNotSent, MailOutcomeUnknown, MailRefused
from siutindei.entrypoints.cli import main
from siutindei.settings import read_settings
from tests.entrypoints.commands import ORGANIZATION, Cli
from tests.entrypoints.test_commands import code_in
from tests.support import VirtualClock, make_services

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ADDRESS = "Quetzal.Planted@private.example.com"
REVIEWER = "reviewer.planted@private.example.com"
TYPED = {
    "organization_name": "Organization-Planted-Name",
    "description": "Description-Planted 種下的文字",
    "suggested_district": "District-Planted",
    "suggested_address": "Street-Planted 17",
    "additional_notes": "Notes-Planted",
    "suggested_lat": 12.3456789012,
    "suggested_lng": 98.7654321098,
    "media_urls": ["https://media-planted.example.com/x"],
}
NOTE, REASON = "Decision-Planted-Note", "Reason-Planted-Text"
PLANTED = [
    *(ADDRESS.partition("@")[0], REVIEWER.partition("@")[0], NOTE, REASON),
    *(str(value) for value in TYPED.values() if not isinstance(value, list)),
    "media-planted",
]


def found(text: str, *more: str) -> list[str]:
    """Give the planted values that a text shows, in whatever way they may be written."""
    lower = text.lower()
    forms = {
        value: (value, json.dumps(value)[1:-1], repr(value)[1:-1], base64_of(value))
        for value in (*PLANTED, *more)
    }
    return [v for v, written in forms.items() if any(form.lower() in lower for form in written)]


def base64_of(value: str) -> str:
    """Write a value in base64, without the end that depends on what follows."""
    data = value.encode()
    return base64.b64encode(data[: len(data) - len(data) % 3]).decode()


class Watched(Cli):
    """A command line whose standard error is watched, and its output unless it is the purpose."""

    secrets: tuple[str, ...] = ()

    def watch(self, *words: str, code: int = 0, shows: bool = False, **options: Any) -> str:
        """Give a command for a person, for a program, and with the most that can be logged."""
        outputs = []
        for json_first in ((), ("--json",)):
            done = self(*json_first, *words, code=code, env={"LOG_LEVEL": "DEBUG"}, **options)
            assert found(done.err, *self.secrets) == [], words
            if not shows:
                assert found(done.out, *self.secrets) == [], words
            outputs.append(done.out)
        return outputs[-1]


@pytest.fixture
def lived(tmp_path: Path, clock: VirtualClock) -> Watched:
    """Give a home in which planted people signed in, submitted and were decided upon."""
    cli = Watched(tmp_path / "home", clock=clock)
    cli("sign-in", "start", ADDRESS, "--locale", "en")
    started = cli.json("sign-in", "start", ADDRESS)
    code = code_in(cli.home)
    keys = [
        key
        for path in (cli.home / "keys").iterdir()
        for key in json.loads(path.read_bytes())["keys"].values()
    ]
    assert len(keys) == 3
    cli.secrets = (code, *keys, *(base64.b64decode(key).hex() for key in keys))
    cli("sign-in", "answer", started["challenge"], code)
    body = TYPED | {"user": "u-1", "email": ADDRESS}
    cli("--json", "ticket", "submit", "suggestion", "--input", "-", input=json.dumps(body))
    decide = ("ticket", "decline", "S00001", "--by", REVIEWER, "--note", NOTE)
    assert found(cli(*decide).err) == []
    return cli


def test_only_what_shows_them_shows_personal_values(lived: Watched) -> None:
    """Only commands on tickets and `person export` show what people typed."""
    person = lived("--json", "history", "tail").lines[0]["data"]["user"]
    for words in (
        ("worker", "--once"),
        ("notification", "list"),
        ("dead-letter", "list"),
        ("history", "tail"),
        ("history", "stream", "ticket-S00001"),
        ("history", "stream", "ticket-S00001", "--at", "2"),
        ("history", "stream", f"person-{person}", "--at", "1"),
        ("history", "replay"),
        ("config",),
        ("doctor",),
    ):
        lived.watch(*words)
    for item in lived.json("notification", "list")["items"]:
        lived.watch("notification", "show", item["id"])
    for words in (("ticket", "list"), ("ticket", "show", "S00001"), ("person", "export", "u-1")):
        assert found(lived.watch(*words, shows=True)) != []
    assert ADDRESS.partition("@")[0] in lived.watch("person", "export", person, shows=True)


def test_a_refusal_does_not_repeat_what_is_personal(lived: Watched) -> None:
    """What is refused is named, and what was typed into it is not."""
    again = json.dumps(TYPED | {"user": "u-1", "email": ADDRESS})
    submit = ("ticket", "submit", "suggestion", "--input", "-")
    lived("ticket", "submit", "suggestion", "--input", "-", input=again)
    lived.watch(*submit, input=again, code=1)
    for field, value in TYPED.items():
        wrong = f"{value}\x00" if isinstance(value, str) else [f"{NOTE}"]
        body = json.dumps(json.loads(again) | {field: wrong})
        lived.watch(*submit, input=body, code=2)
    for wrong in (f"{ADDRESS}\x00", f"{ADDRESS}@x", ADDRESS.replace("@", " @ "), f"ü{ADDRESS}"):
        lived.watch("sign-in", "start", wrong, code=2)
        lived.watch(*submit, input=json.dumps(json.loads(again) | {"email": wrong}), code=2)
        lived.watch("ticket", "decline", "S00002", "--by", wrong, code=2)
    lived.watch("ticket", "decline", "S00001", "--by", REVIEWER, "--note", NOTE, code=1)
    lived.watch("ticket", "decline", "S00002", "--by", REVIEWER, "--note", f"{NOTE}\x07", code=2)
    lived.watch("ticket", "decline", "S00002", "--by", "a", "--note", NOTE, REASON, code=2)
    lived.watch("person", "export", ADDRESS, code=3)
    lived.watch("ticket", "show", ADDRESS, code=3)
    lived.watch("person", "erase", "u-2", "--by", REVIEWER, "--reason", REASON, code=3)
    lived.watch(*submit, input=again[:-9], code=2)


def test_an_error_of_the_mail_adapter_is_logged_without_the_mail(
    tmp_path: Path, clock: VirtualClock
) -> None:
    """Whatever a mail adapter raises, foreseen or not, no log line repeats what it was given."""

    class Talkative(MemoryMail):
        """An adapter whose unforeseen error repeats the whole mail."""

        def send(self, mail: Any) -> str:
            if not self._script:
                raise RuntimeError(repr(mail), mail.recipient, mail.text)
            return super().send(mail)

    mail = Talkative()
    cli = Watched(tmp_path, clock=clock, mail=mail)
    for user, error in (
        ("u-1", MailNotSent("421 try again")),
        ("u-2", MailRefused("554 no")),
        ("u-3", MailOutcomeUnknown("no answer")),
        ("u-4", None),
    ):
        body = TYPED | {"user": user, "email": ADDRESS}
        cli("--json", "ticket", "submit", "suggestion", "--input", "-", input=json.dumps(body))
        if error is not None:
            mail.then_raises(error)
    assert "RuntimeError" in cli("worker", "--once").err
    clock.advance(minutes=10)
    cli.watch("worker", "--once")
    cli.watch("notification", "list")
    cli.watch("dead-letter", "list")
    (letter,) = cli.json("dead-letter", "list")["items"]
    by = ("--by", REVIEWER)
    assert found(cli("--json", "dead-letter", "redrive", letter["id"], *by).out) == []
    cli.watch("dead-letter", "redrive", letter["id"], *by)
    cli.watch("dead-letter", "show", letter["id"])

    cli.watch("history", "tail")


def test_an_unforeseen_error_says_where_it_was_and_nothing_else(tmp_path: Path) -> None:
    """A fault of ours ends with exit code 70, without its text, its arguments or a traceback."""

    class Broken:
        """A directory that fails in a way that nobody foresaw."""

        def organization(self, id: str) -> None:
            raise KeyError(ADDRESS, REASON, id)

    cli = Watched(tmp_path, directory=Broken())
    words = ("ticket", "submit", "feedback", "--user", "u-1", "--email", ADDRESS)
    out = cli.watch(*words, "--organization-id", ORGANIZATION, "--stars", "3", code=70)

    assert re.fullmatch(
        r'{"error":"our fault: KeyError at test_secrets\.py:\d+; please report it"}\n', out
    )


def test_an_interrupted_command_ends_without_a_traceback(tmp_path: Path) -> None:
    """Ctrl-C in the middle of a command ends with exit code 130, in one line and one document."""

    class Slow:
        """A directory during whose work somebody presses Ctrl-C."""

        def organization(self, id: str) -> None:
            raise KeyboardInterrupt

    cli = Watched(tmp_path, directory=Slow())
    words = ("ticket", "submit", "feedback", "--user", "u-1", "--email", ADDRESS)
    out = cli.watch(*words, "--organization-id", ORGANIZATION, "--stars", "3", code=130)

    assert out == '{"error":"interrupted"}\n'
    assert cli.events() == []


def files(home: Path) -> Iterator[Path]:
    """Give every file of a home but the mails, whose purpose is to be read."""
    for path in home.rglob("*"):
        if path.is_file() and home / "mail" not in path.parents:
            yield path


def test_no_file_holds_personal_values_in_clear(lived: Watched) -> None:
    """Database, logs and keys hold what people typed only sealed; a code is held nowhere."""
    lived("worker", "--once")
    approved = {"user": "u-2", "email": ADDRESS, "organization_name": TYPED["organization_name"]}
    lived("ticket", "submit", "access-request", "--input", "-", input=json.dumps(approved))
    lived("ticket", "approve", "R00001", "--by", REVIEWER, "--create-organization")
    lived("worker", "--once")
    code = lived.secrets[0]

    for path in files(lived.home):
        text = path.read_bytes().decode("utf-8", "replace")
        shown = found(text)
        if path.name == "directory.json":
            # The catalogue is the platform's: an approved organization is public there.
            assert shown == ["Organization-Planted-Name"]
        else:
            assert shown == [], path
        if path.parent.name != "keys":
            assert not [secret for secret in lived.secrets[1:] if secret in text], path
        assert not re.search(rf"(?<![0-9a-f]){code}(?![0-9a-f])", text), path


def test_files_are_for_their_owner_only(lived: Watched) -> None:
    """Nobody else can read a file of the home or look into its folders."""
    lived("worker", "--once")

    for path in (lived.home, *lived.home.rglob("*")):
        assert path.stat().st_mode & 0o077 == 0, path


def test_no_part_of_the_application_shows_a_secret_in_its_repr(tmp_path: Path) -> None:
    """`repr` of settings, services and everything that they are made of shows no key."""
    services = make_services(tmp_path, on_disk=True)
    for name in (
        *("sign_in", "tickets", "delivery", "dead_letters", "people", "history", "store"),
        *("addresses", "codes", "code_keys", "vault_keys", "index_key", "directory", "mail"),
    ):
        text = repr(getattr(services, name))
        assert "\\x02\\x03\\x04" not in text, name
        assert bytes(range(32)).hex() not in text, name
    services.store.close()


def test_a_password_in_a_setting_is_never_printed(tmp_path: Path) -> None:
    """A setting that is refused is refused without its value; one that is shown is masked."""
    for name, value in (
        ("SIUTINDEI_DATABASE", "mysql://me:geheim@db.example.com/x"),
        ("SIUTINDEI_MAIL", "smtp://me:geheim@mail.example.com/inbox"),
        ("SIUTINDEI_VAULT_KEYS", "geheim"),
        ("SIUTINDEI_CODE_TTL", "geheim"),
        ("SUPPORT_EMAIL", "geheim"),
    ):
        for words in (("config",), ("ticket", "list"), ("doctor",)):
            done = CliRunner().invoke(
                main, ["--home", str(tmp_path), "--json", *words], env={name: value}
            )
            assert done.exit_code == (1 if words == ("doctor",) else 2)
            assert name in done.stdout
            assert "geheim" not in done.output
    link = read_settings({"LOGIN_LINK_BASE_URL": "https://me:geheim@a.example.com"}, home=tmp_path)
    assert link.values["LOGIN_LINK_BASE_URL"].shown == "https://****@a.example.com"
    assert "geheim" not in repr(link)


def test_a_traceback_of_the_domain_shows_nothing(lived: Watched) -> None:
    """What the application raises has no planted value in its text, its arguments or its causes."""
    services = make_services(lived.home, environment={})
    context_free = (
        lambda: services.addresses.normalise(f"{ADDRESS}\x00"),
        lambda: services.tickets.show(ORGANIZATION),
    )
    for call in context_free:
        with pytest.raises(Exception) as caught:  # noqa: PT011  # whatever it is
            call()
        lines = traceback.format_exception(caught.value, chain=True)
        text = "".join(line for line in lines if not line.lstrip().startswith("lambda"))
        assert found(text) == []
