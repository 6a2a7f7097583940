"""What people read: columns that stand below each other, ids that can be copied, no colours."""

from __future__ import annotations

import os
from datetime import UTC, datetime

import pytest
from rich.cells import cell_len

from siutindei.entrypoints.cli import output
from siutindei.entrypoints.cli.output import cell, iso, print_fields, print_table, when

HEADER = ("ticket", "organization", "by")
ROWS = [
    ("R00001", "Star Dance 星星舞蹈", "ann@example.com"),
    ("S00001", "Café Ωmega", "bo@example.com"),
    ("F00001", "棋", None),
]


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Pretend that standard output is a terminal of 80 columns."""
    monkeypatch.setattr(output, "_is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "xterm")
    return monkeypatch


def test_columns_stand_below_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """A Chinese character is two columns wide, and the next column begins where it should."""
    print_table(HEADER, ROWS, empty="")
    lines = capsys.readouterr().out.splitlines()

    starts = {
        cell_len(line[: line.index(begin)])
        for line, begin in zip(lines, ("by", "ann@", "bo@", "-"), strict=True)
    }
    assert starts == {cell_len("R00001  Star Dance 星星舞蹈  ")}
    assert lines == [line.rstrip() for line in lines]


def test_a_column_with_nothing_in_it_is_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """A column is shown when one row has something for it."""
    print_table(("id", "error", "why"), [("a", None, ""), ("b", None, "x")], empty="")

    assert capsys.readouterr().out == "id  why\na\nb   x\n"


def test_an_empty_table_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing to show is said in words, without a header."""
    print_table(HEADER, [], empty="no tickets")

    assert capsys.readouterr().out == "no tickets\n"


def test_a_narrow_terminal_gets_records_with_whole_ids(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What does not fit in 80 columns is written as one record after the other, nothing cut."""
    long = "0f3c9b1e5d7a4c2f8e6b0a1d2c3e4f50" * 3
    print_table(("id", "status"), [(long, "accepted"), ("x", "failed")], empty="")

    assert capsys.readouterr().out == (
        f"id      {long}\nstatus  accepted\n\nid      x\nstatus  failed\n"
    )


def test_what_fits_the_terminal_is_a_table(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The width counts what the eye sees: 40 Chinese characters fill the 80 columns."""
    for count, lines in ((40, 2), (41, 1)):
        print_table(("名",), [("星" * count,)], empty="")
        assert len(capsys.readouterr().out.splitlines()) == lines


def test_a_pipe_has_no_width(capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal each row stays one line, however long, and has no control codes."""
    print_table(HEADER, [("R00001", "a" * 500, "b")], empty="")
    out = capsys.readouterr().out

    assert len(out.splitlines()) == 2
    assert "\x1b" not in out


def test_a_terminal_gets_a_bright_header_unless_it_says_no(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """NO_COLOR and a dumb terminal switch off the only decoration that there is."""
    assert output._is_bright()
    terminal.setenv("NO_COLOR", "1")
    assert not output._is_bright()
    terminal.delenv("NO_COLOR")
    terminal.setenv("TERM", "dumb")
    assert not output._is_bright()


def test_a_cell_cannot_steer_the_terminal() -> None:
    """Escapes, line breaks and marks that reorder text do not leave their cell."""
    assert cell("a\x1b[31m\nb\u202ec\ud800\u2028d") == "a[31m bc d"


def test_fields_are_aligned_and_only_those_that_say_something(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Names stand in one column, further lines of a value below its first, nothing for nothing."""
    print_fields(
        [
            *(("名", "x"), ("long name", "a\n\nb"), ("none", None), ("empty", ""), ("list", [])),
            *(("many", ["a", "b"]), ("zero", 0), ("no", False), ("map", {"a": 1})),
        ]
    )

    assert capsys.readouterr().out == (
        "名         x\nlong name  a\n\n           b\nmany       a, b\nzero       0\nno         no\n"
        "map        a: 1\n"
    )


def test_times_are_hong_kong_s_for_people_and_utc_for_programs() -> None:
    """People read the time of Hong Kong with its name, programs an offset."""
    at = datetime(2026, 1, 31, 16, 30, tzinfo=UTC)

    assert when(at) == "2026-02-01 00:30:00 HKT"
    assert iso(at) == "2026-01-31T16:30:00+00:00"
    assert iso(None) is None
    assert os.environ.get("TZ") != "Asia/Hong_Kong"
