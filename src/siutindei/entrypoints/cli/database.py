"""`database`: the tables of the store, and all that is in them as a file."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import attrs
import click

from siutindei.app.ports import Protected
from siutindei.domain.errors import Invalid
from siutindei.entrypoints.cli.base import Command, Group, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import echo, print_fields, print_json
from siutindei.entrypoints.cli.progress import shown_progress

F = TypeVar("F", bound=Callable[..., Any])

_FILE: Final = click.Path(path_type=Path)
#: The longest passphrase, in bytes.
_LONGEST: Final = 4096


@click.group(cls=Group)
def database() -> None:
    """The tables of the store, who may use them, and copies."""


@database.command(cls=Command, epilog=example("siutindei database migrate"))
@pass_installation
def migrate(installation: Installation) -> None:
    """Bring the tables up to this version, forward only.

    It can be repeated, and given on several machines at once. A file of SQLite makes its tables by
    itself; PostgreSQL wants this command once for each new version.
    """
    schema = installation.services.schema
    before = schema.migrate()
    with shown_progress("making read models", quiet=installation.json) as progress:
        made = installation.services.complete_read_models(progress=progress)
    if installation.json:
        print_json({"version": schema.newest, "before": before, "read_models": list(made)})
        return
    if before == schema.newest and not made:
        echo(f"nothing to do: the schema has version {before}")
    if before < schema.newest:
        echo(f"migrated: the schema has version {schema.newest}, before {before}")
    if made:
        echo(f"made from the history: {', '.join(made)}")


@database.command(cls=Command, epilog=example("siutindei --json database status"))
@pass_installation
def status(installation: Installation) -> None:
    """Say which version the tables have.

    Exit code 2 says that this program cannot use them as they are, 75 that nobody answers now.
    """
    schema = installation.services.schema
    version = schema.version()
    if version == schema.newest or installation.settings.postgres_url is not None:
        # On SQLite an older one would be made a newer one by it.
        schema.prepare()
    if installation.json:
        print_json({"version": version, "newest": schema.newest})
    elif version == schema.newest:
        echo(f"the schema has version {version}, as it should")
    elif version:
        echo(
            f"the schema has version {version}: the next command that needs it makes it "
            f"version {schema.newest}"
        )
    else:
        echo("there is no database yet: the first command that needs it makes it")


@database.command(cls=Command, epilog=example("siutindei database roles > roles.sql"))
@pass_installation
def roles(installation: Installation) -> None:
    """Print the SQL that makes PostgreSQL roles with the least rights.

    One writes and cannot change an event, one only reads. docs/postgresql.md says how to use them.
    """
    sql = installation.services.roles
    if installation.json:
        print_json({"sql": sql})
    else:
        echo(sql.rstrip())


# --- out and in -----------------------------------------------------------------------------------


def _key_options(command: F) -> F:
    """Give a command the options about a file of keys."""
    options = (
        click.option(
            "--with-keys", metavar="KEYFILE", type=_FILE, help="The file of keys beside it."
        ),
        click.option(
            "--passphrase-file",
            metavar="FILE",
            type=_FILE,
            help="The passphrase of the file of keys; by default it is asked for.",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def _protected(path: Path | None, passphrase_file: Path | None, *, new: bool) -> Protected | None:
    if path is None:
        if passphrase_file is not None:
            raise Invalid("passphrase_file", "is the passphrase of a file of keys: add --with-keys")
        return None
    return Protected(file=str(path), passphrase=_passphrase(passphrase_file, new=new))


def _passphrase(path: Path | None, *, new: bool) -> str:
    if path is None:
        if not _can_be_asked():
            raise Invalid("passphrase_file", "is wanted where nobody can be asked")
        text: str = click.prompt(
            "Passphrase", hide_input=True, confirmation_prompt=new, err=True, show_default=False
        )
        return text
    try:
        with path.open("rb") as file:
            data = file.read(_LONGEST + 1)
        text = data.decode().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise Invalid("passphrase_file", f"cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise Invalid("passphrase_file", "is not UTF-8") from None
    if not text or len(data) > _LONGEST:
        raise Invalid("passphrase_file", f"must hold between 1 and {_LONGEST} bytes")
    return text


def _can_be_asked() -> bool:
    return sys.stdin is not None and sys.stdin.isatty()


@database.command(
    cls=Command,
    epilog=example(
        "siutindei database export history.jsonl",
        "siutindei database export history.jsonl --with-keys history.keys",
    ),
)
@click.argument("file", type=_FILE)
@_key_options
@pass_installation
def export(
    installation: Installation, file: Path, with_keys: Path | None, passphrase_file: Path | None
) -> None:
    """Write the whole history into a new file, as JSON lines.

    What is personal stays sealed in it. With --with-keys the keys go into another file, under a
    passphrase; without them nobody reads what is personal where FILE is imported.
    """
    protected = _protected(with_keys, passphrase_file, new=True)
    done = installation.services.transfer.export(str(file), protected=protected)
    behind = None if protected else {"keys": done.keys, "owners": done.owners}
    if installation.json:
        print_json(
            attrs.asdict(done)
            | {"file": str(file), "with_keys": protected is not None, "left_behind": behind}
        )
        return
    print_fields(
        [
            ("file", file),
            ("events", done.events),
            ("erased owners", done.erased),
            ("digest", done.digest),
            ("file of keys", with_keys),
        ]
    )
    if behind is not None and done.keys:
        echo(
            f"note: {done.keys} keys of personal data, of {done.owners} owners, stay behind: "
            "where this file is imported without them, what they sealed reads [erased], "
            "and under another index key nobody is found by their address"
        )


@database.command(
    "import",
    cls=Command,
    epilog=example(
        "siutindei database import history.jsonl",
        "siutindei database import history.jsonl --with-keys history.keys --moved",
    ),
)
@click.argument("file", type=_FILE)
@_key_options
@click.option("--moved", is_flag=True, help="Nothing was sent where FILE comes from since.")
@pass_installation
def import_(
    installation: Installation,
    file: Path,
    with_keys: Path | None,
    passphrase_file: Path | None,
    moved: bool,
) -> None:
    """Fill an empty database with the history in a file.

    All of FILE is imported, or nothing: a file that is not whole, or that was altered, is refused.
    With --with-keys the keys are put where the settings say, unless other ones are there.

    Mails that were due may have been sent since FILE was made. So no mail goes at first, as after a
    restore, until `siutindei lane resume` says so; with --moved it goes at once.
    """
    protected = _protected(with_keys, passphrase_file, new=False)
    transfer = installation.services.transfer
    done = transfer.import_(str(file), protected=protected, moved=moved)
    if installation.json:
        print_json(attrs.asdict(done) | {"with_keys": protected is not None})
        return
    print_fields(
        [
            ("events", done.events),
            ("erased owners", done.erased),
            ("digest", done.digest),
            ("keys", done.keys or None),
        ]
    )
    if done.unreadable:
        echo(
            f"note: this version cannot read {done.unreadable} of the events: they are kept as "
            "they are, and stand in no list; the version that wrote them can read them"
        )
    if done.erased_again:
        echo(f"erased again, because the list of erasures names them: {done.erased_again} people")
    if protected is None:
        echo("note: without its keys, what is personal in this history reads [erased]")
    if done.halted:
        echo(
            "note: no mail goes yet, because what was sent after the export is not known here; "
            "when nothing was, or its reports are in: siutindei lane resume"
        )


@database.command(cls=Command, epilog=example("siutindei database backup siutindei.backup.db"))
@click.argument("file", type=_FILE)
@pass_installation
def backup(installation: Installation, file: Path) -> None:
    """Copy the SQLite database into a new file, while others use it.

    The copy is of one moment. The keys are not in it: keep a copy of them too, and apart from it.
    docs/backup.md says what a backup is made of; on PostgreSQL pg_dump makes it.
    """
    events = installation.services.schema.backup(str(file))
    if installation.json:
        print_json({"file": str(file), "events": events})
    else:
        echo(f"copied: {events} events are in {file}")
