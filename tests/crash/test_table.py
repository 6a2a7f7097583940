"""At every step of every use case a process may die: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import pytest

from siutindei.domain import notification
from tests.crash.cases import CASES, MAILING
from tests.crash.page import HOW, page
from tests.crash.table import Point

pytestmark = pytest.mark.slow

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "crashes.md"
SECONDS: Final = 600
#: What is tried in each test run. The databases come to the same, which is tested too.
RUNS: Final = (
    ("sqlite", "maildir"),
    ("sqlite", "smtp"),
    ("postgresql", "maildir", "--commits"),
)


def start(*arguments: str) -> subprocess.Popen[str]:
    """Begin to kill processes, from a process with a single thread."""
    return subprocess.Popen(
        [sys.executable, "-m", "tests.crash.table", *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )


def points_of(program: subprocess.Popen[str]) -> list[Point]:
    """Wait for the points."""
    out, err = program.communicate(timeout=SECONDS)

    assert (0, "") == (program.returncode, err)
    return [msgspec.json.decode(line, type=Point) for line in out.splitlines()]


@pytest.fixture(scope="module")
def runs() -> dict[tuple[str, str], list[Point]]:
    """Try everything, side by side."""
    programs = [(arguments, start(*arguments)) for arguments in RUNS]
    return {(arguments[0], arguments[1]): points_of(program) for arguments, program in programs}


def killed(points: list[Point]) -> list[Point]:
    """Leave out the runs in which nobody was killed."""
    return [point for point in points if point.step]


@pytest.mark.parametrize(("database", "port"), [(run[0], run[1]) for run in RUNS])
def test_nothing_is_lost_and_nothing_is_done_twice(
    runs: dict[tuple[str, str], list[Point]], database: str, port: str
) -> None:
    """Wherever the process dies, the next one ends what it began, and nobody is told two things."""
    points = runs[database, port]

    assert [] == [point for point in points if point.wrong]
    assert {case.name for case in (CASES if port == "maildir" else MAILING)} == {
        point.case for point in killed(points)
    }


def test_every_step_is_a_point(runs: dict[tuple[str, str], list[Point]]) -> None:
    """Over SQLite a process dies before and after each step that the whole run has."""
    for port in ("maildir", "smtp"):
        points = runs["sqlite", port]
        expected = {
            (point.case, number, side)
            for point in points
            for number in range(1, len(point.steps) + 1)
            for side in ("before", "after")
        }

        assert expected == {(point.case, point.step, point.side) for point in killed(points)}


def test_both_databases_come_to_the_same(runs: dict[tuple[str, str], list[Point]]) -> None:
    """What PostgreSQL leaves and what follows from it is what SQLite leaves, at each commit."""
    known = runs["sqlite", "maildir"]
    points = runs["postgresql", "maildir"]

    assert [] == [point for point in points if point not in known]
    assert {point.case for point in known} == {point.case for point in points}


def test_a_mail_is_handed_over_again_where_nobody_can_tell(
    runs: dict[tuple[str, str], list[Point]],
) -> None:
    """Over a mailbox no mail comes twice; over SMTP a notice may, and a code never."""
    twice = [point for point in runs["sqlite", "smtp"] if point.twice]

    assert [] == [point for point in runs["sqlite", "maildir"] if point.twice]
    assert [] != twice
    assert not notification.RESENT_AFTER_UNKNOWN["sign_in_code"]
    assert [] == [point for point in twice if "code" in point.case or "sign-in" in point.case]


def test_the_page_is_what_happened(runs: dict[tuple[str, str], list[Point]]) -> None:
    """docs/crashes.md is what these runs gave."""
    counts = [
        (
            {"sqlite": "SQLite", "postgresql": "PostgreSQL"}[database],
            {"maildir": "a maildir", "smtp": "a mail server (SMTP)"}[port],
            f"{len({(point.case, point.step, point.side) for point in killed(points)})}"
            + (
                ": before and after every step"
                if database == "sqlite"
                else ": before and after every commit, with the outcomes of SQLite"
            ),
        )
        for (database, port), points in runs.items()
    ]
    made = page(
        {
            "Over a maildir, which can tell what it took": runs["sqlite", "maildir"],
            "Over SMTP, where nobody can tell": runs["sqlite", "smtp"],
        },
        counts,
    )
    if os.environ.get("CRASHES") == "write":
        PAGE.write_text(made, encoding="utf-8")

    assert made == PAGE.read_text(encoding="utf-8"), f"write it again: {HOW}"


def test_a_product_that_forgets_to_announce_its_calls_is_found_out() -> None:
    """Let the attempt be recorded after the call instead of before it: mails come twice."""
    points = points_of(start("sqlite", "smtp", "--broken", "a notice, accepted"))
    wrong = [text for point in points for text in point.wrong]

    assert any("was there, and was handed over again" in text for text in wrong)
    assert any("was handed over 2 times, and announced 1" in text for text in wrong)


@pytest.mark.parametrize(
    "only",
    [
        pytest.param("a notice, accepted", id="accepted"),
        pytest.param("", marks=pytest.mark.soak, id="everything"),
    ],
)
def test_over_ses_it_ends_as_over_smtp(only: str) -> None:
    """Through the product's adapter and the emulator's SES: what follows is the same."""
    ours, theirs = (points_of(start("sqlite", port, only)) for port in ("ses", "smtp"))

    assert [] == [point for point in ours if point.wrong]
    assert [told(point) for point in ours] == [told(point) for point in theirs]
    assert killed(ours)


def told(point: Point) -> tuple[object, ...]:
    """Leave out what a mail server calls a mail."""
    return (point.case, point.step, point.side, point.asker, point.there, point.twice)


@pytest.mark.soak
def test_every_point_on_postgresql() -> None:
    """On PostgreSQL a process dies before and after each step, too, and all is as on SQLite."""
    programs = start("sqlite", "maildir"), start("postgresql", "maildir")
    ours, theirs = map(points_of, programs)

    assert [] == [point for point in theirs if point.wrong]
    assert ours == theirs
