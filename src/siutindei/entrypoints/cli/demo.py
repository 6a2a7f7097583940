"""`demo`: the whole story, told as it happens."""

from __future__ import annotations

import json
import re
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from siutindei.domain.errors import Invalid, Refused
from siutindei.entrypoints.cli.base import Command, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import echo, print_fields, print_json, print_table

if TYPE_CHECKING:
    from siutindei.app.delivery import Outcome
    from siutindei.app.ports import Context
    from siutindei.bootstrap import Services

_CODE: Final = re.compile(r"(?<![0-9])[0-9]{6}(?![0-9])")
_ADMIN: Final = "admin-mei"


@click.command(cls=Command, epilog=example("siutindei demo", "siutindei --home ./try demo"))
@pass_installation
def demo(installation: Installation) -> None:
    """Tell the whole story once, in a fresh home.

    Two people sign in, three tickets come in and are decided, the mails go out, one bounces, one
    is complained of, the history is replayed. With --home it is told there, as often as you like.
    """
    home = installation.home or Path(tempfile.mkdtemp(prefix="siutindei-demo-"))
    # Each step of the story is a command of its own, whatever the telling is called.
    told = attrs.evolve(installation, home=home, command_id=None)
    try:
        document = _Story(told, quiet=installation.json).tell()
    finally:
        told.close()
    if installation.json:
        print_json(document)


class _Story:
    """One telling; each telling has its own people, so that a home can hold several."""

    def __init__(self, installation: Installation, *, quiet: bool) -> None:
        maildir = installation.settings.maildir
        if maildir is None:
            raise Invalid(
                "SIUTINDEI_MAIL",
                "must be a maildir for the demo: it reads the mails of people who do not exist",
            )
        self.maildir = maildir
        self.installation = installation
        self.services: Services = installation.services
        self.quiet = quiet
        mark = secrets.token_hex(3)
        self.parent = f"chan.{mark}@example.com"
        self.provider = f"dance.{mark}@example.com"
        self.organization = self.services.ids.uuid()
        self.codes: list[str] = []

    def tell(self) -> dict[str, Any]:
        services, home = self.services, self.installation.settings.home
        self.say(f"{'A fresh home' if services.is_fresh else 'A home with a history'}: {home}")
        parent = self.sign_in(self.parent, "zh-HK", wrong_first=True)
        provider = self.sign_in(self.provider, "en", wrong_first=False)
        tickets = self.submit(parent, provider)
        self.work("The worker tells support about each of them")
        self.decide(*tickets)
        self.work("The worker tells the submitters, and carries out what was granted")
        late = self.hear_back(provider, *tickets)
        again = self.work("The worker looks once more: every mail goes out once")
        first, second = services.history.replay(), services.history.replay()
        same = first.digest == second.digest
        self.say(f"The history is replayed twice into memory: {first.events} events each time")
        self.say(f"the same digest both times, {first.digest[:16]}, and nothing was sent", "✓")
        if not self.quiet:
            self.show((*tickets, late))
        return {
            "ok": again == 0 and same,
            "home": str(home),
            "mails": len(self.mails()),
            "events": first.events,
        }

    # --- the chapters -----------------------------------------------------------------------------

    def sign_in(self, email: str, locale: str, *, wrong_first: bool) -> str:
        service = self.services.sign_in
        user = service.sign_up(self.context(), email=email, locale=locale)
        started = service.start(self.context(), client="demo", email=email, user=user)
        notification = started.notification or ""
        self.codes.append(notification)
        self.say(f"{email} starts to sign in, and a code is mailed")
        code = self.code_in_mail(notification)
        if wrong_first:
            wrong = f"{(int(code) + 1) % 1_000_000:06d}"
            answer = service.answer(self.context(), challenge_id=started.challenge, code=wrong)
            self.say(f"a wrong answer: answers left: {answer.attempts_left}", "✗")
        answer = service.answer(self.context(), challenge_id=started.challenge, code=f" {code} ")
        if not answer.correct:
            msg = "the code in the mail was not the right one"
            raise AssertionError(msg)
        self.say("the code from the mail: signed in, the address is proved", "✓")
        return user

    def submit(self, parent: str, provider: str) -> tuple[str, str, str]:
        organization = self.organization
        self.services.directory.add_organization(id=organization, name="Kowloon Young Cooks")
        service = self.services.tickets
        access = service.submit(
            self.context(),
            ticket_type="access_request",
            user=provider,
            email=self.provider,
            body={
                "organization_name": "Star Dance 星星舞蹈",
                "request_message": "We teach ballet in Sai Ying Pun and would like to list it.",
            },
        )
        suggestion = service.submit(
            self.context(),
            ticket_type="organization_suggestion",
            user=parent,
            email=self.parent,
            body={
                "organization_name": "Harbour Chess",
                "description": "Saturday chess for beginners.\nThe coach speaks Cantonese.",
                "suggested_district": "Central and Western",
                "suggested_lat": 22.2867,
                "suggested_lng": 114.15,
                "media_urls": ["https://chess.example.com/poster"],
            },
        )
        feedback = service.submit(
            self.context(),
            ticket_type="organization_feedback",
            user=parent,
            email=self.parent,
            body={
                "organization_id": organization,
                "stars": 5,
                "description": "老師很有耐性。",
            },
        )
        references = tuple(
            found.submitted.reference for found in (access, suggestion, feedback) if found.submitted
        )
        self.say(f"Three tickets come in: {', '.join(references)}")
        try:
            service.submit(
                self.context(),
                ticket_type="access_request",
                user=provider,
                email=self.provider,
                body={"organization_name": "Star Dance"},
            )
        except Refused as error:
            self.say(f"a second one of the same type: {error}", "✗")
        return references[0], references[1], references[2]

    def decide(self, access: str, suggestion: str, feedback: str) -> None:
        service = self.services.tickets
        decided = service.approve(self.context(), access, by=_ADMIN, create_organization=True)
        name = decided.organization.name if decided.organization else ""
        self.say(f"{_ADMIN} approves {access}: {name} is made, its submitter becomes its manager")
        service.decline(
            self.context(), suggestion, by=_ADMIN, note="We list this club already. Thank you!"
        )
        self.say(f"{_ADMIN} declines {suggestion} with a note")
        service.approve(self.context(), feedback, by=_ADMIN)
        self.say(f"{_ADMIN} approves {feedback}: it is published and earns its submitter a star")
        try:
            service.decline(self.context(), access, by="admin-lee")
        except Refused as error:
            self.say(f"a second decision: {error}", "✗")

    def hear_back(self, provider: str, access: str, suggestion: str, _: str) -> str:
        """Hear what became of two mails, as SES reports it, and mail to neither address again."""
        self.say("SES reports what became of two of the mails")
        bounce = {"bounceType": "Permanent", "bounceSubType": "NoEmail"}
        complaint = {"complaintFeedbackType": "abuse"}
        self.report(suggestion, "Bounce", bounce)
        self.say(f"{self.parent} does not exist: suppressed until a person lifts it", "✗")
        self.report(access, "Complaint", complaint)
        self.say(f"{self.provider} complained: suppressed likewise", "✗")
        taken = self.services.tickets.submit(
            self.context(),
            ticket_type="organization_feedback",
            user=provider,
            email=self.provider,
            body={"organization_id": self.organization, "stars": 4},
        )
        reference = taken.submitted.reference if taken.submitted else ""
        self.services.tickets.approve(self.context(), reference, by=_ADMIN)
        self.work(f"{_ADMIN} approves {reference}, and who complained is mailed nothing about it")
        self.services.suppressions.lift(
            self.context(), self.provider, by=_ADMIN, reason="They took it back by telephone."
        )
        self.say(f"{_ADMIN} lifts the suppression of {self.provider}, with a reason", "✓")
        return reference

    def report(self, ticket: str, name: str, details: dict[str, str]) -> None:
        """Give in what SES would publish about the decision of a ticket."""
        (id, message_id) = next(
            (item.requested.id, item.message_id)
            for item in self.services.store.views.notifications(ticket=ticket)
            if item.requested is not None and item.requested.kind == "ticket_decided"
        )
        event = {
            "eventType": name,
            "mail": {"messageId": message_id, "tags": {"notification_id": [id]}},
            name.lower(): details | {"feedbackId": f"demo-{id}"},
        }
        feedback = self.services.feedback
        feedback.hear(self.context(), feedback.read(json.dumps(event)))

    def work(self, what: str) -> int:
        self.say(what)
        worked = 0

        def report(outcome: Outcome) -> None:
            nonlocal worked
            if outcome.result != "nothing_to_do":
                worked += 1
                self.say(f"{outcome.kind}: {outcome.result}", "→")

        self.services.delivery.drain(report=report)
        if not worked:
            self.say("nothing was due", "→")
        return worked

    def show(self, tickets: tuple[str, ...]) -> None:
        settings, command_line = self.installation.settings, self.installation.command_line
        echo()
        print_table(
            ("mail", "about", "status", "attempts"),
            (
                (item.requested.kind, item.requested.ticket, item.status, item.calls)
                for item in self.services.store.views.notifications()
                if item.requested is not None
                and (item.requested.ticket in tickets or item.requested.id in self.codes)
            ),
            empty="no mails",
        )
        echo("\nWhere to look:")
        print_fields(
            [
                (f"  {self.maildir / 'new'}", "the mails; any mail reader opens them"),
                (f"  {settings.sqlite_path}", "the history and its read models (SQLite)"),
                (
                    f"  {settings.text('SIUTINDEI_DIRECTORY').removeprefix('file:')}",
                    "what the grants changed",
                ),
            ]
        )
        echo("\nWhat to try:")
        for words in (
            ("ticket", "list"),
            ("ticket", "show", tickets[0]),
            ("notification", "list", "--ticket", tickets[0]),
            ("history", "stream", f"ticket-{tickets[0]}"),
            ("suppression", "list"),
            ("history", "tail"),
            ("doctor",),
        ):
            echo(f"  {command_line(*words)}")

    # --- small things -----------------------------------------------------------------------------

    def say(self, line: str, mark: str = "") -> None:
        if not self.quiet:
            echo(f"  {mark} {line}" if mark else line)

    def context(self) -> Context:
        return self.installation.context()

    def mails(self) -> list[Path]:
        return [*(self.maildir / "new").iterdir(), *(self.maildir / "cur").iterdir()]

    def code_in_mail(self, notification: str) -> str:
        """Read the code as a person does: in the mail."""
        from email import message_from_bytes
        from email.policy import default

        for path in self.mails():
            if notification not in path.name:
                continue
            message = message_from_bytes(path.read_bytes(), policy=default)
            body: Any = message.get_body(("plain",))
            found = _CODE.search(body.get_content())
            if found:
                return found.group()
        msg = "no code was mailed"
        raise AssertionError(msg)
