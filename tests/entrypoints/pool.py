"""A user pool as the triggers see it: the events that AWS documents, and the order they come in.

https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-identity-pools-working-with-aws-lambda-triggers.html
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import attrs

CLIENT: Final = "1example23456789"
SUB: Final = "f3a1c2d4-5b6e-4f70-8a91-0b1c2d3e4f50"
ANN: Final = "ann@example.com"
#: What Cognito puts into `response` for each trigger to fill in.
RESPONSES: Final[dict[str, dict[str, Any]]] = {
    "PreSignUp_SignUp": {
        "autoConfirmUser": False,
        "autoVerifyEmail": False,
        "autoVerifyPhone": False,
    },
    "DefineAuthChallenge_Authentication": {
        "challengeName": None,
        "issueTokens": None,
        "failAuthentication": None,
    },
    "CreateAuthChallenge_Authentication": {
        "publicChallengeParameters": None,
        "privateChallengeParameters": None,
        "challengeMetadata": None,
    },
    "VerifyAuthChallengeResponse_Authentication": {"answerCorrect": None},
    "PostAuthentication_Authentication": {},
}
HANDLERS: Final = {
    "PreSignUp_SignUp": "pre_sign_up",
    "DefineAuthChallenge_Authentication": "define_auth_challenge",
    "CreateAuthChallenge_Authentication": "create_auth_challenge",
    "VerifyAuthChallengeResponse_Authentication": "verify_auth_challenge_response",
    "PostAuthentication_Authentication": "post_authentication",
}


def user(email: str | None = ANN, *, verified: str = "true", **more: str) -> dict[str, Any]:
    """Give the attributes of a user of the pool."""
    return {
        "sub": SUB,
        "cognito:user_status": "CONFIRMED",
        "email_verified": verified,
        "email": email,
        **more,
    }


def event(
    source: str,
    attributes: dict[str, Any] | None = None,
    *,
    name: str = SUB,
    client: str = CLIENT,
    **request: Any,
) -> dict[str, Any]:
    """Give the event of a trigger."""
    return {
        "version": "1",
        "region": "ap-southeast-1",
        "userPoolId": "ap-southeast-1_Example1",
        "userName": name,
        "callerContext": {"awsSdkVersion": "aws-sdk-unknown-unknown", "clientId": client},
        "triggerSource": source,
        "request": {
            "userAttributes": user() if attributes is None else attributes,
            "clientMetadata": None,
            **request,
        },
        "response": dict(RESPONSES.get(source, {})),
    }


def sign_up(attributes: dict[str, Any] | None = None) -> dict[str, Any]:
    """Give the event of a sign-up: the user has no id yet."""
    given = {"email": ANN, "locale": "en"} if attributes is None else attributes
    return event("PreSignUp_SignUp", given, validationData=None)


def define(session: list[Any], **more: Any) -> dict[str, Any]:
    """Give the event that asks what comes next."""
    return event("DefineAuthChallenge_Authentication", session=session, **more)


def create(session: list[Any] | None = None, **more: Any) -> dict[str, Any]:
    """Give the event that asks for a challenge."""
    return event(
        "CreateAuthChallenge_Authentication",
        challengeName="CUSTOM_CHALLENGE",
        session=session or [],
        **more,
    )


def verify(challenge: object, answer: object, **more: Any) -> dict[str, Any]:
    """Give the event that asks whether an answer is right."""
    return event(
        "VerifyAuthChallengeResponse_Authentication",
        privateChallengeParameters={"challenge": challenge},
        challengeAnswer=answer,
        **more,
    )


def authenticated(**more: Any) -> dict[str, Any]:
    """Give the event that says that somebody is in."""
    return event("PostAuthentication_Authentication", newDeviceUsed=False, **more)


def asked(metadata: object, *, result: object = False) -> dict[str, Any]:
    """Give an entry of the session: a challenge and how it was answered."""
    return {
        "challengeName": "CUSTOM_CHALLENGE",
        "challengeResult": result,
        "challengeMetadata": metadata,
    }


SRP_A: Final = {"challengeName": "SRP_A", "challengeResult": True, "challengeMetadata": None}


@attrs.define
class Session:
    """One sign-in as Cognito runs it.

    Attributes:
        invoke: calls a trigger by its source.
        attributes: the user's; None for one whom the pool does not know.
        name: what was typed as the user's name.
        entries: the session.
        kept: what the pool keeps for the verification.
        shown: what the app is shown.
    """

    invoke: Callable[[dict[str, Any]], Any]
    attributes: dict[str, Any] | None = attrs.field(factory=user)
    name: str = SUB
    entries: list[dict[str, Any]] = attrs.field(factory=list)
    kept: dict[str, Any] = attrs.field(factory=dict)
    shown: dict[str, Any] = attrs.field(factory=dict)
    metadata: str = ""

    def _ask(self, build: Callable[..., dict[str, Any]], *positional: Any, **more: Any) -> Any:
        if self.attributes is None:
            more |= {"attributes": {}, "userNotFound": True}
        else:
            more |= {"attributes": self.attributes}
        answer = self.invoke(build(*positional, name=self.name, **more))
        response: Any = answer["response"]
        assert all(value is not None for value in response.values())
        return response

    def go_on(self) -> str:
        """Ask what comes next, and for the challenge if one does: `ask`, `admit` or `refuse`."""
        given = self.invoke(define(self.entries, name=self.name))["response"]
        if given["failAuthentication"]:
            return "refuse"
        if given["issueTokens"]:
            return "admit"
        assert given["challengeName"] == "CUSTOM_CHALLENGE"
        created = self._ask(create, self.entries)
        assert created["privateChallengeParameters"]
        self.shown = created["publicChallengeParameters"]
        self.kept = created["privateChallengeParameters"]
        self.metadata = created["challengeMetadata"]
        return "ask"

    def answer(self, code: str) -> str:
        """Answer, and go on."""
        response = self._ask(verify, "", code) if not self.kept else self._verify(code)
        assert isinstance(response["answerCorrect"], bool)
        self.entries.append(asked(self.metadata, result=response["answerCorrect"]))
        return self.go_on()

    def _verify(self, code: str) -> Any:
        return self._ask(verify, self.kept["challenge"], code)
