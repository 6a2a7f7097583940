"""The documentation fits the code: nothing is missing, nothing points nowhere."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, get_args

import click
import pytest

from siutindei.domain import (
    access,
    challenge,
    grant,
    lane,
    notification,
    person,
    report,
    suppression,
    ticket,
)
from siutindei.domain.catalogue import EVENTS, UPCASTS
from siutindei.entrypoints.cli import main
from siutindei.settings import SETTINGS
from tests.entrypoints.commands import every_command

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]
PAGES: Final = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/**/*.md")
    for path in ROOT.glob(pattern)
)
LINK: Final = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING: Final = re.compile(r"^#+ (.+)$", re.MULTILINE)


def text(page: str) -> str:
    """Read a page."""
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: str) -> str:
    """Read a page without its blocks of code."""
    return re.sub(r"^```.*?^```$", "", text(page), flags=re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def generator() -> Any:
    """Give `docs/generate.py`, which is a script."""
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GENERATED: Final = ("events.md", "commands.md", "settings.md", "metrics.md", "openapi.json")


@pytest.mark.parametrize("name", GENERATED)
def test_a_generated_page_fits_the_code(generator: Any, name: str) -> None:
    """What `make docs` would write is what is checked in."""
    made = dict(generator.pages())

    assert set(GENERATED) == set(made)
    assert made[name] == text(f"docs/{name}")


def test_every_generated_page_is_known() -> None:
    """The pages that say that they are made from the code are these four; JSON says nothing."""
    made = [page for page in PAGES if text(page).startswith("<!-- Made from the code")]

    assert made == ["docs/commands.md", "docs/events.md", "docs/metrics.md", "docs/settings.md"]


@pytest.mark.slow
def test_a_page_that_does_not_fit_is_shown(tmp_path: Path) -> None:
    """`--check` writes nothing, shows what would change, and ends with exit code 1."""
    script = tmp_path / "generate.py"
    script.write_text(text("docs/generate.py"), encoding="utf-8")
    for name in GENERATED:
        (tmp_path / name).write_text(text(f"docs/{name}"), encoding="utf-8")
    stale = tmp_path / "events.md"
    stale.write_text(text("docs/events.md").replace("ticket.submitted.v1", "x"), encoding="utf-8")
    before = stale.read_bytes()

    done = subprocess.run(
        [sys.executable, script, "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "+### `ticket.submitted.v1`" in done.stdout
    assert "make docs" in done.stderr
    assert before == stale.read_bytes()
    subprocess.run([sys.executable, script], check=True)
    assert stale.read_text(encoding="utf-8") == text("docs/events.md")


def test_every_command_is_documented() -> None:
    """The help of each command stands in the list of commands, with its example."""
    page = text("docs/commands.md")
    for path, command in every_command():
        name = " ".join(("siutindei", *path))
        section = page.partition(f"\n## {name}\n")[2].partition("\n## ")[0]

        assert f"Usage: {name} " in section
        assert isinstance(command, click.Group) or "Example:\n    siutindei" in section, name
    assert main.name == "siutindei"


def test_every_setting_is_documented() -> None:
    """Each setting has a row with its default, how it is written, and what it means."""
    page = text("docs/settings.md")
    for setting in SETTINGS:
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{setting.name}` |")]
        assert row.count("|") == 5
        assert " ".join(setting.meaning.split()) in row
        assert setting.default_text in row


def test_every_event_is_documented() -> None:
    """Each stored name, old ones too, stands in the list of events; each event says what it is."""
    page = text("docs/events.md")
    for name, event in EVENTS.items():
        assert f"\n### `{name}`\n" in page
        assert event.__doc__
    for name in UPCASTS:
        assert f"- `{name}` is read as" in page


def words() -> Iterator[str]:
    """Give every word that an event, a status or a reason is called in the code."""
    yield from (name.partition(".")[2].partition(".")[0] for name in EVENTS)
    for literal in (
        *(ticket.Status, ticket.Assurance, notification.Status, notification.ErrorClass),
        *(notification.Deferral, notification.Withholding, notification.DeadLetterReason),
        *(grant.Status, challenge.Closing, challenge.Limit, person.Proof),
        *(suppression.Reason, lane.Why, report.Status),
    ):
        yield from get_args(literal)


def test_every_word_of_the_code_is_in_the_glossary() -> None:
    """What an event, a status or a reason is called is explained, and nothing else is."""
    page = prose("docs/language.md")
    happens = page.partition("## What can happen")[2]
    for word in words():
        assert f"`{word}`" in page, word

    explained = set(re.findall(r"`([a-z_]+)`", happens))
    assert explained - set(words()) == {"rejected"}


def test_the_glossary_knows_which_events_happen_to_what() -> None:
    """The row of each aggregate lists its events, all of them and no others, in order."""
    page = text("docs/language.md")
    for module in (
        *(person, challenge, ticket, notification, grant, suppression, lane, report),
        *(access,),
    ):
        (row,) = re.findall(rf"^\| {module.CATEGORY} \| (`.*) \|$", page, re.MULTILINE)[:1]
        names = [name.split(".")[1] for name in module.EVENTS]
        assert names == re.findall(r"`([a-z_]+)`", row)


def test_a_guarantee_names_tests_that_there_are() -> None:
    """Each promise of guarantees.md is proved by a test that can be run."""
    page = text("docs/guarantees.md")
    rows = [line for line in page.splitlines() if "`tests/" in line]
    for row in rows:
        for file, name in re.findall(r"`(tests/\S+\.py)::(\w+)`", row):
            assert f"def {name}(" in text(file), (file, name)

    assert len(rows) > 15


def test_what_follows_from_an_unknown_outcome_is_told() -> None:
    """The rule of each kind of mail stands in guarantees.md as the domain has it."""
    page = text("docs/guarantees.md")
    for kind, resent in notification.RESENT_AFTER_UNKNOWN.items():
        waits = ", ".join(f"{wait.total_seconds():g} s" for wait in notification.BACKOFF[kind])
        assert f"| `{kind}` | {'yes' if resent else 'no'} | {waits} |" in page


def anchors(page: str) -> set[str]:
    """Give the names by which the headings of a page are linked to."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in HEADING.findall(prose(page))
    }


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    """A link to a page or a heading of ours finds it; none leads out of the repository."""
    for link in LINK.findall(prose(page)):
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        found = (ROOT / page).parent / name if name else ROOT / page
        assert found.resolve().is_relative_to(ROOT)
        assert found.exists(), link
        if heading:
            assert heading in anchors(found.resolve().relative_to(ROOT).as_posix()), link


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md", "CONTRIBUTING.md"])
def test_what_a_page_names_exists(page: str) -> None:
    """A file or folder that a page mentions is there."""
    made = {"erasures.jsonl", "events.md", "commands.md", "settings.md", "metrics.md"}
    roots = (ROOT, ROOT / "src/siutindei", ROOT / "docs")
    for name in re.findall(r"`([\w./-]+(?:/|\.py|\.md|\.toml|\.lock|\.jsonl))`", text(page)):
        assert name in made or any((root / name).exists() for root in roots), name


def test_the_pages_tell_what_is_there() -> None:
    """Whoever starts at the README reaches every page by following links."""
    reached: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        for link in LINK.findall(prose(page.relative_to(ROOT).as_posix())):
            name = link.partition("#")[0]
            if name and "://" not in name:
                waiting.append((page.parent / name).resolve())

    unlinked = {ROOT / page for page in PAGES} - reached
    assert {path for path in unlinked if path.parent.name != "decisions"} == set()


def test_the_version_is_in_the_changelog() -> None:
    """The newest entry of the changelog is the version of the package."""
    (version,) = re.findall(r'^version = "(.+)"$', text("pyproject.toml"), re.MULTILINE)

    assert f"## [{version}]" in re.findall(r"^## \[.+\]", text("CHANGELOG.md"), re.MULTILINE)[0]
