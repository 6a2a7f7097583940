"""A tree of causes as one HTML page: a picture, and a table that says the same.

Whoever gets the file needs nothing else: it loads nothing, and no script is in it.
"""

from __future__ import annotations

from datetime import UTC
from html import escape
from typing import TYPE_CHECKING, Any, Final

from siutindei.domain import fields
from siutindei.entrypoints.pages import html, text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siutindei.app.explaining import Explanation, Node, Row

# The picture's measures, in pixels: one row for each node, so no two labels meet.
_ROW: Final = 46
_STEP: Final = 26
_EDGE: Final = 16
_DOT: Final = 5
#: The longest label, in characters, and the widest that a character can be.
_LABEL: Final = 84
_WIDE: Final = 7.6
#: What is longer is shortened inside a label: the table has it whole.
_WORD: Final = 24
#: What the names of events end with that went wrong.
_WRONG: Final = frozenset(
    {
        *("failed", "refused", "outcome_unknown", "bounced", "complained", "dead_lettered"),
        *("withheld", "suppressed", "soft_bounced", "halted", "limit_reached", "missed"),
    }
)

#: How the picture looks on any page that has one; the page names the colours.
PICTURE: Final = """
.picture { overflow-x: auto; } svg { max-width: none; }
@media print { svg { max-width: 100%; height: auto; } .picture { overflow: visible; } }
svg text { font: 13px system-ui, sans-serif; fill: var(--ink); }
svg .small { font-size: 11px; fill: var(--soft); }
svg path { stroke: var(--line); fill: none; } svg .mark { fill: var(--mark); }
svg circle { fill: var(--good); } svg .wrong { fill: var(--wrong); } svg .act { fill: var(--act); }
svg .aside { fill-opacity: .45; } svg path.aside { stroke-dasharray: 4 3; }
"""
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #8b949e;
  --paper: #fff; --mark: #fff3c4; --good: #1a7f37; --wrong: #b3261e; --act: #0757ba; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b3; --line: #6e7681;
  --paper: #0d1117; --mark: #4a3b00; --good: #56d364; --wrong: #ff8f87; --act: #79b8ff; } }
@media print { :root { color-scheme: light; --ink: #000; --soft: #333; --line: #666; --paper: #fff;
  --mark: #eee; --good: #1a7f37; --wrong: #b3261e; --act: #0757ba; } tr { break-inside: avoid; } }
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; margin-top: 2.5rem; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; vertical-align: top; padding: .35rem .6rem; overflow-wrap: anywhere;
  border-bottom: 1px solid var(--line); }
th, td:nth-child(-n+2) { overflow-wrap: normal; white-space: nowrap; }
td:nth-child(3) { width: 25%; } td:nth-child(4) { min-width: 7rem; }
tr.mark td { background: var(--mark); } code { font-size: 12px; }
dl { margin: 0; } dt { float: left; clear: left; margin-right: .4rem; color: var(--soft); }
dd { margin: 0; }
"""


def page(explanation: Explanation) -> str:
    """Make the page."""
    title = f"What caused {explanation.id}, and what came of it"
    return html(
        title,
        style=_STYLE + PICTURE,
        body=(
            f"<h1>{text(title)}</h1>",
            f"<p>{text(_summary(explanation))}</p>",
            *picture(explanation),
            "<h2>The same as a table</h2>",
            *_table(explanation),
        ),
    )


def _summary(explanation: Explanation) -> str:
    said = (
        f"Found as: {', '.join(explanation.kinds)}. Each line follows from the one that it stands "
        "below; what was asked for is marked. Times are UTC. What is personal stays sealed."
    )
    if explanation.left_out:
        said += f" Left out: {explanation.left_out} more; ask for one of them by its own id."
    return said


# --- the picture ----------------------------------------------------------------------------------


def picture(explanation: Explanation) -> Iterator[str]:
    """Draw the tree."""
    rows = list(explanation.rows())
    yield '<div class="picture">'
    yield from _drawn(rows)
    yield "</div>"


def _drawn(rows: list[Row]) -> Iterator[str]:
    deepest = max(len(row.last) for row in rows)
    width = round(2 * _EDGE + deepest * _STEP + 2 * _DOT + _LABEL * _WIDE)
    height = len(rows) * _ROW + _EDGE
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-labelledby="said more">'
    )
    yield f'<title id="said">A tree of {len(rows)} lines: what caused what</title>'
    yield '<desc id="more">The table below the picture says the same in words.</desc>'
    above: dict[int, int] = {}
    for number, row in enumerate(rows):
        depth, y = len(row.last), number * _ROW + _ROW // 2
        yield from _row(row, x=_EDGE + depth * _STEP, y=y, parent=above.get(depth - 1), width=width)
        above[depth] = y
    yield "</svg>"


def _row(row: Row, *, x: int, y: int, parent: int | None, width: int) -> Iterator[str]:
    node = row.node
    aside = " aside" if node.is_aside else ""
    if row.is_asked_for:
        yield (
            f'<rect class="mark" x="{x - _DOT - 4}" y="{y - _ROW // 2 + 2}" rx="6" '
            f'width="{width - x - _EDGE + _DOT + 4}" height="{_ROW - 4}"/>'
        )
    if parent is not None:
        yield f'<path class="line{aside}" d="M{x - _STEP} {parent + _DOT}V{y}H{x - _DOT}"/>'
    yield f'<circle class="{_look(node)}{aside}" cx="{x}" cy="{y}" r="{_DOT}"/>'
    label = x + 2 * _DOT + 2
    yield f'<text x="{label}" y="{y - 2}">{_label(f"{row.why} {row.title}")}</text>'
    small = " · ".join(said for said in (_at(node), node.actor, node.rule) if said)
    yield f'<text class="small" x="{label}" y="{y + 13}">{_label(small)}</text>'


def _look(node: Node) -> str:
    if node.kind != "event":
        return "act"
    what = (node.name or "").split(".")[1:2]
    return "wrong" if not node.is_readable or _WRONG & {*what} else "right"


def _label(said: str) -> str:
    """Write a text that fits: long words, such as ids, and long texts are shortened."""
    words = (
        word if len(word) <= _WORD or "." in word else f"{word[:10]}…{word[-6:]}"
        for word in fields.one_line(said).split()
    )
    line = " ".join(words)
    return escape(line if len(line) <= _LABEL else f"{line[: _LABEL - 1]}…")


# --- the table ------------------------------------------------------------------------------------


def _table(explanation: Explanation) -> Iterator[str]:
    numbers = {node.id: number for number, node in enumerate(explanation.nodes, start=1)}
    yield "<table>"
    heads = ("no.", "when", "what", "who", "follows from", "ids and details")
    said = "".join(f'<th scope="col">{head}</th>' for head in heads)
    yield f"<thead><tr>{said}</tr></thead>"
    yield "<tbody>"
    for number, node in enumerate(explanation.nodes, start=1):
        causes = ", ".join(f'<a href="#n{numbers[id]}">{numbers[id]}</a>' for id in node.causes)
        cells = (str(number), text(_at(node)), text(node.title), text(node.actor or ""), causes)
        mark = ' class="mark"' if node.is_asked_for else ""
        told = "".join(f"<td>{cell}</td>" for cell in cells)
        yield f'<tr id="n{number}"{mark}>{told}<td>{_details(node)}</td></tr>'
    yield "</tbody>"
    yield "</table>"


def _details(node: Node) -> str:
    pairs: dict[str, Any] = {
        "id": node.id,
        "event": node.name,
        "rule": node.rule,
        "status": node.status,
        **node.context,
        **{f"data: {name}": value for name, value in node.details.items()},
    }
    told = (
        f"<dt>{text(name)}</dt><dd><code>{text(value)}</code></dd>"
        for name, value in pairs.items()
        if value is not None
    )
    return f"<dl>{''.join(told)}</dl>"


def _at(node: Node) -> str:
    return "" if node.at is None else f"{node.at.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
