"""A dossier as one HTML page, to be read, printed on A4 and kept.

Whoever gets the file needs nothing else: it loads nothing, and no script is in it.
"""

from __future__ import annotations

import re
from datetime import UTC
from html import escape
from typing import TYPE_CHECKING, Final

from siutindei.app.tickets import wire
from siutindei.app.times import hong_kong
from siutindei.domain import fields
from siutindei.entrypoints.dossier_words import (
    ASSURANCES,
    decision,
    decision_fields,
    fate,
    said_fields,
    told,
    written_from,
)
from siutindei.entrypoints.explanation_page import PICTURE, picture
from siutindei.entrypoints.pages import html, text

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from datetime import datetime

    from siutindei.app.dossier import Dossier, Effect
    from siutindei.app.explaining import Node

#: Han characters, with what stands between them.
_HAN: Final = re.compile(
    "[\u2e80-\u2fdf\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff]+"
)
_STYLE: Final = """
@page { size: A4; margin: 18mm 15mm; }
:root { color-scheme: light; --ink: #16191d; --soft: #555d66; --line: #8a929b; --paper: #fff;
  --mark: #f0f0f0; --good: #16191d; --wrong: #fff; --act: #8a929b; }
body { margin: 2rem auto; max-width: 60rem; padding: 0 1rem; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin-bottom: .2rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .5rem; border-bottom: 2px solid var(--ink); }
h3 { font-size: 1rem; margin: 1.4rem 0 .3rem; } h2, h3 { break-after: avoid; }
.about { color: var(--soft); margin-top: 0; }
table { border-collapse: collapse; width: 100%; font-size: 13px; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem .25rem 0;
  overflow-wrap: anywhere; border-bottom: 1px solid var(--line); }
tr { break-inside: avoid; } thead { display: table-header-group; }
th[scope=col]:first-child { width: 9.5rem; } th[scope=row] { width: 11rem; }
th[scope=row] { font-weight: 600; color: var(--soft); }
.said { white-space: pre-wrap; } .time { white-space: nowrap; font-variant-numeric: tabular-nums; }
.small { font-size: 11px; color: var(--soft); }
svg circle.wrong { stroke: var(--ink); stroke-width: 2; }
@media print { body { margin: 0; max-width: none; padding: 0; font-size: 10.5pt; }
  table { font-size: 9pt; } .small { font-size: 8pt; } }
"""


def page(dossier: Dossier) -> str:
    """Make the page."""
    title = f"Dossier of {dossier.submitted.reference}"
    return html(title, style=_STYLE + PICTURE, body=_body(title, dossier))


def _body(title: str, dossier: Dossier) -> Iterator[str]:
    yield "<main>"
    yield f"<h1>{text(title)}</h1>"
    yield (
        f'<p class="about">{text(dossier.submitted.ticket_type.replace("_", " "))}, '
        f"{text(dossier.state.status)}. This page holds personal data; "
        "that it was opened is recorded.</p>"
    )
    yield from _submission(dossier)
    yield from _decision(dossier)
    yield from _effects("Mails", dossier.mails)
    yield from _effects("Grants", dossier.grants)
    yield from _timeline(dossier)
    yield from _looks(dossier)
    yield from _proof(dossier)
    yield "<h2>What caused what</h2>"
    yield '<p class="about">Times are UTC. The timeline says the same in words.</p>'
    yield from picture(dossier.explanation)
    yield "</main>"


def _submission(dossier: Dossier) -> Iterator[str]:
    submitted, said = dossier.submitted, wire(dossier.state)
    yield "<h2>Submission</h2>"
    yield from _pairs(
        [
            ("id", submitted.id),
            ("submitted", _both(submitted.at)),
            ("by", said["submitter_email"]),
            ("user", submitted.submitter),
            ("address proved by", ASSURANCES[submitted.assurance]),
            ("came with number", submitted.claimed_reference),
            ("entered by", dossier.submission.actor),
            ("request", dossier.submission.request_id),
            ("rule", submitted.rule),
            *said_fields(dossier),
        ]
    )


def _decision(dossier: Dossier) -> Iterator[str]:
    yield "<h2>Decision</h2>"
    found = decision(dossier)
    if found is None:
        yield "<p>None yet.</p>"
        return
    yield from _pairs(decision_fields(found, when=_both))


def _effects(title: str, effects: Sequence[Effect]) -> Iterator[str]:
    yield f"<h2>{title}</h2>"
    if not effects:
        yield "<p>None.</p>"
    for effect in effects:
        yield f"<h3>{text(effect.kind)}: {text(effect.status)}</h3>"
        yield from _pairs(
            [
                ("id", effect.id),
                ("to", effect.recipient),
                ("organization id", effect.organization_id),
                ("asked for", _both(effect.requested_at)),
                ("because of", effect.cause),
                ("template", written_from(effect)),
                ("its hash", effect.template_hash),
            ]
        )
        lines = fate(effect)
        if lines:
            yield from _table(
                ("when (UTC)", "what became of it"), ((_utc(at), said(what)) for at, what in lines)
            )


def _timeline(dossier: Dossier) -> Iterator[str]:
    yield "<h2>Timeline</h2>"
    yield from _table(
        ("UTC", "Hong Kong", "what", "who, and in which request"),
        (_moment(dossier, node) for node in dossier.timeline),
    )


def _moment(dossier: Dossier, node: Node) -> tuple[str, ...]:
    here = "" if node.at is None else _time(hong_kong(node.at))
    what = said(told(dossier, node))
    request = text(node.context.get("request_id", ""))
    who = f'{text(node.actor or "")}<div class="small">{request}</div>'
    return _utc(node.at), here, what, who


def _looks(dossier: Dossier) -> Iterator[str]:
    yield "<h2>Who looked before</h2>"
    if dossier.accesses:
        yield from _table(
            ("when (UTC)", "who", "command by"),
            ((_utc(one.at), text(one.by), text(one.actor)) for one in dossier.accesses),
        )
    else:
        yield "<p>Nobody.</p>"
    if dossier.has_older_accesses:
        yield "<p>And others earlier.</p>"


def _proof(dossier: Dossier) -> Iterator[str]:
    proof = dossier.proof
    yield "<h2>Proof that the record is intact</h2>"
    if proof.leaf is None:
        yield f"<p>Not covered: {text(proof.why)}.</p>"
        return
    yield from _pairs(
        [
            ("event", proof.event),
            ("place in the log", proof.leaf.index),
            ("checkpoint covers", f"{proof.leaf.size} events"),
            ("its root", proof.leaf.root),
            ("of this dossier", f"{proof.covered} of {proof.events} events are covered"),
        ]
    )


# --- writing --------------------------------------------------------------------------------------


def _pairs(pairs: Iterable[tuple[str, object]]) -> Iterator[str]:
    yield "<table><tbody>"
    for name, value in pairs:
        if value is None:
            continue
        whole = "\n".join(map(str, value)) if isinstance(value, list) else str(value)
        yield f'<tr><th scope="row">{name}</th><td class="said" dir="auto">{said(whole)}</td></tr>'
    yield "</tbody></table>"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    told = "".join(f'<th scope="col">{head}</th>' for head in heads)
    yield f"<table><thead><tr>{told}</tr></thead><tbody>"
    for row in rows:
        yield f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>"
    yield "</tbody></table>"


def said(value: str) -> str:
    """Write a text of any number of lines, and say where it is Chinese."""
    shown = escape(fields.printable(value))
    return _HAN.sub(lambda found: f'<span lang="zh-HK">{found[0]}</span>', shown)


def _time(at: datetime) -> str:
    return f'<span class="time">{at:%Y-%m-%d %H:%M:%S}</span>'


def _utc(at: datetime | None) -> str:
    return "" if at is None else _time(at.astimezone(UTC))


def _both(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, {hong_kong(at):%Y-%m-%d %H:%M:%S} HKT"
