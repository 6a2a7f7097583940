"""Cognito's triggers: sign-up, the three steps of a sign-in with a mailed code, and its end.

https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-identity-pools-working-with-aws-lambda-triggers.html

Each gets the trigger's event and gives the whole of it back with `response` filled. An event of
another trigger, or one that Cognito would not send, comes back as it is, and nothing happens.
What Cognito is told of an error, it tells the one who signs in: `ANSWERS` is all that it can be.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs

from siutindei.app.ports import PortError, Unusable
from siutindei.bootstrap import preload
from siutindei.domain.challenge import TooManySignIns, UnknownChallenge
from siutindei.domain.errors import DomainError, Invalid
from siutindei.domain.steps import Answered, next_step
from siutindei.entrypoints import runtime
from siutindei.entrypoints.deadlines import Deadline, TooLateError, budget
from siutindei.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from siutindei.app.sign_in import Started
    from siutindei.bootstrap import Services

T = TypeVar("T")

#: Cognito gives a trigger five seconds, the start of a container included.
WITHIN: Final = 4.3
#: How long one wait for the database may take: the whole step waits for it several times.
PATIENCE: Final = 1.0
#: How long the end of a sign-in may be held up by what only notes it.
NOTE_WITHIN: Final = 3.0
_CUSTOM: Final = "CUSTOM_CHALLENGE"
#: Where an unknown name that is no address gets one, so that it can be charged.
_NOWHERE: Final = "unknown.example.com"


class SignInError(Exception):
    """What Cognito, and whoever signs in, is told of an error."""


_NOT_NOW: Final = "Signing in does not work at the moment. Try again in a minute."
#: What is answered to each kind of error; the first that fits.
ANSWERS: Final[tuple[tuple[type[Exception], str], ...]] = (
    (TooManySignIns, "Too many sign-ins were started. Wait an hour and start again."),
    (UnknownChallenge, "This sign-in is over. Start again."),
    (Invalid, "This address or this app cannot be used to sign in."),
    (Exception, _NOT_NOW),
)


# --- what a trigger is asked ----------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Asked:
    """A trigger's event, as far as it is used.

    Attributes:
        client: the app client.
        name: what the user is called in the pool, or what somebody typed whom nobody knows.
        request: its `request`.
        attributes: the user's attributes.
    """

    client: str
    name: str
    request: Mapping[str, Any] = attrs.field(repr=False)
    attributes: Mapping[str, Any] = attrs.field(repr=False)

    def attribute(self, name: str) -> str | None:
        """Give an attribute; None when there is none, or nothing in it."""
        return _text(self.attributes.get(name))

    @property
    def user(self) -> str | None:
        """The user's id; None for somebody whom the pool does not know, or has no address of."""
        if self.request.get("userNotFound") or self.attribute("email") is None:
            return None
        return self.attribute("sub")

    @property
    def address(self) -> str:
        """Where a code goes, or would go."""
        text = self.attribute("email") or self.name
        if "@" in text:
            return text
        return f"{sha256(text.encode('utf-8', 'replace')).hexdigest()[:32]}@{_NOWHERE}"

    @property
    def is_verified(self) -> bool:
        """Whether the pool takes the address for the user's."""
        return str(self.attributes.get("email_verified")).lower() == "true"

    @property
    def session(self) -> list[Mapping[str, Any]]:
        """What was asked and answered in this sign-in, without the opening of some clients."""
        given = self.request.get("session")
        entries = [_mapping(entry) for entry in given] if isinstance(given, list) else []
        # Some kits open with SRP_A, which asks nothing.
        is_opening = entries and entries[0].get("challengeName") == "SRP_A"
        return entries[1:] if is_opening else entries


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value.strip() else None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _asked(event: object, source: str) -> Asked | None:
    """Read an event; None when it is not one of this trigger."""
    parts = _mapping(event)
    request = parts.get("request")
    client = _text(_mapping(parts.get("callerContext")).get("clientId"))
    name = _text(parts.get("userName"))
    if parts.get("triggerSource") != source or not isinstance(request, dict):
        return None
    if client is None or name is None:
        return None
    attributes = _mapping(request.get("userAttributes"))
    return Asked(client=client, name=name, request=request, attributes=attributes)


def _handle(
    event: Any, context: Any, source: str, work: Callable[[Asked], Mapping[str, Any]]
) -> Any:
    """Give the event with what `work` answers in its response, or raise what may be told."""
    asked = _asked(event, source)
    if asked is None:
        return event
    try:
        response = work(asked)
    except Exception as error:  # noqa: BLE001  # the table has an answer to each
        answer = _answer(error)
        described = _described(error)
        with runtime.invocation(context, trigger=source) as log:
            say = log.info if isinstance(error, DomainError) else log.error
            say("refused", **described)
        runtime.emit({"Refusals": 1}, Trigger=source, Error=described["error"])
    else:
        return {**event, "response": {**_mapping(event.get("response")), **response}}
    # Here, where the error and what it says are gone.
    raise SignInError(answer)


def _answer(error: Exception) -> str:
    return next(text for kind, text in ANSWERS if isinstance(error, kind))


def _described(error: Exception) -> dict[str, str]:
    """Say in a log what went wrong: a port's words are free of personal data, others may not be."""
    described = {"error": type(error).__name__}
    if isinstance(error, PortError):
        return described | {"said": str(error)}
    if isinstance(error, Invalid):
        return described | {"field": error.field}
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None or isinstance(error, DomainError | TooLateError):
        return described
    code = trace.tb_frame.f_code
    return described | {"at": f"{os.path.basename(code.co_filename)}:{trace.tb_lineno}"}  # noqa: PTH119


# --- the triggers ---------------------------------------------------------------------------------


def pre_sign_up(event: Any, context: Any) -> Any:
    """Confirm who signs up by themselves: the code that is mailed then proves the address.

    Nothing is recorded: Cognito asks before it knows whether there is such a user already, and the
    first sign-in records the sign-up with its address.
    """

    def work(asked: Asked) -> Mapping[str, Any]:
        return {"autoConfirmUser": True, "autoVerifyEmail": asked.attribute("email") is not None}

    return _handle(event, context, "PreSignUp_SignUp", work)


def define_auth_challenge(event: Any, context: Any) -> Any:
    """Ask for a code, let in, or give up: from the answers that Cognito kept, and nothing else."""

    def work(asked: Asked) -> Mapping[str, Any]:
        answered = [
            Answered(
                is_code=entry.get("challengeName") == _CUSTOM,
                correct=entry.get("challengeResult") is True,
            )
            for entry in asked.session
        ]
        attempts = _reading(lambda: read_settings(os.environ)).limits.attempts
        step = next_step(answered, attempts=attempts)
        asks = {"challengeName": _CUSTOM} if step == "ask" else {}
        return {
            "issueTokens": step == "admit",
            "failAuthentication": step == "refuse",
            **asks,
        }

    return _handle(event, context, "DefineAuthChallenge_Authentication", work)


def create_auth_challenge(event: Any, context: Any) -> Any:
    """Start a sign-in and mail its code, or go on with the one that a wrong answer left open."""

    def work(asked: Asked) -> Mapping[str, Any]:
        services = _services()
        deadline = Deadline(budget(context, most=WITHIN))
        asked_before = asked.session
        if asked_before:
            named = _text(asked_before[-1].get("challengeMetadata")) or ""
            started = deadline.run(lambda: services.sign_in.resume(named))
        else:
            started = _start(services, deadline, asked, context)
        return {
            "publicChallengeParameters": {"email": masked(asked.attribute("email") or asked.name)},
            "privateChallengeParameters": {"challenge": started.challenge},
            "challengeMetadata": started.challenge,
        }

    return _handle(event, context, "CreateAuthChallenge_Authentication", work)


def _start(services: Services, deadline: Deadline, asked: Asked, context: Any) -> Started:
    """Start a sign-in; whether its mail is done in time or not, the challenge is what counts."""
    began = time.monotonic()
    known: list[Started] = []

    def issued(started: Started) -> None:
        deadline.check()
        known.append(started)

    def start() -> Started:
        return services.sign_in.start(
            _command(services, asked, context),
            client=asked.client,
            email=asked.address,
            user=asked.user,
            locale=asked.attribute("locale"),
            verified=asked.is_verified,
            issued=issued,
        )

    try:
        started = deadline.run(start)
        result: str | None = None if started.mail is None else started.mail.result
    except TooLateError:
        if not known:
            raise
        # The mail is still under way; what becomes of it is recorded when it is known.
        started = known[0]
        result = None if started.notification is None else "too_late"
    took = (time.monotonic() - began) * 1000
    with runtime.invocation(context, trigger="CreateAuthChallenge") as log:
        log.info(
            "challenge",
            challenge=started.challenge,
            notification_id=started.notification,
            fingerprint=services.addresses.fingerprint(services.addresses.normalise(asked.address)),
            client=asked.client,
            result=result,
            message_id=started.mail and started.mail.message_id,
            error=started.mail and started.mail.error,
            milliseconds=round(took),
        )
    runtime.emit({"CodeLatency": round(took, 1)})
    if result not in {None, "nothing_to_do"}:
        runtime.emit({"Sends": 1}, Kind="sign_in_code", Outcome=str(result))
    return started


def verify_auth_challenge_response(event: Any, context: Any) -> Any:
    """Say whether the answer to a challenge is right."""

    def work(asked: Asked) -> Mapping[str, Any]:
        kept = _mapping(asked.request.get("privateChallengeParameters"))
        challenge = _text(kept.get("challenge"))
        given = _text(asked.request.get("challengeAnswer"))
        if challenge is None or given is None:
            return {"answerCorrect": False}
        services = _services()
        deadline = Deadline(budget(context, most=WITHIN))
        command = _command(services, asked, context)
        try:
            answer = deadline.run(
                lambda: services.sign_in.answer(command, challenge_id=challenge, code=given)
            )
        except (Invalid, UnknownChallenge):
            return {"answerCorrect": False}
        with runtime.invocation(context, trigger="VerifyAuthChallengeResponse") as log:
            log.info(
                "answer",
                challenge=challenge,
                correct=answer.correct,
                attempts_left=answer.attempts_left,
            )
        outcome = "right" if answer.correct else "wrong"
        runtime.emit({"Answers": 1}, Outcome=outcome)
        return {"answerCorrect": answer.correct}

    return _handle(event, context, "VerifyAuthChallengeResponse_Authentication", work)


def post_authentication(event: Any, context: Any) -> Any:
    """Note when the user signed in; whatever goes wrong with that, they are in."""
    asked = _asked(event, "PostAuthentication_Authentication")
    if asked is None:
        return event
    try:
        # The deployment cannot name the pool to this function: the pool names the function.
        pool = _text(event.get("userPoolId"))
        services = runtime.services(
            keeps=False, defaults={} if pool is None else {"USER_POOL_ID": pool}
        )

        def note() -> None:
            if services.last_sign_ins is not None:
                services.last_sign_ins.note(asked.name, at=services.clock.now())

        Deadline(budget(context, most=NOTE_WITHIN)).run(note)
    except Exception as error:  # noqa: BLE001  # nothing of this may hold up the sign-in
        with runtime.invocation(context, trigger="PostAuthentication") as log:
            log.warning("last sign-in not noted", **_described(error))
    return event


# --- what they share ------------------------------------------------------------------------------


def _services() -> Services:
    return _reading(lambda: runtime.services(patience=PATIENCE))


def _reading(read: Callable[[], T]) -> T:
    """Read the settings; when one is wrong, what the one who signs in gave is not."""
    try:
        return read()
    except Invalid as error:
        raise Unusable(f"the setting {error.field} {error.why}") from None


def _command(services: Services, asked: Asked, context: Any) -> Any:
    """Say who acts; Cognito names no request, so Lambda's id is the request's.

    Cognito's second call of the same step is another invocation: what makes the two the same is in
    the history, not in the command's id.
    """
    request = getattr(context, "aws_request_id", None) or services.ids.uuid()
    actor = f"client:{asked.client}" if asked.user is None else f"user:{asked.user}"
    return runtime.command(context, command_id=request, actor=actor, request_id=request)


def masked(name: str) -> str:
    """Give an address as it may be shown: its first letter and its domain."""
    local, at, domain = name.strip().lower().rpartition("@")
    return f"{local[:1]}***@{domain}" if at else "***"


def _preload() -> None:
    """Load what needs the history while the container starts, and not while somebody waits."""
    if os.environ.get("_HANDLER", "").rpartition(".")[2] not in _KEEPING:
        return
    with suppress(Invalid):
        # A setting that is wrong is said when the trigger is called.
        preload(read_settings(os.environ))


_KEEPING: Final = frozenset({"create_auth_challenge", "verify_auth_challenge_response"})
_preload()
