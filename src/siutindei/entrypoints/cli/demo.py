"""`demo`: the whole story, told as it happens."""

from __future__ import annotations

import mailbox
import re
import secrets
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from siutindei.bootstrap import build
from siutindei.domain.errors import Refused
from siutindei.entrypoints.cli.base import Installation, example, pass_installation
from siutindei.entrypoints.cli.output import print_json, print_table

if TYPE_CHECKING:
    from siutindei.app.ports import Context
    from siutindei.bootstrap import Services

_CODE: Final = re.compile(r"(?<![0-9])[0-9]{6}(?![0-9])")
_ADMIN: Final = "admin-mei"


@click.command(epilog=example("siutindei demo", "siutindei --home ./try demo"))
@pass_installation
def demo(installation: Installation) -> None:
    """Tell the whole story in a fresh home: sign in, submit, decide, mail, replay."""
    home = installation.home or Path(tempfile.mkdtemp(prefix="siutindei-demo-"))
    told = attrs.evolve(installation, home=home)
    story = _Story(told, quiet=installation.json)
    document = story.tell()
    if installation.json:
        print_json(document)


class _Story:
    """One telling; each telling has its own people, so that a home can hold several."""

    def __init__(self, installation: Installation, *, quiet: bool) -> None:
        self.installation = installation
        self.services: Services = build(installation.settings)
        self.quiet = quiet
        mark = secrets.token_hex(3)
        self.parent = f"chan.{mark}@example.com"
        self.provider = f"dance.{mark}@example.com"

    def tell(self) -> dict[str, Any]:
        services = self.services
        self.say(f"A fresh home: {self.installation.settings.home}")
        parent = self.sign_in(self.parent, "zh-HK", wrong_first=True)
        provider = self.sign_in(self.provider, "en", wrong_first=False)
        access, suggestion, feedback = self.submit(parent, provider)
        self.work("The worker tells support about each of them")
        self.decide(access, suggestion, feedback)
        self.work("The worker tells the submitters, and carries out what was granted")
        again = self.work("The worker looks once more: every mail goes out once")
        first, second = services.history.replay(), services.history.replay()
        self.say(
            f"The history, replayed twice into memory: {first.events} events, "
            f"digest {first.digest[:16]} both times, and nothing was sent"
        )
        self.show()
        mails = sum(1 for _ in self.mails())
        return {
            "ok": again == 0 and first.digest == second.digest,
            "home": str(self.installation.settings.home),
            "mails": mails,
            "events": first.events,
        }

    # --- the chapters -----------------------------------------------------------------------------

    def sign_in(self, email: str, locale: str, *, wrong_first: bool) -> str:
        service = self.services.sign_in
        user = service.sign_up(self.context(), email=email, locale=locale)
        started = service.start(self.context(), client="demo", email=email, user=user)
        self.say(f"{email} starts to sign in, and a code is mailed")
        code = self.code_in_mail(started.notification or "")
        if wrong_first:
            wrong = f"{(int(code) + 1) % 1_000_000:06d}"
            answer = service.answer(self.context(), challenge_id=started.challenge, code=wrong)
            self.say(f"  a wrong answer: answers left: {answer.attempts_left}", mark="✗")
        answer = service.answer(self.context(), challenge_id=started.challenge, code=f" {code} ")
        if not answer.correct:
            msg = "the code in the mail was not the right one"
            raise AssertionError(msg)
        self.say("  the code from the mail: signed in, the address is proved", mark="✓")
        return user

    def submit(self, parent: str, provider: str) -> tuple[str, str, str]:
        organization = self.services.ids.uuid()
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
            self.say(f"  a second one of the same type is refused: {error}", mark="✗")
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
            self.say(f"  a second decision is refused: {error}", mark="✗")

    def work(self, what: str) -> int:
        self.say(what)
        worked = 0

        def report(outcome: Any) -> None:
            nonlocal worked
            if outcome.result != "nothing_to_do":
                worked += 1
                self.say(f"  {outcome.kind}: {outcome.result}", mark="→")

        self.services.delivery.drain(report=report)
        if not worked:
            self.say("  nothing was due", mark="→")
        return worked

    def show(self) -> None:
        if self.quiet:
            return
        home = self.installation.settings.home
        click.echo()
        print_table(
            ("mail", "cause", "status", "attempts"),
            (
                (item.requested.kind, item.requested.cause, item.status, item.calls)
                for item in self.services.store.views.notifications()
                if item.requested is not None
            ),
            empty="no mails",
        )
        click.echo(f"""
Where to look:
  {self.installation.settings.maildir}/new   the mails (any mail reader opens them)
  {self.installation.settings.sqlite_path}   the history and its read models (SQLite)
  {home}/directory.json   what the grants changed

What to try:
  siutindei --home {home} ticket list
  siutindei --home {home} history tail
  siutindei --home {home} history stream ticket-R00001""")

    # --- small things -----------------------------------------------------------------------------

    def say(self, line: str, *, mark: str = "") -> None:
        if not self.quiet:
            click.echo(f"{line} {mark}".rstrip())

    def context(self) -> Context:
        return self.installation.context()

    def mails(self) -> mailbox.Maildir:
        return mailbox.Maildir(self.installation.settings.maildir, create=False)

    def code_in_mail(self, notification_id: str) -> str:
        """Read the code as a person does: in the mail."""
        for message in self.mails():
            if message["X-Siutindei-Notification-Id"] != notification_id:
                continue
            for part in message.walk():
                if part.get_content_type() == "text/plain":
                    payload: Any = part.get_payload(decode=True)
                    found = _CODE.search(payload.decode())
                    if found:
                        return found.group()
        msg = "no code was mailed"
        raise AssertionError(msg)
