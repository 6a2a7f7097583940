"""The emulator of AWS, with what it lacks added: `python -m tests.e2e.emulator`.

Each patch says which gap it fills.
"""

from __future__ import annotations

import json
from email.utils import parseaddr
from typing import Any

from ministack import app
from ministack.core import responses
from ministack.services import apigateway_v1, waf
from ministack.services.cloudformation import provisioners

from infrastructure.template import REGION


def web_acl_association() -> None:
    """CloudFormation does not know AWS::WAFv2::WebACLAssociation, though the service has it."""

    def create(_logical: str, given: dict[str, str], _stack: str) -> tuple[str, dict[str, str]]:
        resource = given["ResourceArn"]
        waf._associations[resource] = given["WebACLArn"]
        return f"{given['WebACLArn']}|{resource}", {}

    def delete(_physical: str, given: dict[str, str]) -> None:
        waf._associations.pop(given["ResourceArn"], None)

    handlers: Any = provisioners._RESOURCE_HANDLERS
    handlers["AWS::WAFv2::WebACLAssociation"] = {"create": create, "delete": delete}


def dkim_tokens() -> None:
    """CloudFormation gives an AWS::SES::EmailIdentity no attributes for its DKIM records."""
    handler: Any = provisioners._RESOURCE_HANDLERS["AWS::SES::EmailIdentity"]
    made = handler["create"]

    def create(logical: str, given: dict[str, Any], stack: str) -> tuple[str, dict[str, str]]:
        identity, attributes = made(logical, given, stack)
        for number in (1, 2, 3):
            token = f"token{number}"
            attributes[f"DkimDNSTokenName{number}"] = f"{token}._domainkey.{identity}"
            attributes[f"DkimDNSTokenValue{number}"] = f"{token}.dkim.amazonses.com"
        return identity, attributes

    handler["create"] = create


def session_validity() -> None:
    """CloudFormation takes a number that a parameter gives as text for text."""
    handler: Any = provisioners._RESOURCE_HANDLERS["AWS::Cognito::UserPoolClient"]
    made = handler["create"]

    def create(logical: str, given: dict[str, Any], stack: str) -> Any:
        return made(
            logical, {**given, "AuthSessionValidity": int(given["AuthSessionValidity"])}, stack
        )

    handler["create"] = create


def groups() -> None:
    """A REST API joins a token's groups with commas; the emulator does as an HTTP API: `[a b]`."""
    stringified = apigateway_v1._stringify_claims

    def joined(claims: dict[str, Any] | None) -> dict[str, str]:
        text: dict[str, str] = stringified(claims)
        given = (claims or {}).get("cognito:groups")
        if isinstance(given, list):
            text["cognito:groups"] = ",".join(given)
        return text

    apigateway_v1._stringify_claims = joined


def from_address() -> None:
    """IAM is enforced without `ses:FromAddress`, and without the identity that is sent from."""
    enforce = app._enforce_data_plane
    sender = ""

    def enforced(service: str, action: str, *given: Any, **named: Any) -> Any:
        if service == "sesv2":
            named["service_context"] = {"ses:FromAddress": sender}
            if action == "ses:SendEmail":
                account = responses.get_account_id()
                named["resource_arn"] = f"arn:aws:ses:{REGION}:{account}:identity/{sender}"
        return enforce(service, action, *given, **named)

    ses = app._enforce_ses_v2

    def ses_enforced(
        method: str, path: str, headers: Any, body: bytes, *given: Any, **named: Any
    ) -> Any:
        nonlocal sender
        asked = json.loads(body) if method == "POST" and body else {}
        sender = parseaddr(asked.get("FromEmailAddress", ""))[1]
        return ses(method, path, headers, body, *given, **named)

    app._enforce_data_plane = enforced
    app._enforce_ses_v2 = ses_enforced


def main() -> None:
    """Fill the gaps, and serve until stopped."""
    web_acl_association()
    dkim_tokens()
    session_validity()
    groups()
    from_address()
    app.main()


if __name__ == "__main__":
    main()
