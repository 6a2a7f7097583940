"""`sign-in`: start a sign-in and answer its challenge."""

from __future__ import annotations

from typing import Final

import attrs
import click

from siutindei.entrypoints.cli.base import Group, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import echo, print_fields, print_json

#: The app client that the command line stands for.
CLIENT: Final = "cli"


@click.group("sign-in", cls=Group)
def sign_in() -> None:
    """Sign in with a mailed code."""


@sign_in.command(epilog=example("siutindei sign-in start ann@example.com --locale zh-HK"))
@click.argument("email")
@click.option("--locale", help="The language of the mail: en or zh-HK; without it, both.")
@pass_installation
def start(installation: Installation, email: str, locale: str | None) -> None:
    """Start a sign-in: mail a code.

    The code goes to EMAIL, which is signed up first if it is new. Asked again too soon, it gives
    the same challenge and mails nothing.
    """
    services = installation.services
    context = installation.context()
    # Signing up is a command of its own; it is quiet for an address that has an account.
    signing_up = attrs.evolve(context, command_id=f"{context.command_id}.sign-up")
    user = services.sign_in.sign_up(signing_up, email=email, locale=locale)
    started = services.sign_in.start(context, client=CLIENT, email=email, user=user, locale=locale)
    if installation.json:
        print_json({"challenge": started.challenge, "expires_at": started.expires_at})
        return
    maildir = installation.settings.maildir
    print_fields(
        [
            ("challenge", started.challenge),
            ("expires", started.expires_at),
            ("user", user),
            ("mail", maildir and maildir / "new"),
            (
                "answer with",
                installation.command_line("sign-in", "answer", started.challenge, "CODE"),
            ),
        ]
    )
    sent = services.store.views.find_notification(started.notification or "")
    if sent is None or sent.status != "accepted":
        click.echo(
            f"note: the code has not been mailed yet; "
            f"{installation.command_line('worker', '--once')} tries again",
            err=True,
        )


@sign_in.command(epilog=example("siutindei sign-in answer 3q2-7wVxT0aYl1b9cKd8Pg 012345"))
@click.argument("challenge")
@click.argument("code")
@click.pass_context
def answer(ctx: click.Context, challenge: str, code: str) -> None:
    """Answer a challenge with its code.

    CODE are the six digits in the mail. Exit code 1 says that they are wrong.
    """
    installation = ctx.ensure_object(Installation)
    result = installation.services.sign_in.answer(
        installation.context(), challenge_id=challenge, code=code
    )
    if installation.json:
        print_json({"correct": result.correct, "attempts_left": result.attempts_left})
    elif result.correct:
        echo("right: signed in, and the address is proved")
    elif result.attempts_left:
        echo(f"wrong: answers left: {result.attempts_left}")
    else:
        echo("wrong, and the challenge takes no more answers: start again")
    if not result.correct:
        ctx.exit(1)
