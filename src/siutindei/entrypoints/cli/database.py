"""`database`: the tables of the store."""

from __future__ import annotations

import click

from siutindei.entrypoints.cli.base import Command, Group, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import echo, print_json
from siutindei.entrypoints.cli.progress import shown_progress


@click.group(cls=Group)
def database() -> None:
    """The tables of the store, and who may use them."""


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
        made = installation.services.read_models.complete(progress=progress) if before else ()
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
    if version or installation.settings.postgres_url is not None:
        schema.prepare()
    if installation.json:
        print_json({"version": version, "newest": schema.newest})
    elif version:
        echo(f"the schema has version {version}, as it should")
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
