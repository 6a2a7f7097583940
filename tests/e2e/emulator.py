"""The emulator of AWS, with what it lacks added: `python -m tests.e2e.emulator`.

Each patch says which gap it fills.
"""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from email.utils import parseaddr
from http import HTTPStatus
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ministack import app
from ministack.core import responses
from ministack.services import apigateway_v1, eventbridge, ses, ses_v2, sns, waf
from ministack.services.cloudformation import provisioners

from infrastructure.template import REGION

if TYPE_CHECKING:
    from collections.abc import Callable


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


def _when_sent(done: Callable[[dict[str, Any], dict[str, Any]], None]) -> None:
    """Do something with what SendEmail was asked and the record of the mail, before it answers."""
    handle = ses_v2.handle_request

    async def handled(method: str, path: str, headers: Any, body: bytes, query: Any) -> Any:
        status, told, answer = await handle(method, path, headers, body, query)
        sends = method == "POST" and path.rstrip("/").endswith("/outbound-emails")
        if sends and status == HTTPStatus.OK:
            record = ses._sent_emails_list()[-1]
            done(json.loads(body), record)
            answer = json.dumps({"MessageId": record["MessageId"]}).encode()
        return status, told, answer

    ses_v2.handle_request = handled


def message_ids() -> None:
    """SES's ids of mails are words; the emulator's look like addresses."""

    def name(_asked: dict[str, Any], record: dict[str, Any]) -> None:
        record["MessageId"] = record["MessageId"].partition("@")[0]

    _when_sent(name)


def configuration_sets() -> None:
    """The list of mails does not say under which configuration set each was sent."""
    list_mails = app._handle_ses_messages_request
    names: dict[str, str | None] = {}

    def remember(asked: dict[str, Any], record: dict[str, Any]) -> None:
        names[record["MessageId"]] = asked.get("ConfigurationSetName")

    async def listed(*given: Any) -> Any:
        answer = await list_mails(*given)
        if answer is None:
            return None
        status, headers, body = answer
        found = json.loads(body)
        for mail in chain.from_iterable(found["messages"].values()):
            mail["ConfigurationSetName"] = names.get(mail["MessageId"])
        return status, headers, json.dumps(found).encode()

    _when_sent(remember)
    app._handle_ses_messages_request = listed


def event_publishing() -> None:
    """Configuration sets have event destinations, and nothing is ever published to them.

    What is published comes before SendEmail answers, which is as early as it can. An address of
    SES's mailbox simulator says what becomes of its mail; every other mail is delivered.
    """

    def publish(asked: dict[str, Any], record: dict[str, Any]) -> None:
        name = asked.get("ConfigurationSetName", "")
        configuration_set = ses_v2._config_sets.get(name) or {}
        (recipient,) = asked["Destination"]["ToAddresses"]
        local, _, domain = recipient.partition("@")
        outcomes: Any = (("Delivery", None),)
        if domain == ses._SIMULATOR_DOMAIN:
            outcomes = ses._SIMULATOR_OUTCOMES.get(local, outcomes)
        at = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        tags = {tag["Name"]: [tag["Value"]] for tag in asked.get("EmailTags", ())}
        mail = {
            "timestamp": at,
            "messageId": record["MessageId"],
            "source": asked["FromEmailAddress"],
            "destination": [recipient],
            "tags": {"ses:configuration-set": [name], **tags},
        }
        events = {"Send": {"send": {}}} | {
            kind: ses._notification_detail(kind, recipient, at, sub_type)
            for kind, sub_type in outcomes
        }
        for destination in (configuration_set.get("EventDestinations") or {}).values():
            for kind, detail in events.items():
                if destination["Enabled"] and kind.upper() in destination["MatchingEventTypes"]:
                    sns.publish_internal(
                        destination["SnsDestination"]["TopicArn"],
                        json.dumps({"eventType": kind, "mail": mail, **detail}),
                        "Amazon SES Email Event Notification",
                    )

    _when_sent(publish)


def rejections() -> None:
    """Nothing is wrong with any message, so a file names the address whose mails are rejected."""
    rejection = ses_v2._message_rejection
    file = Path(os.environ["REJECTED"])

    def rejected(sender: str, recipients: Any = ()) -> Any:
        if file.exists() and file.read_text(encoding="utf-8") in recipients:
            return "The message is rejected."
        return rejection(sender, recipients)

    ses_v2._message_rejection = rejected


def schedules() -> None:
    """The scheduler has no other clock, so a minute of a schedule takes a second here."""
    seconds_of = eventbridge._parse_rate_seconds

    def sooner(expression: str) -> float | None:
        seconds: int | None = seconds_of(expression)
        return None if seconds is None else seconds / 60

    eventbridge._parse_rate_seconds = sooner
    eventbridge._SCHEDULER_TICK_INTERVAL = 0.2


def main() -> None:
    """Fill the gaps, and serve until stopped."""
    web_acl_association()
    dkim_tokens()
    session_validity()
    groups()
    from_address()
    message_ids()
    configuration_sets()
    event_publishing()
    rejections()
    schedules()
    app.main()


if __name__ == "__main__":
    main()
