"""The HTTP API: API Gateway's REST proxy events in, answers out (docs/api.md).

Each route parses, makes a call of the application, and renders. Whatever is wrong becomes one of
the statuses of `ERRORS`; nothing is raised, and nothing of the inside is told.
"""

from __future__ import annotations

import hashlib
import re
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import attrs
import msgspec

from siutindei.app import audit_log
from siutindei.app.history import moment
from siutindei.app.ports import Conflict, Context, PortError, Unavailable, Unusable
from siutindei.app.tickets import LIST_DEFAULT, LIST_MOST, WIRE_STATUSES, wire
from siutindei.bootstrap import Services
from siutindei.domain import fields, person, ticket
from siutindei.domain.errors import Invalid, NotFound, Refused
from siutindei.entrypoints import runtime
from siutindei.entrypoints.requests import Caller, NoIdentity, Request, read

if TYPE_CHECKING:
    from datetime import datetime

K = TypeVar("K")

SEARCH_DEFAULT: Final = 20
SEARCH_MOST: Final = 50
RETRY_AFTER: Final = 2
KEY_MOST: Final = 255
#: Lambda hands over at most 6 MB, and writes every character that is not ASCII as up to six.
ANSWER_MOST: Final = 2_500_000
HEADERS: Final = {
    "Content-Type": "application/json",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
    "Vary": "Origin",
}
ALLOWED_HEADERS: Final = "Content-Type,Authorization,X-Amz-Date,X-Api-Key,X-Amz-Security-Token"
ALLOWED_METHODS: Final = "GET,POST,PUT,DELETE,OPTIONS"
ACTIONS: Final[Mapping[str, audit_log.Action]] = {
    "INSERT": "INSERT",
    "UPDATE": "UPDATE",
    "DELETE": "DELETE",
}
TYPES: Final[Mapping[str, ticket.Type]] = {name: name for name in ticket.TYPES}
_ID: Final = re.compile("[A-Za-z0-9-]{1,64}")
_WHOLE: Final = re.compile("-?[0-9]{1,9}")
_KEY: Final = re.compile(f"[!-~]{{1,{KEY_MOST}}}")
#: A plus that somebody forgot to encode arrives as a blank.
_LOST_PLUS: Final = re.compile("(T[^ ]+) ([0-9]{2}:?[0-9]{2})")

# --- answers -------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Answer:
    """What is answered; `document` None is an empty body."""

    status: int
    document: Mapping[str, object] | None
    headers: Mapping[str, str] = attrs.field(factory=dict)


class NotAllowed(Exception):
    """Who asks is not in the group."""


class NoRoute(Exception):
    """Nothing is at that path."""


class NoMethod(Exception):
    """The path takes other methods.

    Attributes:
        allowed: those.
    """

    def __init__(self, allowed: str) -> None:
        super().__init__(allowed)
        self.allowed = allowed


#: What an error is to a client: the first kind that fits. Everything else is our fault: 500.
ERRORS: Final[tuple[tuple[type[Exception], int], ...]] = (
    (Invalid, 400),
    (NoIdentity, 401),
    (NotAllowed, 403),
    (person.PersonErased, 403),
    (ticket.AddressNotProved, 403),
    (NoRoute, 404),
    (NotFound, 404),
    (NoMethod, 405),
    (Refused, 409),
    (Unavailable, 503),
    (Conflict, 503),
)
FAULT: Final = 500
#: What is said instead of the error's own words, which are for us.
TEXTS: Final[Mapping[int, str]] = {
    401: "sign in first",
    404: "there is nothing by that name here",
    405: "that method is not for this path",
    FAULT: "something is wrong on our side; nothing that you sent was at fault",
    503: "not now; send the same request again",
}


def _refusal(error: Exception) -> Answer:
    status = next((status for kind, status in ERRORS if isinstance(error, kind)), FAULT)
    document = {"error": TEXTS.get(status) or str(error)}
    if isinstance(error, Invalid):
        # The command's id is the client's when they gave a key for it.
        field = "Idempotency-Key" if error.field == "command_id" else error.field
        document = {"error": f"{field}: {error.why}", "detail": f"Field: {field}"}
    if isinstance(error, NoMethod):
        return Answer(status=status, document=document, headers={"Allow": error.allowed})
    if status == 503:  # noqa: PLR2004  # as the table above has it
        return Answer(status=status, document=document, headers={"Retry-After": str(RETRY_AFTER)})
    return Answer(status=status, document=document)


# --- what a route is given -----------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Call:
    """One call of a route.

    Attributes:
        services: the application.
        request: the request.
        caller: who asks.
        context: who acts, and by which request.
        id: what `{id}` in the path stands for, empty when there is none.
    """

    services: Services
    request: Request
    caller: Caller
    context: Context
    id: str

    def text(self, name: str) -> str | None:
        """Give a query parameter, None when it is not given."""
        return self.request.query.get(name)

    def one_of(self, name: str, known: Mapping[str, K], *, alias: str = "") -> K | None:
        """Give what the value of a query parameter stands for.

        Raises:
            Invalid: it is none of those that are known.
        """
        text = self.text(name) or (self.text(alias) if alias else None)
        if text is None:
            return None
        if text not in known:
            raise Invalid(name, f"must be one of {', '.join(known)}")
        return known[text]

    def limit(self, default: int, most: int) -> int:
        """Give how many are asked for.

        Raises:
            Invalid: it is not a number, too small or too large.
        """
        text = self.text("limit")
        number: object = default
        if text is not None:
            number = int(text) if _WHOLE.fullmatch(text) else text
        return fields.whole("limit", number, least=1, most=most)

    def page(self, most: int, make: Callable[[int], Mapping[str, object]]) -> Answer:
        """Answer with a list of at most so many, or of fewer when those are too long."""
        while True:
            document = make(most)
            if most == 1 or len(msgspec.json.encode(document)) <= ANSWER_MOST:
                return Answer(status=200, document=document)
            most //= 2

    def since(self) -> datetime | None:
        """Give the moment from which on entries count.

        Raises:
            Invalid: it is no time.
        """
        text = self.text("since")
        if text is None:
            return None
        at = moment("since", _LOST_PLUS.sub(r"\1+\2", text))
        if isinstance(at, int):
            raise Invalid("since", "must be a time such as 2026-01-31T09:30:00+08:00")
        return at


# --- what users call -----------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Kind:
    """The words of one type of ticket where users submit and see theirs.

    Attributes:
        ticket_type: the type.
        pending: the key that says whether one is pending.
        all: the key of the user's tickets.
        conflict: the key of the pending one, when a second is refused.
    """

    ticket_type: ticket.Type
    pending: str
    all: str
    conflict: str


ACCESS_REQUEST: Final = Kind(
    ticket_type="access_request",
    pending="has_pending_request",
    all="pending_request",
    conflict="request",
)
SUGGESTION: Final = Kind(
    ticket_type="organization_suggestion",
    pending="has_pending_suggestion",
    all="suggestions",
    conflict="suggestion",
)
FEEDBACK: Final = Kind(
    ticket_type="organization_feedback",
    pending="has_pending_feedback",
    all="feedbacks",
    conflict="feedback",
)


def _show_access_request(call: Call) -> Answer:
    """Say whether the caller's access request is pending, and what they manage."""
    page = call.services.tickets.list(
        status="pending",
        ticket_type=ACCESS_REQUEST.ticket_type,
        submitter=call.caller.user,
        limit=1,
    )
    found = [wire(entry) for entry in page.items]
    return Answer(
        status=200,
        document={
            ACCESS_REQUEST.pending: bool(found),
            ACCESS_REQUEST.all: found[0] if found else None,
            "organizations_count": call.services.directory.managed_by(call.caller.user),
        },
    )


def _show_own(kind: Kind) -> Callable[[Call], Answer]:
    def show(call: Call) -> Answer:
        def make(limit: int) -> Mapping[str, object]:
            page = call.services.tickets.list(
                ticket_type=kind.ticket_type, submitter=call.caller.user, limit=limit
            )
            return {
                # Nothing is submitted after one that is pending: it is the newest.
                kind.pending: any(entry.status == "pending" for entry in page.items),
                kind.all: [wire(entry) for entry in page.items],
            }

        return call.page(LIST_DEFAULT, make)

    return show


def _submit(kind: Kind) -> Callable[[Call], Answer]:
    def submit(call: Call) -> Answer:
        try:
            taken = call.services.tickets.submit(
                call.context,
                ticket_type=kind.ticket_type,
                user=call.caller.user,
                email=call.caller.email,
                body=call.request.document(),
                vouched=call.caller.vouched,
                needs_proof=True,
                locale=call.caller.locale,
            )
        except ticket.PendingTicket as refused:
            pending = wire(call.services.tickets.show(refused.reference))
            return Answer(status=409, document={"error": str(refused), kind.conflict: pending})
        reference = wire(taken)["ticket_id"]
        return Answer(
            status=202, document={"message": f"{reference} was taken", "ticket_id": reference}
        )

    return submit


def _list_labels(call: Call) -> Answer:
    labels = call.services.directory.labels()
    return Answer(status=200, document={"items": [attrs.asdict(label) for label in labels]})


def _search_organizations(call: Call) -> Answer:
    limit = call.limit(SEARCH_DEFAULT, SEARCH_MOST)
    found = call.services.directory.search(call.text("q") or "", limit=limit)
    return Answer(status=200, document={"items": [attrs.asdict(entry) for entry in found]})


# --- what administrators call --------------------------------------------------------------------


def _list_tickets(call: Call) -> Answer:
    ticket_type = call.one_of("ticket_type", TYPES, alias="type")
    status = call.one_of("status", WIRE_STATUSES)

    def make(limit: int) -> Mapping[str, object]:
        page = call.services.tickets.list(
            status=status, ticket_type=ticket_type, limit=limit, cursor=call.text("cursor")
        )
        return {
            "items": [wire(entry) for entry in page.items],
            "next_cursor": page.next_cursor,
            "pending_count": call.services.tickets.pending_count(ticket_type),
        }

    return call.page(call.limit(LIST_DEFAULT, LIST_MOST), make)


def _review(call: Call) -> Answer:
    body, tickets = call.request.document(), call.services.tickets
    note: Any = next(
        (body[name] for name in ("admin_notes", "message") if body.get(name) is not None), None
    )
    # A form sends an empty text for what was left empty.
    organization = None if body.get("organization_id") == "" else body.get("organization_id")
    match body.get("action"):
        case "approve":
            decided = tickets.approve(
                call.context,
                call.id,
                by=call.caller.user,
                note=note,
                organization_id=organization,
                create_organization=body.get("create_organization"),
            )
        case "reject":
            decided = tickets.decline(call.context, call.id, by=call.caller.user, note=note)
        case _:
            raise Invalid("action", "must be approve or reject")
    after = wire(decided.ticket)
    document = {"message": f"{after['ticket_id']} was {after['status']}", "ticket": after}
    if decided.organization is not None:
        document["organization"] = attrs.asdict(decided.organization)
    return Answer(status=200, document=document)


def _list_audit_logs(call: Call) -> Answer:
    table = call.one_of("table", {name: name for name in audit_log.TABLES})
    action, since = call.one_of("action", ACTIONS), call.since()

    def make(limit: int) -> Mapping[str, object]:
        page = call.services.audit_log.list(
            table=table or audit_log.TABLE,
            record_id=call.text("record_id"),
            user=call.text("user_id"),
            action=action,
            since=since,
            limit=limit,
            cursor=call.text("cursor"),
        )
        return {
            "items": [audit_log.wire_entry(entry) for entry in page.items],
            "next_cursor": page.next_cursor,
        }

    return call.page(call.limit(LIST_DEFAULT, LIST_MOST), make)


def _show_audit_log(call: Call) -> Answer:
    return Answer(status=200, document=audit_log.wire_entry(call.services.audit_log.show(call.id)))


# --- routes --------------------------------------------------------------------------------------

Method = Literal["GET", "POST", "PUT"]


@attrs.frozen(kw_only=True)
class Route:
    """One route.

    Attributes:
        name: what it is called in logs, metrics and the OpenAPI document.
        method: its method.
        path: its path, without `/v1`.
        call: what answers it.
    """

    name: str
    method: Method
    path: str
    call: Callable[[Call], Answer]

    @property
    def is_admin(self) -> bool:
        """Whether it is for administrators alone."""
        return self.path.startswith("/admin/")

    def match(self, path: tuple[str, ...]) -> str | None:
        """Give what `{id}` stands for (an empty text when there is none); None when it is another.

        What can be no id is none: the path leads nowhere.
        """
        expected = self.path[1:].split("/")
        if len(expected) != len(path):
            return None
        found = ""
        for part, given in zip(expected, path, strict=True):
            if part == "{id}" and _ID.fullmatch(given):
                found = given
            elif part != given:
                return None
        return found


def _route(name: str, method: Method, path: str, call: Callable[[Call], Answer]) -> Route:
    return Route(name=name, method=method, path=path, call=call)


ROUTES: Final = (
    _route("showAccessRequest", "GET", "/user/access-request", _show_access_request),
    _route("submitAccessRequest", "POST", "/user/access-request", _submit(ACCESS_REQUEST)),
    _route("listSuggestions", "GET", "/user/organization-suggestion", _show_own(SUGGESTION)),
    _route("submitSuggestion", "POST", "/user/organization-suggestion", _submit(SUGGESTION)),
    _route("listFeedback", "GET", "/user/organization-feedback", _show_own(FEEDBACK)),
    _route("submitFeedback", "POST", "/user/organization-feedback", _submit(FEEDBACK)),
    _route("listFeedbackLabels", "GET", "/user/feedback-labels", _list_labels),
    _route("searchOrganizations", "GET", "/user/organizations", _search_organizations),
    _route("listTickets", "GET", "/admin/tickets", _list_tickets),
    _route("decideTicket", "PUT", "/admin/tickets/{id}", _review),
    _route("reviewTicket", "PUT", "/admin/tickets/{id}/review", _review),
    _route("listAuditLogs", "GET", "/admin/audit-logs", _list_audit_logs),
    _route("showAuditLog", "GET", "/admin/audit-logs/{id}", _show_audit_log),
)


@attrs.frozen(kw_only=True)
class Found:
    """The routes of a path by their methods, and what `{id}` in it stands for."""

    by_method: Mapping[str, Route]
    id: str


def _find(path: tuple[str, ...] | None) -> Found:
    matched = [] if path is None else [(route, route.match(path)) for route in ROUTES]
    found = [(route, id) for route, id in matched if id is not None]
    return Found(
        by_method={route.method: route for route, _ in found}, id=found[0][1] if found else ""
    )


# --- the handler ---------------------------------------------------------------------------------


def handler(event: object, context: object) -> dict[str, Any]:
    """Answer one request; never raises."""
    started = time.perf_counter()
    request = read(event)
    found = _find(request.path)
    route = found.by_method.get(request.method)
    with runtime.invocation(context, request_id=request.id) as log:
        where: dict[str, str] = {}
        origins: frozenset[str] = frozenset()
        try:
            services = _application()
            origins = services.settings.allowed_origins
            answer = _answer(services, request, found, context)
        except Exception as error:  # noqa: BLE001  # whatever it is, the client gets an answer
            answer = _refusal(error)
            if answer.status >= FAULT:
                where = _where(error)
        name = "options" if request.method == "OPTIONS" else route.name if route else "none"
        milliseconds = round((time.perf_counter() - started) * 1000, 1)
        log.log(
            _ERROR if answer.status >= FAULT else _INFO,
            "request",
            route=name,
            status=answer.status,
            duration_ms=milliseconds,
            **where,
        )
        runtime.emit(
            {"Requests": 1, "Duration": milliseconds}, Route=name, Status=str(answer.status)
        )
    return {
        "statusCode": answer.status,
        "headers": {**HEADERS, **_cors(request, origins), **answer.headers},
        "body": "" if answer.document is None else msgspec.json.encode(answer.document).decode(),
        "isBase64Encoded": False,
    }


#: The numbers of `logging`, which is not imported for them.
_INFO: Final = 20
_ERROR: Final = 40


def _application() -> Services:
    try:
        return runtime.services()
    except Invalid as error:
        # A setting is nothing that the client sent.
        raise Unusable(str(error)) from error


def _answer(services: Services, request: Request, found: Found, context: object) -> Answer:
    if not found.by_method:
        raise NoRoute
    if request.method == "OPTIONS":
        return Answer(status=204, document=None)
    route = found.by_method.get(request.method)
    if route is None:
        raise NoMethod(", ".join(sorted([*found.by_method, "OPTIONS"])))
    caller = request.caller()
    if route.is_admin and services.settings.text("ADMIN_GROUP") not in caller.groups:
        raise NotAllowed("this is for administrators alone")
    request_id = request.id or getattr(context, "aws_request_id", None) or services.ids.uuid()
    command = runtime.command(
        context,
        command_id=_command_id(request, caller, request_id),
        actor=f"{'admin' if route.is_admin else 'user'}:{caller.user}",
        request_id=request_id,
    )
    return route.call(
        Call(services=services, request=request, caller=caller, context=command, id=found.id)
    )


def _command_id(request: Request, caller: Caller, request_id: str) -> str:
    """Name the command: by the client's key, which is theirs alone and may say anything."""
    key = request.headers.get("idempotency-key")
    if key is None or request.method == "GET":
        return request_id
    if not _KEY.fullmatch(key.strip()):
        raise Invalid("Idempotency-Key", f"must be at most {KEY_MOST} printable ASCII characters")
    digest = hashlib.sha256(f"{caller.user}\n{key.strip()}".encode()).hexdigest()
    return f"idempotency-key-{digest[:32]}"


def _cors(request: Request, origins: frozenset[str]) -> dict[str, str]:
    origin = request.headers.get("origin")
    if origin is None or origin not in origins:
        return {}
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Headers": ALLOWED_HEADERS,
        "Access-Control-Allow-Methods": ALLOWED_METHODS,
    }


def _where(error: Exception) -> dict[str, str]:
    """Name an error and its place; of those that are not ours the text may hold anything."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    named = {"error": type(error).__qualname__, "at": f"{Path(frame.filename).name}:{frame.lineno}"}
    return named | ({"why": str(error)} if isinstance(error, PortError) else {})
