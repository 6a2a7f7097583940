"""`ses`: the account at Amazon SES, against what our mails need."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import click

from siutindei.entrypoints.cli.base import Group, Installation, example, pass_installation
from siutindei.entrypoints.cli.output import echo, print_json, print_table

if TYPE_CHECKING:
    from siutindei.app.sending import Step


@click.group(cls=Group)
def ses() -> None:
    """Amazon SES: the account against what we need.

    SES takes one such request a second: each of these commands takes some seconds.
    """


@ses.command(epilog=example("siutindei ses status", "siutindei --json ses status"))
@click.pass_context
def status(ctx: click.Context) -> None:
    """Compare the SES account with what we need.

    Exit code 1 says that something is missing or wrong, 75 that SES cannot be reached, 2 that there
    are no credentials.
    """
    installation = ctx.ensure_object(Installation)
    needs = installation.services.sending.status()
    ok = all(need.standing in {"ok", "not looked at"} for need in needs)
    if installation.json:
        print_json(
            {
                "ok": ok,
                "region": installation.settings.region,
                "needs": [attrs.asdict(need) for need in needs],
            }
        )
    else:
        print_table(
            ("what", "standing", "found", "what to do"),
            ((need.what, need.standing, need.found, need.mend) for need in needs),
            empty="",
        )
    if not ok:
        ctx.exit(1)


@ses.command(
    epilog=example(
        "siutindei ses setup --topic-arn arn:aws:sns:ap-southeast-1:123456789012:ses-events",
        "siutindei ses setup --dry-run",
    )
)
@click.option(
    "--topic-arn", metavar="ARN", help="The SNS topic that SES's feedback goes to, in this region."
)
@click.option("--dry-run", is_flag=True, help="Say what would be done, and do nothing.")
@pass_installation
def setup(installation: Installation, topic_arn: str | None, dry_run: bool) -> None:
    """Make what the SES account lacks.

    What is right already is left alone; nothing is done twice. What stands in DNS, and what AWS
    decides, is said and not done.
    """
    steps: list[Step] = []

    def report(step: Step) -> None:
        steps.append(step)
        if not installation.json:
            echo(f"{'would do' if dry_run else 'done'}: {step.what}")
            if step.then:
                echo(f"  then {step.then}")

    installation.services.sending.set_up(topic_arn=topic_arn, dry_run=dry_run, report=report)
    if installation.json:
        print_json(
            {"dry_run": dry_run, "steps": [attrs.asdict(step) for step in steps]},
        )
    elif not steps:
        echo("nothing is missing that can be made here")
