"""The dossier of a ticket, as sections for people and as a document for programs."""

from __future__ import annotations

from datetime import UTC
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

from siutindei.app.tickets import wire
from siutindei.app.times import hong_kong
from siutindei.entrypoints.cli.output import cell, echo, print_fields, when
from siutindei.entrypoints.dossier_words import (
    ASSURANCES,
    act_of,
    decision,
    decision_fields,
    fate,
    said_fields,
    told,
    written_from,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from siutindei.app.dossier import Attempt, Dossier, Effect, Happened, Proof
    from siutindei.app.explaining import Node


#: As wide as a time, where there is none.
_NO_TIME: Final = "-" * 23
#: The columns that any terminal has.
_WIDE: Final = 80


def document(dossier: Dossier) -> dict[str, Any]:
    """Give the document."""
    submitted = dossier.submitted
    return {
        "ticket": wire(dossier.state),
        "submission": {
            **act_of(dossier.submission),
            "assurance": submitted.assurance,
            "rule": submitted.rule,
            "locale": submitted.locale,
            "claimed_reference": submitted.claimed_reference,
        },
        "decision": decision(dossier),
        "mails": [_effect(mail) for mail in dossier.mails],
        "grants": [_effect(grant) for grant in dossier.grants],
        "timeline": [_moment(dossier, node) for node in dossier.timeline],
        "accesses": [
            {"id": one.id, "by": one.by, "at": one.at, "what": one.what, "actor": one.actor}
            for one in dossier.accesses
        ],
        "has_older_accesses": dossier.has_older_accesses,
        "proof": _proof(dossier.proof),
    }


def _effect(effect: Effect) -> dict[str, Any]:
    shared = {
        "id": effect.id,
        "kind": effect.kind,
        "cause": effect.cause,
        "status": effect.status,
        "requested_at": effect.requested_at,
        "attempts": [_attempt(attempt) for attempt in effect.attempts],
        "handling": list(map(_happened, effect.handling)),
    }
    if effect.work == "grant":
        return {**shared, "organization_id": effect.organization_id}
    return {
        **shared,
        "recipient": effect.recipient,
        "locale": effect.locale,
        "template": effect.template,
        "template_version": effect.template_version,
        "template_hash": effect.template_hash,
        "feedback": list(map(_happened, effect.feedback)),
        "suppression": list(map(_happened, effect.suppression)),
    }


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "number": attempt.number,
        "started_at": None if attempt.started is None else attempt.started.at,
        "template_version": attempt.template_version,
        "template_hash": attempt.template_hash,
        "outcome": attempt.outcome,
        "outcomes": list(map(_happened, attempt.outcomes)),
    }


def _happened(said: Happened) -> dict[str, Any]:
    found = {
        "event": said.event,
        "what": said.what,
        "said": said.said,
        "at": said.at,
        "by": said.by,
        "reason": said.reason,
        "rule": said.rule,
        "message_id": said.message_id,
    }
    return {name: value for name, value in found.items() if value is not None}


def _moment(dossier: Dossier, node: Node) -> dict[str, Any]:
    return {
        "event": node.id,
        "name": node.name,
        "at": node.at,
        "at_hong_kong": None if node.at is None else hong_kong(node.at).isoformat(),
        "what": told(dossier, node),
        "actor": node.actor,
        "request_id": node.context.get("request_id"),
        "rule": node.rule,
        "aside": node.is_aside,
    }


def _proof(proof: Proof) -> dict[str, Any]:
    found: dict[str, Any] = {
        "covered": proof.leaf is not None,
        "event": proof.event,
        "events": proof.events,
        "events_covered": proof.covered,
    }
    if proof.leaf is None:
        return {**found, "why": proof.why}
    leaf = proof.leaf
    return {**found, "leaf_index": leaf.index, "size": leaf.size, "root": leaf.root}


# --- for people -----------------------------------------------------------------------------------


def print_dossier(dossier: Dossier) -> None:
    """Print it, section after section."""
    _print_submission(dossier)
    _print_decision(dossier)
    _print_effects("Mails", dossier.mails)
    _print_effects("Grants", dossier.grants)
    _print_timeline(dossier)
    _head("Who looked before")
    for one in dossier.accesses:
        echo(f"{when(one.at)}  {cell(f'{one.by} ({one.actor})')}")
    if dossier.has_older_accesses:
        echo(f"and others earlier: siutindei audit access --subject {dossier.submitted.reference}")
    if not dossier.accesses:
        echo("nobody")
    _head("Proof that the record is intact")
    proof = _proof(dossier.proof)
    print_fields((name.replace("_", " "), value) for name, value in proof.items())


def _head(title: str) -> None:
    echo()
    echo(title)
    echo("-" * len(title))


def _print_submission(dossier: Dossier) -> None:
    title = f"Dossier of {dossier.submitted.reference}"
    echo(title)
    echo("=" * len(title))
    said, submitted = wire(dossier.state), dossier.submitted
    print_fields(
        [
            ("id", said["id"]),
            ("type", said["ticket_type"]),
            ("status", dossier.state.status),
            ("submitted", both(submitted.at)),
            ("by", f"{said['submitter_email']} ({said['submitter_id']})"),
            ("address proved by", ASSURANCES[submitted.assurance]),
            ("came with number", submitted.claimed_reference),
            ("entered by", dossier.submission.actor),
            ("request", dossier.submission.request_id),
            ("rule", submitted.rule),
            *((name, value) for name, value in said_fields(dossier)),
        ]
    )


def _print_decision(dossier: Dossier) -> None:
    _head("Decision")
    found = decision(dossier)
    if found is None:
        echo("none yet")
        return
    print_fields(decision_fields(found, when=both))


def _print_effects(title: str, effects: Sequence[Effect]) -> None:
    _head(title)
    if not effects:
        echo("none")
    for number, effect in enumerate(effects):
        if number:
            echo()
        print_fields(
            [
                ("id", effect.id),
                ("kind", effect.kind),
                ("status", effect.status),
                ("to", effect.recipient),
                ("organization", effect.organization_id),
                ("asked for", both(effect.requested_at)),
                ("because of", effect.cause),
                ("template", written_from(effect)),
                ("its hash", effect.template_hash),
            ]
        )
        for at, text in fate(effect):
            _print_wrapped(f"{_NO_TIME if at is None else when(at)}  {cell(text)}")


def _print_timeline(dossier: Dossier) -> None:
    _head("Timeline")
    for node in dossier.timeline:
        times = "time unknown" if node.at is None else both(node.at)
        echo(f"{times}  {cell(node.actor or '-')}")
        _print_wrapped(cell(told(dossier, node)))
        if "request_id" in node.context:
            echo(f"  request {cell(node.context['request_id'])}")


def _print_wrapped(line: str) -> None:
    """Print a line below what it is about; one that is too wide goes on in the next."""
    lines = wrap(
        line,
        _WIDE,
        initial_indent="  ",
        subsequent_indent="    ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    for part in lines:
        echo(part)


def both(at: datetime) -> str:
    """Write a time in Hong Kong's and in universal time."""
    utc, here = at.astimezone(UTC), hong_kong(at)
    form = "%H:%M:%S" if utc.date() == here.date() else "%Y-%m-%d %H:%M:%S"
    return f"{when(at)} ({utc:{form}} UTC)"
