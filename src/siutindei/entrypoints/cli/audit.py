"""`audit`: what auditors ask."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import attrs
import click
import msgspec

from siutindei.app.ports import Damaged, Unusable
from siutindei.domain.errors import Invalid
from siutindei.entrypoints.cli import dossier as dossiers
from siutindei.entrypoints.cli.accesses import access
from siutindei.entrypoints.cli.base import Group, Installation, example, operator, pass_installation
from siutindei.entrypoints.cli.claims import claims
from siutindei.entrypoints.cli.output import cell, echo, print_fields, print_json
from siutindei.entrypoints.cli.progress import shown_progress
from siutindei.entrypoints.dossier_page import page as dossier_page

if TYPE_CHECKING:
    from siutindei.app.proof import Verified


@click.group(cls=Group)
def audit() -> None:
    """Inspect decisions, and verify the history."""


# --- one ticket -----------------------------------------------------------------------------------


@audit.command(
    epilog=example("siutindei audit ticket R00001", "siutindei audit ticket R00001 --html R1.html")
)
@click.argument("reference", metavar="REF")
@click.option(
    "--html",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write a page to print into a new file.",
)
@click.option(
    "--by", default=operator, show_default="the operating system's user", help="Who looks."
)
@pass_installation
def ticket(installation: Installation, reference: str, file: Path | None, by: str) -> None:
    """Open the dossier of one ticket, with every mail and its fate.

    REF is its number or its UUID. That it is opened is recorded first; `audit access` lists it.
    """
    services = installation.services
    if file is not None:
        services.refuse_taken(file)
    dossier = services.dossiers.open(installation.context(), reference, by=by)
    if file is not None:
        services.write(file, dossier_page(dossier))
    if installation.json:
        print_json(dossiers.document(dossier))
    elif file is None:
        dossiers.print_dossier(dossier)
    else:
        echo(f"written: {file}")


# --- the signed log -------------------------------------------------------------------------------

#: The exit code of a history, or of a receipt, that is not what was signed.
_FAILED: Final = 4
#: A receipt is some kilobytes; what never ends is none.
_LARGEST: Final = 2**24


@audit.command(epilog=example("siutindei audit checkpoint", "siutindei --json audit checkpoint"))
@pass_installation
def checkpoint(installation: Installation) -> None:
    """Verify the history, and sign how far it has come.

    The signed note is kept outside the database, and none is ever replaced. Exit code 4 says that
    something before the newest checkpoint is not as it was: then nothing is signed.
    """
    with (
        installation.services.proving() as proof,
        shown_progress("verifying", quiet=installation.json) as progress,
    ):
        taken = proof.checkpoint(progress=progress)
    found = taken.checkpoint
    document = {
        "number": taken.number,
        "origin": found.origin,
        "size": found.size,
        "root": _base64(found.root),
        "note": taken.note,
        "key": taken.key,
        "new": taken.is_new,
    }
    if installation.json:
        print_json(document)
        return
    print_fields([(name, document[name]) for name in ("number", "origin", "size", "root", "key")])
    if not taken.is_new:
        echo("note: nothing happened since it was taken")


@audit.command(
    epilog=example(
        "siutindei audit prove R00001 --output receipt.json",
        "siutindei audit prove ticket-R00001/1",
    )
)
@click.argument("ref")
@click.option(
    "--output",
    "file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the receipt into a new file.",
)
@pass_installation
def prove(installation: Installation, ref: str, file: Path | None) -> None:
    """Make a receipt: that one event stands in the signed log.

    REF is a ticket, whose decision is meant, or an event's id. The receipt holds the event as it is
    stored, what is personal sealed; `audit verify FILE` checks it, and verify_receipt.py alone.
    """
    with installation.services.proving() as proof:
        receipt = proof.prove(ref)
    if file is None:
        print_json(receipt)
        return
    installation.services.write(file, f"{msgspec.json.encode(receipt).decode()}\n")
    if installation.json:
        print_json(receipt)
    else:
        echo(f"written: {file}")


@audit.command(
    epilog=example("siutindei audit verify", "siutindei audit verify receipt.json --key KEYLINE")
)
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--key", "keys", multiple=True, metavar="KEYLINE", help="A public key that may sign.")
@click.pass_context
def verify(ctx: click.Context, file: Path | None, keys: tuple[str, ...]) -> None:
    """Verify the stored history, or a receipt.

    Every stored event is hashed again and held against every checkpoint that is kept. Exit code 4
    names what is not as it was signed. FILE is a receipt, which is checked offline instead.
    """
    installation = ctx.ensure_object(Installation)
    if file is not None:
        _verify_receipt(ctx, file, keys)
        return
    try:
        with (
            installation.services.proving(keys) as proof,
            shown_progress("verifying", quiet=installation.json) as progress,
        ):
            found = proof.verify(progress=progress)
    except Damaged as error:
        _fail(ctx, str(error))
        return
    _print_verified(installation, found)
    if not found.ok:
        ctx.exit(_FAILED)


def _print_verified(installation: Installation, found: Verified) -> None:
    root = None if found.root is None else _base64(found.root)
    if installation.json:
        print_json({"ok": found.ok, **attrs.asdict(found), "root": root})
        return
    for finding in found.findings:
        echo(finding.why)
    if found.more:
        echo(f"and {found.more} more events")
    if found.ok:
        echo("every event that a checkpoint covers is what was signed")
    print_fields(
        [
            ("checked", found.checked),
            ("checkpoints", found.checkpoints),
            ("covered", found.size),
            ("root", root),
            ("not covered", found.not_covered),
            ("seconds", f"{found.seconds:.3f}"),
        ]
    )
    if found.not_covered:
        echo(f"note: {found.not_covered} events are newer than the newest checkpoint; nothing is")
        echo("said of them: siutindei audit checkpoint covers them from now on")


def _fail(ctx: click.Context, why: str) -> None:
    """Say why nothing could be verified, and end."""
    click.echo(f"siutindei: {cell(why)}", err=True)
    if ctx.ensure_object(Installation).json:
        print_json({"ok": False, "checked": 0, "error": why})
    ctx.exit(_FAILED)


def _verify_receipt(ctx: click.Context, file: Path, keys: tuple[str, ...]) -> None:
    # It loads cryptography, which no other command of these needs at once.
    from siutindei import verify_receipt

    installation = ctx.ensure_object(Installation)
    try:
        with file.open("rb") as opened:
            data = opened.read(_LARGEST)
    except OSError as error:
        raise Unusable(f"{file} cannot be read: {error.strerror}") from error
    for key in keys:
        try:
            verify_receipt.parse_key(key)
        except verify_receipt.NotProved as error:
            raise Invalid("key", str(error)) from None
    try:
        proved = verify_receipt.check(data, keys or installation.services.known_keys)
    except verify_receipt.NotProved as error:
        _fail(ctx, f"not proved: {error}")
        return
    if not installation.json:
        for line in verify_receipt.lines(proved):
            echo(line)
        return
    document: dict[str, Any] = {
        "ok": True,
        "checked": 1,
        "event": proved.event,
        "name": proved.name,
        "recorded_at": proved.recorded_at,
        "actor": proved.actor,
        "leaf_index": proved.index,
        "origin": proved.checkpoint.origin,
        "size": proved.checkpoint.size,
        "root": _base64(proved.checkpoint.root),
        "key": proved.key,
        "key_known": proved.known,
    }
    print_json(document)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


audit.add_command(access)
audit.add_command(claims)
