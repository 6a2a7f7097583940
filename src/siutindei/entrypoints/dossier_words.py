"""What a dossier says in a few words, wherever it is shown."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from siutindei.app.tickets import wire
from siutindei.domain import grant, notification

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from datetime import datetime

    from siutindei.app.dossier import Act, Dossier, Effect, Happened
    from siutindei.app.explaining import Node
    from siutindei.domain import ticket

#: How we know that an address is the submitter's.
ASSURANCES: Final[Mapping[ticket.Assurance, str]] = {
    "code": "a code that they answered",
    "token": "the identity provider's token",
    "none": "nobody vouched for it",
}


def act_of(act: Act) -> dict[str, Any]:
    """Give who did something, when, and in which request."""
    return {"event": act.event, "at": act.at, "actor": act.actor, "request_id": act.request_id}


def decision(dossier: Dossier) -> dict[str, Any] | None:
    """Give the decision; None as long as there is none."""
    decided, took = dossier.state.decision, dossier.took
    if decided is None or dossier.decision is None or took is None:
        return None
    return {
        **act_of(dossier.decision),
        "status": dossier.state.status,
        "by": decided.by.text,
        "reviewer": decided.reviewer,
        "note": None if decided.note is None else decided.note.text,
        "rule": decided.rule,
        "took_seconds": took.total_seconds(),
        "organization_id": decided.organization_id,
        "create_organization": decided.create_organization,
        "stars": decided.stars,
    }


def decision_fields(
    found: dict[str, Any], *, when: Callable[[datetime], str]
) -> list[tuple[str, object]]:
    """Give what is said of a decision, each with the name that people have for it."""
    return [
        ("decided", found["status"]),
        ("when", when(found["at"])),
        ("by", reviewer(found)),
        ("after", lasted(found["took_seconds"])),
        ("note", found["note"]),
        ("rule", found["rule"]),
        ("organization id", found["organization_id"]),
        ("made new", "yes" if found["create_organization"] else None),
        ("stars", found["stars"] or None),
        ("given by", found["actor"]),
        ("request", found["request_id"]),
        ("event", found["event"]),
    ]


def said_fields(dossier: Dossier) -> list[tuple[str, object]]:
    """Give what the submitter said, each with the name that people have for it."""
    said = wire(dossier.state)
    found = [
        ("organization", said["organization_name"]),
        ("organization id", dossier.submitted.organization_id),
        ("message", said["message"]),
        ("description", said["description"]),
        ("district", said["suggested_district"]),
        ("address", said["suggested_address"]),
        ("latitude", said["suggested_lat"]),
        ("longitude", said["suggested_lng"]),
        ("media", said["media_urls"]),
        ("stars", said["feedback_stars"]),
        ("labels", said["feedback_label_ids"]),
        ("feedback", said["feedback_text"]),
    ]
    return [(name, value) for name, value in found if value not in (None, [])]


def reviewer(found: dict[str, Any]) -> str:
    """Name who decided, and their id where that is not their name."""
    by, id = found["by"], found["reviewer"]
    return str(by) if by == id else f"{by} ({id})"


def written_from(effect: Effect) -> str | None:
    """Name what a mail is written from, with its version."""
    if effect.template is None:
        return None
    return f"{effect.template}, version {effect.template_version}"


def fate(effect: Effect) -> list[tuple[datetime | None, str]]:
    """Say line by line, in the order of the log, what happened to a mail or a grant."""
    newer = {
        attempt.started.event: f", written from version {attempt.template_version}"
        for attempt in effect.attempts
        if attempt.started is not None and attempt.template_hash != effect.template_hash
    }
    happened = [
        *(attempt.started for attempt in effect.attempts if attempt.started is not None),
        *(said for attempt in effect.attempts for said in attempt.outcomes),
        *(*effect.feedback, *effect.handling, *effect.suppression),
    ]
    happened.sort(key=lambda said: said.position)
    return [
        *((said.at, _said(said) + newer.get(said.event, "")) for said in happened),
        *(
            (None, f"attempt {attempt.number} has no outcome yet")
            for attempt in effect.attempts
            if not attempt.outcomes
        ),
    ]


def told(dossier: Dossier, node: Node) -> str:
    """Say what happened, and to which mail or grant, or that it belongs to another chain."""
    names = {notification.stream(mail.id): mail.kind for mail in dossier.mails}
    names |= {grant.stream(change.id): change.id for change in dossier.grants}
    name = names.get(node.id.rpartition("/")[0])
    if node.is_aside:
        return f"elsewhere: {node.title}"
    # Where it was asked for it is named already.
    return node.title if name is None or name in node.title else f"{name}: {node.title}"


def _said(said: Happened) -> str:
    text = said.said
    if said.by is not None and said.by not in text:
        text += f", by {said.by}"
    if said.reason is not None:
        text += f": {said.reason}"
    return text if said.rule is None else f"{text} [{said.rule}]"


def lasted(seconds: float) -> str:
    """Write a duration in days, hours, minutes and seconds."""
    sign, left = ("-", -seconds) if seconds < 0 else ("", seconds)
    days, rest = divmod(round(left), int(timedelta(days=1).total_seconds()))
    hours, rest = divmod(rest, 3600)
    minutes, whole = divmod(rest, 60)
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (whole, "s"))
    return sign + (" ".join(f"{count} {unit}" for count, unit in parts if count) or "0 s")
