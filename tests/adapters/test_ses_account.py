"""How SES is set up: each request to the letter, its answers, its errors, and one a second."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from botocore.stub import Stubber

from siutindei.adapters import aws
from siutindei.adapters.ses_account import SesAccountSettings
from siutindei.adapters.ses_requests import PACE, READ_TIMEOUT, SesRequests
from siutindei.adapters.ses_suppressions import SesAccountSuppressions
from siutindei.app.ports import (
    PortError,
    SesAccount,
    SesConfigurationSet,
    SesDestination,
    SesIdentity,
    SesSuppression,
    Unavailable,
    Unusable,
)
from tests.support import START, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOMAIN: Final = "example.com"
ADDRESS: Final = "ann@example.com"
NAME: Final = "siutindei-codes"
TOPIC: Final = "arn:aws:sns:ap-southeast-1:123456789012:ses-events"
DESTINATION: Final = SesDestination(
    name="siutindei-feedback", enabled=True, events=frozenset({"SEND", "BOUNCE"}), topic=TOPIC
)


@attrs.frozen
class Asked:
    """SES's settings and its suppression list, what answers them, and the clock."""

    ses: SesAccountSettings
    suppressions: SesAccountSuppressions
    stub: Stubber
    clock: VirtualClock


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[Asked]:
    """Give them; at the end everything that was prepared was asked."""
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    client = aws.client("sesv2", region="ap-southeast-1", read_timeout=READ_TIMEOUT)
    clock = VirtualClock()
    with Stubber(client) as stub:
        requests = SesRequests(client, clock=clock)
        yield Asked(SesAccountSettings(requests), SesAccountSuppressions(requests), stub, clock)
        stub.assert_no_pending_responses()


# --- looking --------------------------------------------------------------------------------------


def test_the_account(asked: Asked) -> None:
    """Quota, standing and suppression are read as SES has them."""
    asked.stub.add_response(
        "get_account",
        {
            "SendQuota": {"Max24HourSend": 1000.0, "MaxSendRate": 14.0, "SentLast24Hours": 12.0},
            "SendingEnabled": True,
            "ProductionAccessEnabled": True,
            "EnforcementStatus": "HEALTHY",
            "SuppressionAttributes": {"SuppressedReasons": ["BOUNCE", "COMPLAINT"]},
        },
        {},
    )

    assert asked.ses.account() == SesAccount(
        sending_enabled=True,
        production=True,
        enforcement="HEALTHY",
        quota=1000,
        sent=12,
        suppressed=frozenset({"BOUNCE", "COMPLAINT"}),
    )


def test_what_ses_does_not_say_is_not_there(asked: Asked) -> None:
    """An answer that lacks something is no proof of it."""
    asked.stub.add_response("get_account", {})
    asked.stub.add_response("get_email_identity", {})
    asked.stub.add_response("get_configuration_set", {})
    asked.stub.add_response("get_configuration_set_event_destinations", {})

    account = asked.ses.account()
    assert (account.sending_enabled, account.production, account.quota) == (False, False, 0)
    assert account.enforcement == "unknown"
    assert account.suppressed == frozenset()
    assert asked.ses.identity(DOMAIN) == SesIdentity(
        verified=False, dkim="NOT_STARTED", dkim_signs=False
    )
    assert asked.ses.configuration_set(NAME) == SesConfigurationSet(
        sending_enabled=True, max_delivery=None, suppressed=None, destinations=()
    )


def test_a_domain(asked: Asked) -> None:
    """Its records are those that DNS has to have, in the zone that SES names."""
    asked.stub.add_response(
        "get_email_identity",
        {
            "VerifiedForSendingStatus": True,
            "DkimAttributes": {
                "SigningEnabled": True,
                "Status": "SUCCESS",
                "Tokens": ["abc", "def"],
                "SigningHostedZone": "dkim.ap-southeast-1.amazonses.com",
            },
            "MailFromAttributes": {
                "MailFromDomain": "bounce.example.com",
                "MailFromDomainStatus": "PENDING",
                "BehaviorOnMxFailure": "USE_DEFAULT_VALUE",
            },
        },
        {"EmailIdentity": DOMAIN},
    )

    assert asked.ses.identity(DOMAIN) == SesIdentity(
        verified=True,
        dkim="SUCCESS",
        dkim_signs=True,
        dkim_records=(
            ("abc._domainkey.example.com", "abc.dkim.ap-southeast-1.amazonses.com"),
            ("def._domainkey.example.com", "def.dkim.ap-southeast-1.amazonses.com"),
        ),
        mail_from="bounce.example.com",
        mail_from_status="PENDING",
    )


def test_a_configuration_set(asked: Asked) -> None:
    """A set is read with where it publishes; what is no SNS topic has none."""
    asked.stub.add_response(
        "get_configuration_set",
        {
            "ConfigurationSetName": NAME,
            "DeliveryOptions": {"MaxDeliverySeconds": 300},
            "SendingOptions": {"SendingEnabled": False},
            "SuppressionOptions": {"SuppressedReasons": []},
        },
        {"ConfigurationSetName": NAME},
    )
    asked.stub.add_response(
        "get_configuration_set_event_destinations",
        {
            "EventDestinations": [
                {
                    "Name": "siutindei-feedback",
                    "Enabled": True,
                    "MatchingEventTypes": ["SEND", "BOUNCE"],
                    "SnsDestination": {"TopicArn": TOPIC},
                },
                {"Name": "bus", "MatchingEventTypes": ["SEND"]},
            ]
        },
        {"ConfigurationSetName": NAME},
    )

    assert asked.ses.configuration_set(NAME) == SesConfigurationSet(
        sending_enabled=False,
        max_delivery=300,
        suppressed=frozenset(),
        destinations=(
            DESTINATION,
            SesDestination(name="bus", enabled=False, events=frozenset({"SEND"}), topic=None),
        ),
    )


def test_what_is_not_there(asked: Asked) -> None:
    """What SES does not know is None, and is no error."""
    for operation in ("get_email_identity", "get_configuration_set"):
        asked.stub.add_client_error(operation, "NotFoundException", http_status_code=404)

    assert asked.ses.identity(DOMAIN) is None
    assert asked.ses.configuration_set(NAME) is None


# --- setting up -----------------------------------------------------------------------------------


def test_the_suppression_list_is_switched_on(asked: Asked) -> None:
    """The reasons are those that were given."""
    asked.stub.add_response(
        "put_account_suppression_attributes", {}, {"SuppressedReasons": ["BOUNCE", "COMPLAINT"]}
    )

    asked.ses.suppress({"COMPLAINT", "BOUNCE"})


def test_a_domain_is_made_known(asked: Asked) -> None:
    """Its records are in the answer; SES signs with keys of its own."""
    asked.stub.add_response(
        "create_email_identity",
        {"DkimAttributes": {"Status": "PENDING", "SigningEnabled": True, "Tokens": ["abc"]}},
        {"EmailIdentity": DOMAIN},
    )
    asked.stub.add_response(
        "put_email_identity_mail_from_attributes",
        {},
        {
            "EmailIdentity": DOMAIN,
            "MailFromDomain": "bounce.example.com",
            "BehaviorOnMxFailure": "USE_DEFAULT_VALUE",
        },
    )

    made = asked.ses.create_identity(DOMAIN)
    asked.ses.set_mail_from(DOMAIN, "bounce.example.com")

    assert made.dkim_records == (("abc._domainkey.example.com", "abc.dkim.amazonses.com"),)


def test_a_configuration_set_is_made(asked: Asked) -> None:
    """With a delivery limit, or without one."""
    asked.stub.add_response(
        "create_configuration_set",
        {},
        {"ConfigurationSetName": NAME, "DeliveryOptions": {"MaxDeliverySeconds": 300}},
    )
    asked.stub.add_response("create_configuration_set", {}, {"ConfigurationSetName": "other"})

    asked.ses.create_configuration_set(NAME, max_delivery=300)
    asked.ses.create_configuration_set("other", max_delivery=None)


def test_a_limit_leaves_the_other_options(asked: Asked) -> None:
    """SES takes away what is not named: the TLS policy that somebody set stays."""
    asked.stub.add_response(
        "get_configuration_set",
        {"DeliveryOptions": {"TlsPolicy": "REQUIRE", "MaxDeliverySeconds": 900}},
        {"ConfigurationSetName": NAME},
    )
    asked.stub.add_response(
        "put_configuration_set_delivery_options",
        {},
        {"ConfigurationSetName": NAME, "TlsPolicy": "REQUIRE", "MaxDeliverySeconds": 300},
    )

    asked.ses.limit_delivery(NAME, max_delivery=300)


@pytest.mark.parametrize(("is_new", "verb"), [(True, "create"), (False, "update")])
def test_where_feedback_goes(asked: Asked, is_new: bool, verb: str) -> None:
    """A destination is made or replaced, with the same content."""
    asked.stub.add_response(
        f"{verb}_configuration_set_event_destination",
        {},
        {
            "ConfigurationSetName": NAME,
            "EventDestinationName": "siutindei-feedback",
            "EventDestination": {
                "Enabled": True,
                "MatchingEventTypes": ["BOUNCE", "SEND"],
                "SnsDestination": {"TopicArn": TOPIC},
            },
        },
    )

    asked.ses.publish(NAME, DESTINATION, is_new=is_new)


# --- the suppression list -------------------------------------------------------------------------


def test_every_suppressed_address(asked: Asked) -> None:
    """The list is read page by page, one page a second, and only as far as it is wanted."""
    for number, page in enumerate([{"NextToken": "more"}, {}]):
        asked.stub.add_response(
            "list_suppressed_destinations",
            {
                "SuppressedDestinationSummaries": [
                    {
                        "EmailAddress": f"{name}{number}@example.com",
                        "Reason": "BOUNCE",
                        "LastUpdateTime": START,
                    }
                    for name in ("ann", "bob")
                ]
            }
            | page,
            {"PageSize": 1000} | ({"NextToken": "more"} if number else {}),
        )
    found = asked.suppressions.list()

    assert next(found) == SesSuppression(address="ann0@example.com", reason="BOUNCE", since=START)
    assert asked.clock.now() == START
    assert [entry.address for entry in found] == [
        *("bob0@example.com", "ann1@example.com", "bob1@example.com")
    ]
    assert START + PACE == asked.clock.now()
    assert "example.com" not in repr(SesSuppression(address=ADDRESS, reason="BOUNCE", since=START))


def test_nobody_is_suppressed(asked: Asked) -> None:
    """An empty list is one."""
    asked.stub.add_response("list_suppressed_destinations", {}, {"PageSize": 1000})

    assert list(asked.suppressions.list()) == []


def test_one_suppressed_address(asked: Asked) -> None:
    """Why and since when an address is on the list, and by which mail; None when it is not."""
    asked.stub.add_response(
        "get_suppressed_destination",
        {
            "SuppressedDestination": {
                "EmailAddress": ADDRESS,
                "Reason": "COMPLAINT",
                "LastUpdateTime": START,
                "Attributes": {"MessageId": "0100-example", "FeedbackId": "f"},
            }
        },
        {"EmailAddress": ADDRESS},
    )
    asked.stub.add_client_error("get_suppressed_destination", "NotFoundException")

    assert asked.suppressions.get(ADDRESS) == SesSuppression(
        address=ADDRESS, reason="COMPLAINT", since=START, message_id="0100-example"
    )
    assert asked.suppressions.get(ADDRESS) is None


def test_an_address_is_put_on_the_list_and_taken_from_it(asked: Asked) -> None:
    """Taking one away that is not there is no error: it is what was asked for."""
    named = {"EmailAddress": ADDRESS}
    asked.stub.add_response("put_suppressed_destination", {}, named | {"Reason": "BOUNCE"})
    asked.stub.add_response("delete_suppressed_destination", {}, named)
    asked.stub.add_client_error("delete_suppressed_destination", "NotFoundException")

    asked.suppressions.put(ADDRESS, "BOUNCE")
    asked.suppressions.delete(ADDRESS)
    asked.suppressions.delete(ADDRESS)

    assert START + 2 * PACE == asked.clock.now()


@pytest.mark.parametrize("name", ["get", "put", "delete", "list"])
def test_an_error_of_the_list_names_nobody(asked: Asked, name: str) -> None:
    """What SES says of an address is not repeated; in the sandbox nobody can be put there."""
    operation = {"list": "list_suppressed_destinations"}.get(name, f"{name}_suppressed_destination")
    asked.stub.add_client_error(operation, "BadRequestException", f"not allowed: {ADDRESS}")
    calls: dict[str, Callable[[], object]] = {
        "list": lambda: list(asked.suppressions.list()),
        "get": lambda: asked.suppressions.get(ADDRESS),
        "put": lambda: asked.suppressions.put(ADDRESS, "BOUNCE"),
        "delete": lambda: asked.suppressions.delete(ADDRESS),
    }
    with pytest.raises(Unusable) as raised:
        calls[name]()

    assert ADDRESS not in str(raised.value)


# --- errors ---------------------------------------------------------------------------------------

CALLS: Final[dict[str, Callable[[SesAccountSettings], object]]] = {
    "get_account": lambda ses: ses.account(),
    "get_email_identity": lambda ses: ses.identity(DOMAIN),
    "get_configuration_set": lambda ses: ses.configuration_set(NAME),
    "put_account_suppression_attributes": lambda ses: ses.suppress(["BOUNCE"]),
    "create_email_identity": lambda ses: ses.create_identity(DOMAIN),
    "create_configuration_set": lambda ses: ses.create_configuration_set(NAME, max_delivery=300),
    "put_email_identity_mail_from_attributes": lambda ses: ses.set_mail_from(DOMAIN, "b.example"),
    "create_configuration_set_event_destination": lambda ses: ses.publish(
        NAME, DESTINATION, is_new=True
    ),
}


@pytest.mark.parametrize("operation", CALLS)
@pytest.mark.parametrize(
    ("code", "status", "expected"),
    [
        ("TooManyRequestsException", 429, Unavailable),
        ("InternalServiceErrorException", 500, Unavailable),
        ("AlreadyExistsException", 400, Unavailable),
        ("ConcurrentModificationException", 500, Unavailable),
        ("AccessDeniedException", 403, Unusable),
        ("UnrecognizedClientException", 403, Unusable),
        ("BadRequestException", 400, Unusable),
        ("LimitExceededException", 400, Unusable),
    ],
)
def test_an_error_means(
    asked: Asked, operation: str, code: str, status: int, expected: type[PortError]
) -> None:
    """Each error is for the moment or for good; it names what was asked, without SES's words."""
    asked.stub.add_client_error(
        operation, code, f"not for ann@example.com {TOPIC}", http_status_code=status
    )
    with pytest.raises(PortError) as raised:
        CALLS[operation](asked.ses)

    said = str(raised.value)
    assert expected is type(raised.value)
    assert operation.replace("_", "") in said.partition(":")[0].lower()
    assert code in said
    assert "@" not in said
    assert "123456789012" not in said


def test_ses_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that cannot be reached is for the moment; asking again does no harm."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "nothing")
    client = aws.client("sesv2", region="ap-southeast-1", read_timeout=1)

    for call in (CALLS["get_account"], CALLS["get_email_identity"]):
        settings = SesAccountSettings(SesRequests(client, clock=VirtualClock()))
        with pytest.raises(Unavailable, match="try again"):
            call(settings)


# --- one a second ---------------------------------------------------------------------------------


def test_one_request_a_second(asked: Asked) -> None:
    """The first goes at once, each further one waits for its turn, after an error too."""
    for _ in range(2):
        asked.stub.add_response("get_account", {})
    asked.stub.add_client_error("get_account", "TooManyRequestsException", http_status_code=429)
    asked.stub.add_response("get_account", {})
    times = []
    for number in range(4):
        if number == 2:
            with pytest.raises(Unavailable):
                asked.ses.account()
        else:
            asked.ses.account()
        times.append(asked.clock.now() - START)

    assert timedelta(seconds=1) < PACE
    assert times == [PACE * 0, PACE, PACE * 2, PACE * 3]


def test_who_waited_long_enough_waits_no_more(asked: Asked) -> None:
    """After a pause the next request goes at once, and a clock that was put back delays nothing."""
    for _ in range(3):
        asked.stub.add_response("get_account", {})
    asked.ses.account()
    asked.clock.advance(seconds=5)
    asked.ses.account()

    assert asked.clock.now() - START == timedelta(seconds=5)
    asked.clock.advance(days=-1)
    before = asked.clock.now()
    asked.ses.account()
    assert asked.clock.now() - before == PACE


def test_nothing_secret_is_shown(asked: Asked) -> None:
    """Its repr is its name."""
    shown: Any = repr(asked.ses)

    assert "nothing" not in shown
    assert "AKIAEXAMPLE" not in shown
