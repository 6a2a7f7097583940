"""`config` and `doctor`: what this installation is, and what is wrong with it."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from siutindei.app.books import compare, reconcile
from siutindei.app.budgeting import misfits
from siutindei.app.ports import PortError, Unusable
from siutindei.domain import report
from siutindei.domain.errors import Invalid
from siutindei.entrypoints.cli.base import Command, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import echo, print_fields, print_json, print_table
from siutindei.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from siutindei.app.books import Account, Books, Mails, Reported

_OVERDUE: Final = timedelta(minutes=1)


@click.command(cls=Command, epilog=example("siutindei config", "siutindei --json config"))
@pass_installation
def config(installation: Installation) -> None:
    """Print every setting and where it came from.

    Secrets are masked. docs/settings.md says what each is for.
    """
    values = installation.settings.values.values()
    if installation.json:
        print_json(
            {
                "settings": [
                    {"name": value.setting.name, "value": value.shown, "source": value.source}
                    for value in values
                ]
            }
        )
        return
    print_table(
        ("setting", "value", "from"),
        ((value.setting.name, value.shown, value.source) for value in values),
        empty="",
    )


@attrs.frozen
class Problem:
    """Something that is wrong, and how to mend it."""

    what: str
    mend: str


@click.command(cls=Command, epilog=example("siutindei doctor", "siutindei --json doctor --deep"))
@click.option("--deep", is_flag=True, help="Reconcile the books, from the history alone.")
@click.pass_context
def doctor(ctx: click.Context, deep: bool) -> None:
    """Say what is wrong here and how to mend it.

    With --deep the whole history is read: each cause has its mail and its grants, each attempt an
    outcome, each ticket a number of its own, each report its mail.
    Exit code 1 says that something is wrong.
    """
    installation = ctx.ensure_object(Installation)
    problems = list(_problems(installation))
    books = None
    if deep:
        try:
            books = _books(installation)
        except PortError as error:
            problems.append(_problem(error, "the books cannot be read: "))
    mails = None
    if books is not None:
        mails = _mails(installation)
        problems.extend((*_unreconciled(installation, books), *_strange(mails)))
    if installation.json:
        document: dict[str, Any] = {
            "ok": not problems,
            "problems": [attrs.asdict(problem) for problem in problems],
        }
        more = {"books": books and _counts(books), "mails": mails and _counted(mails)}
        print_json(document | (more if deep else {}))
    else:
        if books is not None:
            _print_books(books)
        if problems:
            print_table(
                ("what is wrong", "how to mend it"),
                ((problem.what, problem.mend) for problem in problems),
                empty="",
            )
        else:
            echo("nothing is wrong")
    if problems:
        ctx.exit(1)


def _books(installation: Installation) -> Books | None:
    """Reconcile the books; None where there is no store, which is a problem by itself."""
    services = installation.__dict__.get("services")
    # Where there is no store by now, there is none a moment later either.
    if services is None or "store" not in services.__dict__:
        return None
    damage = services.schema.damage()
    if damage is not None:
        raise Unusable(damage)
    return reconcile(services.store, at=services.clock.now())


def _mails(installation: Installation) -> Mails | None:
    """Compare the maildir with the history; None where mails go elsewhere, or it cannot be read."""
    held = installation.services.held_mails
    return None if held is None else compare(installation.services.store, held)


def _strange(mails: Mails | None) -> Iterator[Problem]:
    if mails is not None and mails.strange:
        yield Problem(
            f"the maildir has {len(mails.strange)} mails that nothing here asked for, "
            f"{mails.strange[0]} the first",
            "a backup was restored and they were sent after it was made, or another home delivers "
            "there too; keep them elsewhere",
        )


def _counted(mails: Mails) -> dict[str, int]:
    return {"held": mails.held, "strange": len(mails.strange), "absent": mails.absent}


def _problem(error: PortError, prefix: str = "") -> Problem:
    # What is wrong and what to do about it are one sentence in these errors.
    what, _, mend = str(error).partition("; ")
    return Problem(f"{prefix}{what}", mend or "see docs/backup.md, or try again")


def _unreconciled(installation: Installation, books: Books) -> Iterator[Problem]:
    keep = "keep a copy of the database and report it"
    for finding in books.findings:
        shown = installation.command_line("history", "stream", finding.stream)
        mend = f"{keep}; {shown} shows what happened"
        if finding.stream.startswith(f"{report.CATEGORY}-"):
            mend = (
                f"see {installation.command_line('feedback', 'list')}; if it is somebody else's "
                "mail, let SES report through a configuration set alone (docs/ses.md)"
            )
        yield Problem(finding.what, mend)
    if books.found > len(books.findings):
        more = books.found - len(books.findings)
        yield Problem(f"{more} more things in the books do not add up", keep)


def _counts(books: Books) -> dict[str, Any]:
    """Give the books for programs; what does not add up is among the problems."""
    return {
        "events": books.events,
        "streams": books.streams,
        "commands": books.commands,
        "tickets": books.tickets,
        "causes": books.causes,
        "notifications": attrs.asdict(books.notifications),
        "grants": attrs.asdict(books.grants),
        "feedback": attrs.asdict(books.feedback),
        "next_due": books.next_due,
        "findings": books.found,
    }


def _print_books(books: Books) -> None:
    print_fields(
        [
            ("events", f"{books.events} in {books.streams} streams by {books.commands} commands"),
            ("tickets", books.tickets),
            ("causes", f"{books.causes} mails and grants were asked for"),
            ("mails", _account(books.notifications)),
            ("grants", _account(books.grants)),
            ("reports", _feedback(books.feedback)),
            ("next due", books.next_due),
        ]
    )
    echo()


def _feedback(feedback: Reported) -> str:
    counts = attrs.asdict(feedback)
    return ", ".join(f"{count} {name}" for name, count in counts.items() if count) or "none"


def _account(account: Account) -> str:
    counts = attrs.asdict(account)
    words = ", ".join(
        f"{count} {name.replace('_', ' ')}"
        for name, count in counts.items()
        if count and name not in {"requested", "attempts", "open"}
    )
    attempts = f"{account.attempts} attempts"
    if account.open:
        attempts = f"{attempts}, {account.open} of them without an outcome"
    return f"{account.requested} requested: {words} ({attempts})" if words else "none"


def _problems(installation: Installation) -> Iterator[Problem]:
    try:
        services = installation.services
    except Invalid as error:
        yield Problem(str(error), "set it to something else, or unset it: the default works")
        return
    for misfit in misfits(installation.settings.budget_limits):
        what, _, mend = misfit.rpartition(": ")
        yield Problem(what, mend)
    known = {setting.name for setting in SETTINGS}
    for name in sorted(os.environ):
        if name.startswith("SIUTINDEI_") and name not in known:
            yield Problem(
                f"{name} is set, and is no setting of this version",
                "unset it, or correct its name: siutindei config lists them",
            )
    try:
        store = services.store
    except PortError as error:
        what, _, mend = str(error).partition("; ")
        yield Problem(what, mend or "correct its owner and its mode, or name another home")
        return
    wrong = []
    try:
        for name in services.history.projections:
            # The whole history is read on the way.
            made = services.read_models.verify(name, progress=lambda *_: None)
            if made.different:
                wrong.append(made)
        services.directory.labels()
    except PortError as error:
        yield _problem(error)
        return
    try:
        _ = services.mail
    except PortError as error:
        what, _, mend = str(error).partition("; ")
        yield Problem(what, mend or "name another place for mails: SIUTINDEI_MAIL")
    maildir = installation.settings.maildir
    if maildir is not None and not _can_be_written(maildir):
        yield Problem(f"{maildir} cannot be written", f"correct its owner and its mode: {maildir}")
    for name in ("SIUTINDEI_CODE_KEYS", "SIUTINDEI_VAULT_KEYS", "SIUTINDEI_INDEX_KEY"):
        path = installation.settings.file(name)
        if path.stat().st_mode & 0o077:
            yield Problem(f"{path} can be read by others", f"chmod 600 {path}")
    yield from _erasures(installation)
    yield from _senders(installation)
    letters = services.dead_letters.all()
    if letters:
        yield Problem(
            f"{len(letters)} dead letters wait for a person",
            f"{installation.command_line('dead-letter', 'list')}, then redrive or discard",
        )
    now = services.clock.now()
    overdue = [entry for entry in store.views.due(at=now) if now - entry.due_at >= _OVERDUE]
    if overdue:
        yield Problem(
            f"{len(overdue)} mails or grants are overdue by a minute or more",
            f"start a worker: {installation.command_line('worker')}",
        )
    for made in wrong:
        yield Problem(
            f"the read model {made.name} is not what the history gives in {made.different} rows",
            "keep a copy of the database and report it, then "
            + installation.command_line("projection", "rebuild", made.name),
        )


def _senders(installation: Installation) -> Iterator[Problem]:
    """Say whose mail does not go."""
    services = installation.services
    for name, state in services.lanes.all().items():
        if state.why is not None:
            resume = (
                f"see docs/suppression.md, then {installation.command_line('lane', 'resume', name)}"
            )
            yield Problem(
                f"no mail of the lane {name} goes ({state.why}{_because(state.error)})",
                "it tries again by itself" if state.probe_at else resume,
            )
    fingerprint = services.addresses.fingerprint(installation.settings.senders.support)
    support = services.store.views.find_suppression(fingerprint)
    if support is not None and support.is_active(services.clock.now()):
        yield Problem(
            "the support mailbox is suppressed: nobody hears of new tickets",
            f"mend it, then {installation.command_line('suppression', 'lift', fingerprint)}",
        )


def _because(error: str | None) -> str:
    return "" if error is None else f": {error}"


def _erasures(installation: Installation) -> Iterator[Problem]:
    """Say what would let somebody come back who was erased."""
    services = installation.services
    if services.store.owed:
        yield Problem(
            "a file of the database may still hold what was erased: others read it, or it is full",
            f"let them end, make room, and start a worker: {installation.command_line('worker')}",
        )
    if services.store.unforgotten:
        yield Problem(
            "mails of somebody who was erased may still be in the maildir: whoever erased them was "
            "stopped before the mails were taken out",
            f"start a worker: {installation.command_line('worker')}",
        )
    listed = {erasure.user for erasure in services.erasures.all()}
    unlisted = [owner for owner in services.store.erased_owners() if owner not in listed]
    if unlisted:
        yield Problem(
            f"{len(unlisted)} people were erased and are not on the list of erasures, {unlisted[0]}"
            " the first: a backup that is restored would bring them back",
            "put the newest erasures.jsonl back, or give each of their erasures again",
        )


def _can_be_written(folder: Path) -> bool:
    """Whether a folder, or the one that it would be made in, can be written."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
