"""The OpenAPI document of the HTTP API, made from the routes: `docs/openapi.json`.

Schemas say what is sent and answered; what is accepted is checked in `domain/`, once.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import attrs

from siutindei.app.audit_log import TABLES
from siutindei.app.tickets import LIST_DEFAULT, LIST_MOST, WIRE_STATUSES
from siutindei.domain import ticket
from siutindei.entrypoints.api import ACTIONS, KEY_MOST, ROUTES, SEARCH_DEFAULT, SEARCH_MOST, Route

Schema = Mapping[str, Any]

# --- schemas -------------------------------------------------------------------------------------

_BOOLEAN: Final[Schema] = {"type": "boolean"}
_COUNT: Final[Schema] = {"type": "integer", "minimum": 0}
_TEXT: Final[Schema] = {"type": "string"}
_UUID: Final[Schema] = {"type": "string", "format": "uuid"}
_TIME: Final[Schema] = {"type": "string", "format": "date-time"}
_TYPE: Final[Schema] = {"type": "string", "enum": list(ticket.TYPES)}
_STATUS: Final[Schema] = {"type": "string", "enum": list(WIRE_STATUSES)}
_ACTION: Final[Schema] = {"type": "string", "enum": list(ACTIONS)}
_TABLE: Final[Schema] = {"type": "string", "enum": list(TABLES)}


def _or_null(schema: Schema) -> Schema:
    if "$ref" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    return {**schema, "type": [schema["type"], "null"]}


def _list(items: Schema, **limits: int) -> Schema:
    return {"type": "array", "items": items, **limits}


def _object(properties: Mapping[str, Schema], *optional: str) -> Schema:
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _text(most: int) -> Schema:
    return {"type": ["string", "null"], "maxLength": most}


def _number(most: int) -> Schema:
    return {"type": ["number", "null"], "minimum": -most, "maximum": most}


_NAME: Final[Schema] = {"type": "string", "minLength": 1, "maxLength": 200}
_URL: Final[Schema] = {"type": "string", "format": "uri", "maxLength": 2048}
_ERROR: Final = _ref("Error")
_TICKET: Final = _ref("Ticket")
_TICKET_ID: Final[Schema] = {"type": "string", "pattern": "^[RSF][0-9]{5,}$"}
_TAKEN: Final = _object({"message": _TEXT, "ticket_id": _TICKET_ID})
_NEXT_CURSOR: Final = _or_null(_TEXT)

COMPONENTS: Final[Mapping[str, Schema]] = {
    "Error": _object({"error": _TEXT, "detail": _TEXT}, "detail"),
    "Ticket": _object(
        {
            "id": _UUID,
            "ticket_id": _TICKET_ID,
            "ticket_type": _TYPE,
            "organization_name": _TEXT,
            "message": _or_null(_TEXT),
            "status": _STATUS,
            "submitter_email": _TEXT,
            "submitter_id": _TEXT,
            "created_at": _TIME,
            "reviewed_at": _or_null(_TIME),
            "reviewed_by": _or_null(_TEXT),
            "admin_notes": _or_null(_TEXT),
            "description": _or_null(_TEXT),
            "suggested_district": _or_null(_TEXT),
            "suggested_address": _or_null(_TEXT),
            "suggested_lat": _number(90),
            "suggested_lng": _number(180),
            "media_urls": _list(_TEXT),
            "organization_id": _or_null(_UUID),
            "feedback_stars": _or_null(_COUNT),
            "feedback_label_ids": _list(_UUID),
            "feedback_text": _or_null(_TEXT),
            "created_organization_id": _or_null(_UUID),
        }
    ),
    "Organization": _object({"id": _UUID, "name": _TEXT}),
    "FeedbackLabel": _object(
        {
            "id": _UUID,
            "name": _TEXT,
            "name_translations": {"type": "object", "additionalProperties": _TEXT},
            "display_order": {"type": "integer"},
        }
    ),
    "AuditLog": _object(
        {
            "id": _TEXT,
            "table_name": _TEXT,
            "record_id": _UUID,
            "action": _ACTION,
            "user_id": _TEXT,
            "request_id": _TEXT,
            "old_values": _or_null(_TICKET),
            "new_values": _TICKET,
            "changed_fields": _list(_TEXT),
            "timestamp": _TIME,
            "source": {"type": "string", "enum": ["api", "command_line", "queue"]},
        }
    ),
}

# --- operations ----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Described:
    """What there is to say of a route.

    Attributes:
        summary: what it does.
        answers: the schema of each answer that is no common error.
        query: its query parameters.
        body: its body.
        errors: which of the common errors it has besides.
    """

    summary: str
    answers: Mapping[int, Schema]
    query: Mapping[str, Schema] = attrs.field(factory=dict)
    body: Schema | None = None
    errors: tuple[int, ...] = ()


def _limit(default: int, most: int) -> Schema:
    return {"type": "integer", "minimum": 1, "maximum": most, "default": default}


def _own(summary: str, pending: str, all_of_them: str) -> Described:
    return Described(
        summary=summary,
        answers={200: _object({pending: _BOOLEAN, all_of_them: _list(_TICKET, maxItems=50)})},
    )


def _submission(summary: str, conflict: str, body: Schema, *errors: int) -> Described:
    return Described(
        summary=summary,
        answers={202: _TAKEN, 409: _object({"error": _TEXT, conflict: _TICKET})},
        body=body,
        errors=errors,
    )


_PAGE: Final[Mapping[str, Schema]] = {"limit": _limit(LIST_DEFAULT, LIST_MOST), "cursor": _TEXT}
_REVIEW: Final = Described(
    summary="Approve or reject a ticket; the id is its UUID or its number",
    answers={
        200: _object(
            {"message": _TEXT, "ticket": _TICKET, "organization": _ref("Organization")},
            "organization",
        ),
        409: _ERROR,
    },
    body=_object(
        {
            "action": {"type": "string", "enum": ["approve", "reject"]},
            "admin_notes": _text(ticket.TEXT_MOST),
            "message": _text(ticket.TEXT_MOST),
            "organization_id": _or_null(_UUID),
            "create_organization": _or_null(_BOOLEAN),
        },
        *("admin_notes", "message", "organization_id", "create_organization"),
    ),
    errors=(404,),
)

DESCRIBED: Final[Mapping[str, Described]] = {
    "showAccessRequest": Described(
        summary="Whether the caller's access request is pending, and how much they manage",
        answers={
            200: _object(
                {
                    "has_pending_request": _BOOLEAN,
                    "pending_request": _or_null(_TICKET),
                    "organizations_count": _COUNT,
                }
            )
        },
    ),
    "submitAccessRequest": _submission(
        "Ask to manage an organization",
        "request",
        _object(
            {"organization_name": _NAME, "request_message": _text(ticket.TEXT_MOST)},
            "request_message",
        ),
    ),
    "listSuggestions": _own(
        "The caller's suggestions, newest first", "has_pending_suggestion", "suggestions"
    ),
    "submitSuggestion": _submission(
        "Suggest an organization",
        "suggestion",
        _object(
            {
                "organization_name": _NAME,
                "description": _text(ticket.TEXT_MOST),
                "suggested_district": _text(100),
                "suggested_address": _text(500),
                "additional_notes": _text(ticket.TEXT_MOST),
                "suggested_lat": _number(90),
                "suggested_lng": _number(180),
                "media_urls": {
                    "anyOf": [_list(_URL, maxItems=20), {"type": "null"}, _TEXT],
                    "description": "a list of web addresses, or one text with commas",
                },
            },
            *("description", "suggested_district", "suggested_address", "additional_notes"),
            *("suggested_lat", "suggested_lng", "media_urls"),
        ),
    ),
    "listFeedback": _own(
        "The caller's feedback, newest first", "has_pending_feedback", "feedbacks"
    ),
    "submitFeedback": _submission(
        "Give feedback on an organization",
        "feedback",
        _object(
            {
                "organization_id": _UUID,
                "stars": {"type": "integer", "minimum": 0, "maximum": 5},
                "label_ids": {"type": ["array", "null"], "items": _UUID, "maxItems": 20},
                "description": _text(ticket.TEXT_MOST),
            },
            *("label_ids", "description"),
        ),
        404,
    ),
    "listFeedbackLabels": Described(
        summary="The labels that feedback can carry, in display order",
        answers={200: _object({"items": _list(_ref("FeedbackLabel"))})},
    ),
    "searchOrganizations": Described(
        summary="Organizations whose name contains a text; none for an empty one",
        answers={200: _object({"items": _list(_ref("Organization"))})},
        query={"q": _TEXT, "limit": _limit(SEARCH_DEFAULT, SEARCH_MOST)},
    ),
    "listTickets": Described(
        summary="Tickets, newest first",
        answers={
            200: _object(
                {
                    "items": _list(_TICKET),
                    "next_cursor": _NEXT_CURSOR,
                    "pending_count": _COUNT,
                }
            )
        },
        query={"status": _STATUS, "ticket_type": _TYPE, "type": _TYPE, **_PAGE},
    ),
    "decideTicket": _REVIEW,
    "reviewTicket": _REVIEW,
    "listAuditLogs": Described(
        summary="What was done to tickets, newest first",
        answers={200: _object({"items": _list(_ref("AuditLog")), "next_cursor": _NEXT_CURSOR})},
        query={
            "table": _TABLE,
            "record_id": _TEXT,
            "user_id": _TEXT,
            "action": _ACTION,
            "since": _TIME,
            **_PAGE,
        },
    ),
    "showAuditLog": Described(
        summary="One entry of the audit log",
        answers={200: _ref("AuditLog")},
        errors=(404,),
    ),
}

# --- the document --------------------------------------------------------------------------------

_SAID: Final[Mapping[int, str]] = {
    200: "Here it is",
    202: "It was taken; the very next GET shows it",
    400: "Something that was sent is wrong; `detail` names the field",
    401: "Nobody is signed in",
    403: "Not for whoever asks",
    404: "There is no such thing",
    409: "A rule forbids it now",
    500: "A fault on our side",
    503: "Not now; the same request again after `Retry-After` seconds",
}
_KEY: Final[Schema] = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key again is the same request again: it gets its first answer.",
    "schema": {"type": "string", "pattern": "^[!-~]+$", "maxLength": KEY_MOST},
}
_PATH_ID: Final[Schema] = {
    "name": "id",
    "in": "path",
    "required": True,
    "schema": {"type": "string", "pattern": "^[A-Za-z0-9-]{1,64}$"},
}


def document() -> dict[str, Any]:
    """Make the document."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        operation = _operation(route, DESCRIBED[route.name])
        paths.setdefault(f"/v1{route.path}", {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Siu Tin Dei: tickets",
            "version": "1",
            "description": "Made from the code: `make docs` writes it again. See docs/api.md.",
        },
        "servers": [{"url": "/"}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
            },
            "schemas": dict(COMPONENTS),
        },
    }


def _operation(route: Route, described: Described) -> dict[str, Any]:
    errors = {401, 500, 503, *described.errors}
    if route.is_admin or described.body:
        errors.add(403)
    if described.query or described.body:
        errors.add(400)
    answers = {**dict.fromkeys(errors, _ERROR), **described.answers}
    parameters = [_PATH_ID] if "{id}" in route.path else []
    parameters += [
        {"name": name, "in": "query", "schema": schema} for name, schema in described.query.items()
    ]
    operation: dict[str, Any] = {
        "operationId": route.name,
        "summary": described.summary,
        "tags": ["admin" if route.is_admin else "user"],
    }
    if described.body:
        parameters.append(_KEY)
        operation["requestBody"] = {"required": True, "content": _json(described.body)}
    return operation | {
        "parameters": parameters,
        "responses": {
            str(status): {"description": _SAID[status], "content": _json(answers[status])}
            for status in sorted(answers)
        },
    }


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": dict(schema)}}
