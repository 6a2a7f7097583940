"""`notification` and `dead-letter`: the ledger of mails and grants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from siutindei.app.ports import PortError
from siutindei.domain import notification as notifications
from siutindei.domain.errors import Invalid, NotFound
from siutindei.entrypoints.cli.base import Group, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import (
    echo,
    print_fields,
    print_json,
    print_table,
    when,
)

if TYPE_CHECKING:
    from siutindei.app.dead_letters import DeadLetter


@click.group("notification", cls=Group)
def notification() -> None:
    """Look at the mails that were asked for."""


@notification.command("list", epilog=example("siutindei notification list --status accepted"))
@click.option(
    "--status",
    type=click.Choice(notifications.STATUSES),
    metavar="STATUS",
    help=f"Only in this status: {', '.join(notifications.STATUSES)}.",
)
@click.option("--kind", type=click.Choice(notifications.KINDS), help="Only of this kind.")
@click.option("--ticket", metavar="REF", help="Only about this ticket.")
@pass_installation
def list_(
    installation: Installation,
    status: notifications.Status | None,
    kind: notifications.Kind | None,
    ticket: str | None,
) -> None:
    """List notifications, oldest first."""
    views = installation.services.store.views
    items = [
        _document(item)
        for item in views.notifications(
            status=status, kind=kind, ticket=None if ticket is None else ticket.upper()
        )
    ]
    if installation.json:
        print_json({"items": items})
        return
    print_table(
        ("id", "kind", "ticket", "status", "attempts", "why", "until", "error"),
        (
            (
                item["id"],
                item["kind"],
                item["ticket"],
                item["status"],
                item["attempts"],
                item["why"],
                item["due_at"] if item["status"] == "deferred" else None,
                item["last_error"],
            )
            for item in items
        ),
        empty="no notifications",
    )


@notification.command(
    epilog=example("siutindei notification show 0f3c9b1e5d7a4c2f8e6b0a1d2c3e4f50")
)
@click.argument("id")
@pass_installation
def show(installation: Installation, id: str) -> None:
    """Show one notification.

    The address that it goes to stays sealed.
    """
    found = installation.services.store.views.find_notification(id)
    if found is None:
        raise NotFound("notification", id)
    document = _document(found)
    if installation.json:
        print_json(document)
    else:
        print_fields(document.items())


_HAS_REASON: Final = frozenset({"deferred", "withheld", "dead_lettered"})


def _document(item: notifications.Notification) -> dict[str, Any]:
    requested = item.requested
    if requested is None:
        raise AssertionError
    return {
        "id": requested.id,
        "kind": requested.kind,
        "cause": requested.cause,
        "ticket": requested.ticket,
        "status": item.status,
        # Why it waited once says nothing of one that went.
        "why": item.why if item.status in _HAS_REASON else None,
        "attempts": item.calls,
        "message_id": item.message_id,
        "first_error": item.first_error,
        "last_error": item.last_error,
        "template": f"{requested.template} {requested.template_version}",
        "template_hash": requested.template_hash,
        "requested_at": requested.at,
        "accepted_at": item.accepted_at,
        "due_at": item.due_at,
        "expires_at": requested.expires_at,
        "discarded": item.discarded,
    }


@click.group("dead-letter", cls=Group)
def dead_letter() -> None:
    """Look at what was given up; redrive or discard it."""


@dead_letter.command("list", epilog=example("siutindei dead-letter list"))
@pass_installation
def list_letters(installation: Installation) -> None:
    """List dead letters: mails and grants.

    Where there is a dead-letter queue, what lies on it is listed too.
    """
    service = installation.services.dead_letters
    letters = service.all()
    try:
        lying, problem = service.lying(), None
    except PortError as error:
        # What counts is the ledger; the queue is only shown.
        lying, problem = None, str(error)
    if installation.json:
        queue: dict[str, Any] = {}
        if lying is not None:
            queue = {"queue": [attrs.asdict(message) for message in lying]}
        elif problem is not None:
            queue = {"queue": None, "queue_problem": problem}
        print_json({"items": [_letter(letter) for letter in letters]} | queue)
        return
    _print_table(letters, "no dead letters")
    if lying is not None:
        echo()
        print_table(
            ("message about", "id", "it stands", "what is wrong with it", "why it lies there"),
            ((m.work, m.id, m.status, m.wrong, m.reason) for m in lying),
            empty="no messages on the dead-letter queue",
        )
    if problem is not None:
        click.echo(f"the dead-letter queue was not looked at: {problem}", err=True)


@dead_letter.command("show", epilog=example("siutindei dead-letter show R00001-organization"))
@click.argument("id")
@pass_installation
def show_letter(installation: Installation, id: str) -> None:
    """Show one dead letter, and what was done about it.

    What was redriven, discarded or delivered meanwhile is shown too.
    """
    letter = installation.services.dead_letters.show(id)
    document = _letter(letter)
    if installation.json:
        print_json(document)
        return
    print_fields((name, value) for name, value in document.items() if name != "actions")
    for action in letter.actions:
        said = "" if action.reason is None else f": {action.reason}"
        print_fields([(action.what, f"{when(action.at)} by {action.by}{said}")])


@dead_letter.command(
    epilog=example(
        "siutindei dead-letter redrive --all --dry-run --by ops-1",
        "siutindei dead-letter redrive R00001-organization --by ops-1",
    )
)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="Every dead letter.")
@click.option("--dry-run", is_flag=True, help="Only say what would be redriven, and what not.")
@click.option("--by", required=True, help="Who redrives.")
@pass_installation
def redrive(
    installation: Installation, ids: tuple[str, ...], every: bool, dry_run: bool, by: str
) -> None:
    """Give dead letters three more attempts.

    The worker makes them. What was delivered, redriven or discarded meanwhile is left alone.
    """
    service = installation.services.dead_letters
    chosen = _chosen(installation, ids, every=every)
    if dry_run:
        letters = [service.show(id) for id in chosen]
    else:
        letters = service.redrive(installation.context(), chosen, by=by) if chosen else []
    done = {} if dry_run else {"done": "redriven"}
    _print_letters(installation, letters, "nothing to redrive", dry_run=dry_run, **done)


@dead_letter.command(
    epilog=example(
        "siutindei dead-letter discard R00001-organization --by ops-1 --reason 'told by telephone'"
    )
)
@click.argument("ids", nargs=-1, metavar="[ID]...")
@click.option("--all", "every", is_flag=True, help="Every dead letter.")
@click.option("--by", required=True, help="Who discards.")
@click.option("--reason", required=True, help="Why, at most 500 characters.")
@pass_installation
def discard(
    installation: Installation, ids: tuple[str, ...], every: bool, by: str, reason: str
) -> None:
    """Close dead letters without sending them."""
    chosen = _chosen(installation, ids, every=every)
    letters = (
        installation.services.dead_letters.discard(
            installation.context(), chosen, by=by, reason=reason
        )
        if chosen
        else []
    )
    _print_letters(installation, letters, "nothing to discard", done="discarded")


def _chosen(installation: Installation, ids: tuple[str, ...], *, every: bool) -> list[str]:
    if every == bool(ids):
        raise Invalid("id", "name the dead letters, or give --all, and not both")
    if every:
        return [letter.id for letter in installation.services.dead_letters.all()]
    return [*dict.fromkeys(ids)]


def _print_letters(
    installation: Installation, letters: list[DeadLetter], empty: str, **more: object
) -> None:
    if installation.json:
        print_json({"items": [_letter(letter) for letter in letters]} | more)
    else:
        _print_table(letters, empty, more.get("done"))


def _letter(letter: DeadLetter) -> dict[str, Any]:
    return {
        "id": letter.id,
        "work": letter.work,
        "kind": letter.kind,
        "cause": letter.cause,
        "ticket": letter.ticket,
        "status": letter.status,
        "fault": letter.fault,
        "why": letter.why,
        "since": letter.since,
        "calls": letter.calls,
        "first_error": letter.first_error,
        "first_error_at": letter.first_error_at,
        "last_error": letter.last_error,
        "last_error_at": letter.last_error_at,
        "maybe_sent": letter.maybe_sent,
        "would_do_nothing": letter.would_do_nothing,
        "no_op": letter.no_op,
        "actions": [
            {
                "what": action.what,
                "by": action.by,
                "at": action.at,
                "reason": action.reason,
            }
            for action in letter.actions
        ],
    }


def _print_table(letters: list[DeadLetter], empty: str, done: object = None) -> None:
    print_table(
        (
            *("id", "what", "kind", "ticket", "whose fault", "since", "calls", "last error"),
            "redrive" if done is None else "done",
        ),
        (
            (
                letter.id,
                letter.work,
                letter.kind,
                letter.ticket,
                letter.fault.replace("_", " "),
                letter.since,
                letter.calls,
                letter.last_error,
                done if done is not None and letter.no_op is None else _prospect(letter),
            )
            for letter in letters
        ),
        empty=empty,
    )


def _prospect(letter: DeadLetter) -> str:
    """Say what a redrive leads to."""
    if letter.no_op is not None:
        return f"would do nothing: {_NO_OPS.get(letter.no_op, letter.no_op)}"
    if letter.maybe_sent:
        return "would try again, though it may have been sent"
    return "would try again"


_NO_OPS: Final = {
    "accepted": "the mail service took it meanwhile",
    "delayed": "the mail service took it meanwhile, and its delivery is delayed",
    "delivered": "it was delivered meanwhile",
    "bounced": "it was sent meanwhile, and bounced",
    "complained": "it was sent meanwhile, and complained about",
    "done": "it was done meanwhile",
    "discarded": "it was discarded",
    "under_way": "it was redriven before",
    "expired": "its time is over",
    "erased": "the person was erased",
    "suppressed": "the address is suppressed",
}
