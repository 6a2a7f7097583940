"""What was promised to SES, and whether it holds, as one HTML page."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Final

from siutindei.entrypoints.pages import html, text

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from siutindei.app.promises import Claim

#: In words and in a frame, so that it can be told without a colour.
STANDING: Final = {True: "holds", False: "does not hold", None: "cannot be known from here"}
_CLASS: Final = {True: "good", False: "wrong", None: "open"}
_TITLE: Final = "What was promised to Amazon SES"
_STYLE: Final = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #59636e; --line: #8b949e; --paper: #fff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --soft: #9da7b3; --line: #6e7681;
  --paper: #0d1117; } }
@media print { :root { color-scheme: light; --ink: #000; --soft: #333; --line: #666;
  --paper: #fff; } tr { break-inside: avoid; } }
body { margin: 2rem auto; max-width: 75rem; padding: 0 1rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } p { color: var(--soft); }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th, td { text-align: left; vertical-align: top; padding: .5rem .6rem; overflow-wrap: anywhere;
  border-bottom: 1px solid var(--line); }
td:first-child, td:nth-child(2) { white-space: nowrap; }
ul { margin: 0; padding-left: 1.2rem; }
.standing { padding: .1rem .5rem; border: 1px solid var(--line); }
.wrong { border: 3px solid var(--ink); font-weight: bold; } .open { border-style: dashed; }
"""


def page(claims: Sequence[Claim], *, at: datetime) -> str:
    """Make the page; `at` is when the history was read."""
    counts = [sum(claim.holds is holds for claim in claims) for holds in STANDING]
    said = ", ".join(
        f"{count} {words}" for count, words in zip(counts, STANDING.values(), strict=True)
    )
    return html(
        _TITLE,
        style=_STYLE,
        body=(
            f"<h1>{text(_TITLE)}</h1>",
            f"<p>Of {len(claims)} promises: {text(said)}. Looked at {_moment(at)}.</p>",
            "<table>",
            '<thead><tr><th scope="col">claim</th><th scope="col">standing</th>'
            '<th scope="col">what it says</th><th scope="col">evidence</th></tr></thead>',
            "<tbody>",
            *map(_row, claims),
            "</tbody>",
            "</table>",
        ),
    )


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def _row(claim: Claim) -> str:
    standing = f'<span class="standing {_CLASS[claim.holds]}">{text(STANDING[claim.holds])}</span>'
    told = "".join(f"<li>{text(sentence)}</li>" for sentence in sentences(claim))
    return (
        f'<tr id="{claim.id}"><td>{claim.id}</td><td>{standing}</td>'
        f"<td>{text(claim.says)}</td><td><ul>{told}</ul></td></tr>"
    )


def sentences(claim: Claim) -> Iterator[str]:
    """Say what is known of a promise: what breaks it, then what is not known, then the rest."""
    yield from (f"broken: {found.what}" for found in claim.breaks)
    if claim.broken > len(claim.breaks):
        yield f"broken by {claim.broken - len(claim.breaks)} more"
    for what, shown_by in zip(claim.unknown, claim.shown_by, strict=True):
        yield f"not known: {what}; what shows it: {shown_by}"
    yield from claim.evidence
