"""What the platform's clients do: they sign up and in, and call the API."""

from __future__ import annotations

import json
import re
import urllib.request
from typing import TYPE_CHECKING, Any, Final
from urllib.error import HTTPError

if TYPE_CHECKING:
    from tests.e2e.stack import Emulator, Mail

#: Two groups of three digits, as a mail shows them, or all six.
CODE: Final = re.compile(r"\b(\d{3}) ?(\d{3})\b")


def sign_up(aws: Emulator, address: str) -> Any:
    """Sign up as the clients do: with a password that nobody ever uses."""
    return aws.client("cognito-idp").sign_up(
        ClientId=aws.outputs["UserPoolClientId"],
        Username=address,
        Password="Never-used-0123456789",
        UserAttributes=[{"Name": "email", "Value": address}, {"Name": "locale", "Value": "en"}],
    )


def start(aws: Emulator, address: str) -> Any:
    """Start to sign in."""
    return aws.client("cognito-idp").initiate_auth(
        ClientId=aws.outputs["UserPoolClientId"],
        AuthFlow="CUSTOM_AUTH",
        AuthParameters={"USERNAME": address},
    )


def answer(aws: Emulator, address: str, session: str, code: str) -> Any:
    """Answer the challenge."""
    return aws.client("cognito-idp").respond_to_auth_challenge(
        ClientId=aws.outputs["UserPoolClientId"],
        ChallengeName="CUSTOM_CHALLENGE",
        Session=session,
        ChallengeResponses={"USERNAME": address, "ANSWER": code},
    )


def mails_to(aws: Emulator, address: str) -> list[Mail]:
    """Give the mails to one address."""
    return [mail for mail in aws.mails() if mail.to == (address,)]


def code_in(mail: Mail) -> str:
    """Read the code, as a person does."""
    found = CODE.search(mail.text)
    assert found, mail.text
    return found[1] + found[2]


def sign_in(aws: Emulator, address: str, *, is_new: bool = True) -> str:
    """Sign in, and up before that; give the token that the API takes."""
    if is_new:
        sign_up(aws, address)
    started = start(aws, address)
    code = code_in(mails_to(aws, address)[-1])
    token: str = answer(aws, address, started["Session"], code)["AuthenticationResult"]["IdToken"]
    return token


def call(
    aws: Emulator, method: str, path: str, *, token: str | None = None, body: object = None
) -> tuple[int, Any]:
    """Call the API; give status and body."""
    # https://API.execute-api.REGION.amazonaws.com/STAGE; the emulator has a path for it.
    api = aws.outputs["ApiUrl"].removeprefix("https://").partition(".")[0]
    request = urllib.request.Request(  # noqa: S310
        f"{aws.url}/restapis/{api}/v1/_user_request_{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Content-Type": "application/json"}
        | ({} if token is None else {"Authorization": token}),
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as done:  # noqa: S310
            return done.status, json.load(done)
    except HTTPError as error:
        return error.code, json.loads(error.read() or b"null")
