"""The crash table as a page: equal outcomes stand together."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from tests.crash.table import Asker, Point

HOW: Final = "CRASHES=write python -m pytest -n 0 tests/crash/test_table.py"
_ASKERS: Final[Mapping[Asker, str]] = {
    "again": "asks again",
    "gone": "is gone",
    "nobody": "",
}
_INTRO: Final = (
    f"<!-- Made by tests/crash/test_table.py: `{HOW}` writes it again. -->",
    "",
    "# Crashes",
    "",
    "What is left when the process is killed (SIGKILL) just before or just after each step",
    "of each use case, and what the next process makes of it. A step is a place where the process",
    "does something outside itself: the begin or the commit of a transaction, or a call that",
    "changes something or waits. After the kill the one who asked asks again under the same",
    "command id, as a client does that got no answer, or is gone for good; then a worker starts",
    "and works, with the clock moved on, until nothing is due.",
    "",
    "At every point: no cause is without its mail or a recorded reason, no mail without its cause;",
    "who asks again is told the same, and nothing is done twice; a mail that was taken is handed",
    "over again only where nobody can tell and the kind allows it; whoever is listed as erased is",
    "erased, and so are their mails; the books add up.",
    "",
)


def page(runs: Mapping[str, Sequence[Point]], counts: Sequence[tuple[str, str, str]]) -> str:
    """Write the page.

    Args:
        runs: the points of each mail port, by the heading that they stand under.
        counts: database, port, and which points were tried.
    """
    lines = [*_INTRO, "| database | mails go to | points |", "| --- | --- | --- |"]
    lines += [f"| {' | '.join(row)} |" for row in counts]
    for heading, points in runs.items():
        lines += ["", f"## {heading}"]
        for case in dict.fromkeys(point.case for point in points):
            lines += _case([point for point in points if point.case == case])
    return "\n".join(lines) + "\n"


def _case(points: Sequence[Point]) -> Iterator[str]:
    whole, *killed = points
    yield from ("", f"### {whole.case}", "")
    yield from (f"{number}. {name}" for number, name in enumerate(whole.steps, start=1))
    yield ""
    yield "| killed | who asked | there was | what followed | calls | mails | in the end |"
    yield "| --- | --- | --- | --- | --- | --- | --- |"
    yield _row("never", "", whole)
    groups: dict[tuple[Asker, object], list[Point]] = {}
    for point in killed:
        groups.setdefault((point.asker, _outcome(point)), []).append(point)
    # What comes to the same whether they ask again or not is told once.
    rows: dict[tuple[str, object], tuple[Point, list[str]]] = {}
    for (asker, outcome), members in groups.items():
        where = _places(members, len(whole.steps))
        rows.setdefault((where, outcome), (members[0], []))[1].append(_ASKERS[asker])
    for (where, _), (point, askers) in rows.items():
        yield _row(where, " or ".join(askers), point)


def _row(where: str, who: str, point: Point) -> str:
    cells = (
        where,
        who,
        point.there,
        point.followed or "nothing",
        str(point.calls),
        str(point.mails),
        point.ends,
    )
    return f"| {' | '.join(cells)} |"


def _outcome(point: Point) -> object:
    return (point.there, point.followed, point.calls, point.mails, point.ends)


def _places(points: Sequence[Point], steps: int) -> str:
    """Name points; those that follow each other are a range."""
    every = [f"{side} {number}" for number in range(1, steps + 1) for side in ("before", "after")]
    found = sorted(every.index(f"{point.side} {point.step}") for point in points)
    ranges: list[list[int]] = []
    for place in found:
        if ranges and ranges[-1][-1] == place - 1:
            ranges[-1].append(place)
        else:
            ranges.append([place])
    return ", ".join(
        every[part[0]] if len(part) == 1 else f"{every[part[0]]} to {every[part[-1]]}"
        for part in ranges
    )
