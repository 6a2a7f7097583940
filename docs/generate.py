"""Write the pages that are made from the code; with `--check`, only say whether they fit it."""

from __future__ import annotations

import difflib
import inspect
import json
import sys
import types
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, Union, get_args, get_origin, get_type_hints

import attrs
import click

from siutindei.domain.catalogue import EVENTS, UPCASTS
from siutindei.entrypoints import openapi
from siutindei.entrypoints.cli import main as cli
from siutindei.entrypoints.metrics import METRICS, NAMESPACE
from siutindei.settings import SETTINGS, Setting

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCS: Final = Path(__file__).parent
WIDTH: Final = 96
FORMS: Final = {
    "auth": "`url`, `iam` or `secretsmanager:NAME`",
    "group": "a group's name",
    "pool": "a user pool's id",
    "address": "an e-mail address",
    "catalogue": "`file:PATH` or `s3://BUCKET/KEY`",
    "checkpoints": "`file:PATH` or `s3://BUCKET/PREFIX`",
    "count": "a whole number",
    "database": "`sqlite:///PATH` or `postgresql://USER@HOST:PORT/NAME`",
    "days": "days",
    "file": "`file:PATH`",
    "level": "a level",
    "link": "a web address",
    "log": "a name without blanks",
    "mail": "`maildir:PATH`, `smtp://HOST:PORT`, `smtps://HOST:PORT` or `ses`",
    "nudge": "`none` or `sns`",
    "origins": "sites with commas between",
    "queue": "the address of a queue",
    "seconds": "seconds",
    "region": "a region's name",
    "secret": "`file:PATH`, `secretsmanager:NAME` or `kms:PATH`",
    "signing": "as for the other rings, or `kms-sign:KEY`",
    "text": "a path",
    "topic": "the ARN of a topic",
}
NOTE: Final = "<!-- Made from the code by docs/generate.py: `make docs` writes it again. -->"


def summary(documented: object) -> str:
    """Return the first paragraph of a docstring as one line."""
    paragraph = (inspect.getdoc(documented) or "").partition("\n\n")[0]
    return " ".join(paragraph.split())


def type_name(hint: Any) -> str:
    """Write a type as a person would: the values of a literal, no module names."""
    if hint is type(None):
        return "None"
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        return " | ".join(repr(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(type_name(argument) for argument in arguments)
    name = getattr(origin or hint, "__name__", "") or str(hint)
    if not arguments:
        return name
    inner = ("..." if argument is Ellipsis else type_name(argument) for argument in arguments)
    return f"{name}[{', '.join(inner)}]"


def field_line(field: attrs.Attribute[Any], hint: Any) -> str:
    """Describe one field of an event."""
    line = f"- `{field.name}`: `{type_name(hint)}`"
    if field.default is attrs.NOTHING:
        return line
    default = "empty" if isinstance(field.default, attrs.Factory) else f"`{field.default!r}`"  # type: ignore[arg-type]
    return f"{line}, {default} unless given"


def anchor(heading: str) -> str:
    """Give the name by which a page links to one of its headings."""
    kept = "".join(c for c in heading.lower() if c.isalnum() or c in "-_ ")
    return kept.replace(" ", "-")


def event_lines(name: str, event: type) -> Iterator[str]:
    """Describe one event: what it means, and what it holds."""
    where = f"{event.__module__}.{event.__qualname__}"
    yield from (f"### `{name}`", "", f"`{where}`: {summary(event)}", "")
    hints = get_type_hints(event)
    yield from (field_line(field, hints[field.name]) for field in attrs.fields(event))
    yield ""


def events() -> Iterator[str]:
    """Describe every event that can be stored."""
    yield from ("# Events", "", "Everything that can be in the history, by its stored name.")
    yield "A stored name never changes its meaning;"
    yield from ("a new shape gets a new name, and the old one is read as the new one.", "")
    modules: dict[str, dict[str, type]] = defaultdict(dict)
    for name, event in EVENTS.items():
        modules[event.__module__][name] = event
    yield from ("| stored name | what happened |", "| --- | --- |")
    for name, event in EVENTS.items():
        yield f"| [`{name}`](#{anchor(name)}) | {summary(event)} |"
    yield ""
    for module, members in modules.items():
        yield from (f"## {module.rpartition('.')[2]}", "", summary(sys.modules[module]), "")
        for name, event in members.items():
            yield from event_lines(name, event)
    yield from ("## Old names", "")
    if not UPCASTS:
        yield "None yet: every event is still stored as it was first written."
    for old, (new, upcast) in UPCASTS.items():
        yield f"- `{old}` is read as `{new}`: {summary(upcast)}"


def command_lines(command: click.Command, parent: click.Context | None) -> Iterator[str]:
    """Print the help of a command, and of every command below it."""
    options: dict[str, Any] = {**command.context_settings, "max_content_width": WIDTH}
    context = click.Context(
        command, info_name=command.name, parent=parent, terminal_width=WIDTH, **options
    )
    yield from (f"## {context.command_path}", "", "```text", command.get_help(context), "```", "")
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            below = command.get_command(context, name)
            if below is not None and not below.hidden:
                yield from command_lines(below, context)


def commands() -> Iterator[str]:
    """Print the help of every command."""
    yield from ("# Commands", "", "What `--help` says, for every command.", "")
    yield from command_lines(cli, None)


def settings() -> Iterator[str]:
    """List every setting."""
    yield from ("# Settings", "", "All come from the environment; all have a default that works.")
    yield "A variable that is set to nothing counts as not set."
    yield "`siutindei config` prints them as they are, `siutindei doctor` says what is wrong."
    yield from ("", "| name | default | written as | meaning |", "| --- | --- | --- | --- |")
    for setting in SETTINGS:
        default = f"`{setting.default_text}`" if setting.default_text else ""
        texts = (f"`{setting.name}`", default, written(setting), setting.meaning)
        cells = (" ".join(text.split()).replace("|", r"\|") for text in texts)
        yield f"| {' | '.join(cells)} |"


def written(setting: Setting) -> str:
    """Say how a setting is written."""
    text = FORMS[setting.form]
    return f"{text}, at least {setting.least}" if setting.least else text


def metrics() -> Iterator[str]:
    """List every metric."""
    yield from ("# Metrics", "", f"In CloudWatch's namespace `{NAMESPACE}`, by the functions of")
    yield "[the template](../infrastructure/template.yaml). A metric is found by its name and all"
    yield "of its dimensions; the alarms and the dashboard are held against this list."
    yield from ("", "| name | dimensions | unit | written by | counts |")
    yield "| --- | --- | --- | --- | --- |"
    for metric in METRICS:
        dimensions, by = (
            ", ".join(f"`{word}`" for word in words) for words in (metric.dimensions, metric.by)
        )
        yield f"| `{metric.name}` | {dimensions} | {metric.unit} | {by} | {metric.meaning} |"


PAGES: Final[dict[str, Callable[[], Iterator[str]]]] = {
    "events.md": events,
    "commands.md": commands,
    "settings.md": settings,
    "metrics.md": metrics,
}


def pages() -> Iterator[tuple[str, str]]:
    """Give every generated file and what is to stand in it."""
    for name, page in PAGES.items():
        yield name, "\n".join((NOTE, "", *page())).rstrip() + "\n"
    yield "openapi.json", json.dumps(openapi.document(), indent=2, ensure_ascii=False) + "\n"


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; show what would change, and exit 1.")
def main(*, check: bool) -> None:
    """Write the generated pages of the documentation."""
    stale = False
    for name, new in pages():
        path = DOCS / name
        old = path.read_text(encoding="utf-8") if path.exists() else ""
        if old == new:
            continue
        stale = True
        if check:
            before, after = old.splitlines(), new.splitlines()
            click.echo("\n".join(difflib.unified_diff(before, after, name, "the code", n=1)))
        else:
            path.write_text(new, encoding="utf-8", newline="\n")
    if check and stale:
        raise click.ClickException("the generated pages do not fit the code: run `make docs`")


if __name__ == "__main__":
    main()
