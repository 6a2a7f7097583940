"""`suppression` and `lane`: who is not mailed to, and whose mail does not go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from siutindei.domain import lane as lanes
from siutindei.entrypoints.cli.base import (
    Group,
    Installation,
    example,
    operator,
    pass_installation,
)
from siutindei.entrypoints.cli.output import print_fields, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from siutindei.app.suppressions import Drift, Listed

_EXAMPLE: Final = "ann@example.com"
_COLUMNS: Final = (
    *("fingerprint", "address", "active", "reason", "since", "expires_at", "evidence"),
)
_LIFTED: Final = ("lifted_at", "lifted_by", "lifted_because")
_LANE: Final = ("name", "halted", "why", "since", "next_try", "error", "by", "note")
_DRIFTS: Final = {
    "only_here": "here alone",
    "only_at_ses": "at SES alone",
    "lifted_here": "at SES, and lifted here since",
}


@click.group(cls=Group)
def suppression() -> None:
    """Addresses that are not mailed to, and why."""


@suppression.command(
    "list", epilog=example("siutindei suppression list", "siutindei suppression list --reveal")
)
@click.option("--all", "every", is_flag=True, help="Also those that were, and soft bounces.")
@click.option("--reveal", is_flag=True, help="Show addresses in clear; who looks is recorded.")
@click.option(
    "--by", default=operator, show_default="the operating system's user", help="Who looks."
)
@pass_installation
def list_(installation: Installation, every: bool, reveal: bool, by: str) -> None:
    """List suppressed addresses, the oldest first.

    A permanent bounce and a complaint suppress until a person lifts it; soft bounces for a while.
    """
    service = installation.services.suppressions
    found = (
        service.reveal(installation.context(), by=by, every=every)
        if reveal
        else service.list(every=every)
    )
    items = [_document(one) for one in found]
    if installation.json:
        print_json({"items": items})
        return
    print_table(
        ("fingerprint", "address", "suppressed", "reason", "since", "until", "evidence")
        + (("lifted", "by", "because") if every else ()),
        ([item[name] for name in (*_COLUMNS, *(_LIFTED if every else ()))] for item in items),
        empty="nobody is suppressed",
    )


def _document(one: Listed) -> dict[str, Any]:
    found, lifted = one.state.suppressed, one.state.lifted
    return {
        "fingerprint": one.fingerprint,
        "address": one.address,
        "active": one.active,
        "reason": found and found.reason,
        "since": one.state.since,
        "expires_at": found.expires_at if found else None,
        "evidence": found and found.evidence,
        "by": found and found.by,
        "note": one.note,
        "soft_bounces": len(one.state.soft),
        "lifted_at": lifted.at if lifted else None,
        "lifted_by": lifted and lifted.by,
        "lifted_because": one.lifted_because,
    }


@suppression.command(
    epilog=example(f"siutindei suppression add {_EXAMPLE} --by ops-1 --reason 'asked by letter'")
)
@click.argument("address")
@click.option("--by", required=True, help="Who decides it.")
@click.option("--reason", required=True, help="Why, at most 500 characters.")
@pass_installation
def add(installation: Installation, address: str, by: str, reason: str) -> None:
    """Mail nothing to an address any more, until it is lifted."""
    service = installation.services.suppressions
    _print_one(installation, service.add(installation.context(), address, by=by, reason=reason))


@suppression.command(
    epilog=example(f"siutindei suppression lift {_EXAMPLE} --by ops-1 --reason 'a new mailbox'")
)
@click.argument("address", metavar="ADDRESS|FINGERPRINT")
@click.option("--by", required=True, help="Who decides it.")
@click.option("--reason", required=True, help="Why, at most 500 characters.")
@pass_installation
def lift(installation: Installation, address: str, by: str, reason: str) -> None:
    """Let an address be mailed to again.

    What was withheld stays withheld. Where mails go to SES, its own list still has the address:
    `suppression sync` takes it from there.
    """
    service = installation.services.suppressions
    _print_one(installation, service.lift(installation.context(), address, by=by, reason=reason))


def _print_one(installation: Installation, one: Listed) -> None:
    if installation.json:
        print_json(_document(one))
    else:
        print_fields(_document(one).items())


@suppression.command(epilog=example("siutindei suppression drift"))
@click.pass_context
def drift(ctx: click.Context) -> None:
    """Compare our list with the one that SES keeps for the account.

    Exit code 1 says that they differ, 75 that SES cannot be reached.
    """
    installation = ctx.ensure_object(Installation)
    found = installation.services.suppressions.drift()
    _print_drift(installation, found, "the lists agree")
    if found:
        ctx.exit(1)


@suppression.command(epilog=example("siutindei suppression sync"))
@pass_installation
def sync(installation: Installation) -> None:
    """Bring our list and SES's together.

    What SES alone has is suppressed here; what bounced or complained here is put on SES's list;
    what a person lifted here since leaves it. SES takes one request a second.
    """
    found: list[Drift] = []
    installation.services.suppressions.sync(installation.context(), report=found.append)
    _print_drift(installation, found, "the lists agreed")


def _print_drift(installation: Installation, found: Sequence[Drift], empty: str) -> None:
    if installation.json:
        print_json({"items": [attrs.asdict(one) for one in found]})
        return
    print_table(
        ("fingerprint", "address", "where", "reason", "since"),
        (
            (one.fingerprint, one.address, _DRIFTS[one.where], one.reason, one.since)
            for one in found
        ),
        empty=empty,
    )


@click.group(cls=Group)
def lane() -> None:
    """The two senders' mail: sign-in codes, and mails about tickets."""


@lane.command("list", epilog=example("siutindei lane list"))
@pass_installation
def list_lanes(installation: Installation) -> None:
    """Say whose mail goes, and whose is halted and why.

    What the mail service halted resumes by itself: one mail tries now and then.
    """
    _print_lanes(installation, installation.services.lanes.all().items())


@lane.command(epilog=example("siutindei lane halt tickets --by ops-1 --reason 'wrong text'"))
@click.argument("name", type=click.Choice(lanes.NAMES))
@click.option("--by", required=True, help="Who halts it.")
@click.option("--reason", required=True, help="Why, at most 500 characters.")
@pass_installation
def halt(installation: Installation, name: lanes.Name, by: str, reason: str) -> None:
    """Let no mail of a lane go until it is resumed; none is lost."""
    service = installation.services.lanes
    state = service.halt(installation.context(), name, by=by, reason=reason)
    _print_lanes(installation, [(name, state)])


@lane.command(epilog=example("siutindei lane resume tickets --by ops-1 --reason 'mended'"))
@click.argument("name", type=click.Choice(lanes.NAMES))
@click.option("--by", required=True, help="Who resumes it.")
@click.option("--reason", required=True, help="Why, at most 500 characters.")
@pass_installation
def resume(installation: Installation, name: lanes.Name, by: str, reason: str) -> None:
    """Let mail of a lane go again.

    After a restore: first let SES's feedback of the time since the backup come in.
    """
    service = installation.services.lanes
    state = service.resume(installation.context(), name, by=by, reason=reason)
    _print_lanes(installation, [(name, state)])


def _print_lanes(
    installation: Installation, found: Iterable[tuple[lanes.Name, lanes.Lane]]
) -> None:
    items = [
        {
            "name": name,
            "halted": state.why is not None,
            "why": state.why,
            "since": state.since,
            "error": state.error,
            "by": state.by,
            "note": state.note and state.note.text,
            "failures": state.failures,
            "next_try": state.probe_at,
        }
        for name, state in found
    ]
    if installation.json:
        print_json({"items": items})
        return
    print_table(
        ("lane", "halted", "why", "since", "next try", "error", "by", "note"),
        ([item[name] for name in _LANE] for item in items),
        empty="",
    )
