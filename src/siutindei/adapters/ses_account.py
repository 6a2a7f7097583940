"""How the account at SES is set up; SES takes one such request a second."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.adapters.ses_requests import SesRequests
from siutindei.app import ports

if TYPE_CHECKING:
    from collections.abc import Collection

_DKIM_ZONE: Final = "dkim.amazonses.com"


@attrs.frozen
class SesAccountSettings:
    """See `ports.SesSettings`."""

    requests: SesRequests

    def account(self) -> ports.SesAccount:
        said = self.requests.ask("get_account")
        quota = said.get("SendQuota", {})
        return ports.SesAccount(
            sending_enabled=said.get("SendingEnabled", False),
            production=said.get("ProductionAccessEnabled", False),
            enforcement=said.get("EnforcementStatus", "unknown"),
            quota=quota.get("Max24HourSend", 0.0),
            sent=quota.get("SentLast24Hours", 0.0),
            suppressed=_reasons(said.get("SuppressionAttributes", {})),
        )

    def identity(self, domain: str) -> ports.SesIdentity | None:
        said = self.requests.find("get_email_identity", EmailIdentity=domain)
        return None if said is None else _identity(domain, said)

    def configuration_set(self, name: str) -> ports.SesConfigurationSet | None:
        said = self.requests.find("get_configuration_set", ConfigurationSetName=name)
        if said is None:
            return None
        published = self.requests.ask(
            "get_configuration_set_event_destinations", ConfigurationSetName=name
        ).get("EventDestinations", [])
        own = said.get("SuppressionOptions", {})
        return ports.SesConfigurationSet(
            sending_enabled=said.get("SendingOptions", {}).get("SendingEnabled", True),
            max_delivery=said.get("DeliveryOptions", {}).get("MaxDeliverySeconds"),
            suppressed=_reasons(own) if "SuppressedReasons" in own else None,
            destinations=tuple(
                ports.SesDestination(
                    name=one["Name"],
                    enabled=one.get("Enabled", False),
                    events=frozenset(one["MatchingEventTypes"]),
                    topic=one.get("SnsDestination", {}).get("TopicArn"),
                )
                for one in published
            ),
        )

    def suppress(self, reasons: Collection[str]) -> None:
        self.requests.ask("put_account_suppression_attributes", SuppressedReasons=sorted(reasons))

    def create_identity(self, domain: str) -> ports.SesIdentity:
        return _identity(domain, self.requests.ask("create_email_identity", EmailIdentity=domain))

    def set_mail_from(self, domain: str, mail_from: str) -> None:
        self.requests.ask(
            "put_email_identity_mail_from_attributes",
            EmailIdentity=domain,
            MailFromDomain=mail_from,
            # A mail with SES's own domain is better than none while DNS is not there yet.
            BehaviorOnMxFailure="USE_DEFAULT_VALUE",
        )

    def create_configuration_set(self, name: str, *, max_delivery: int | None) -> None:
        options: dict[str, Any] = {}
        if max_delivery is not None:
            options["DeliveryOptions"] = {"MaxDeliverySeconds": max_delivery}
        self.requests.ask("create_configuration_set", ConfigurationSetName=name, **options)

    def limit_delivery(self, name: str, *, max_delivery: int) -> None:
        # What is not named is taken away: what is there is named again.
        there = self.requests.ask("get_configuration_set", ConfigurationSetName=name)
        options = there.get("DeliveryOptions", {}) | {"MaxDeliverySeconds": max_delivery}
        self.requests.ask(
            "put_configuration_set_delivery_options", ConfigurationSetName=name, **options
        )

    def publish(self, name: str, destination: ports.SesDestination, *, is_new: bool) -> None:
        verb = "create" if is_new else "update"
        self.requests.ask(
            f"{verb}_configuration_set_event_destination",
            ConfigurationSetName=name,
            EventDestinationName=destination.name,
            EventDestination={
                "Enabled": destination.enabled,
                "MatchingEventTypes": sorted(destination.events),
                "SnsDestination": {"TopicArn": destination.topic},
            },
        )


def _identity(domain: str, said: dict[str, Any]) -> ports.SesIdentity:
    dkim, mail_from = said.get("DkimAttributes", {}), said.get("MailFromAttributes", {})
    zone = dkim.get("SigningHostedZone") or _DKIM_ZONE
    return ports.SesIdentity(
        verified=said.get("VerifiedForSendingStatus", False),
        dkim=dkim.get("Status", "NOT_STARTED"),
        dkim_signs=dkim.get("SigningEnabled", False),
        dkim_records=tuple(
            (f"{token}._domainkey.{domain}", f"{token}.{zone}") for token in dkim.get("Tokens", [])
        ),
        mail_from=mail_from.get("MailFromDomain") or None,
        mail_from_status=mail_from.get("MailFromDomainStatus", ""),
    )


def _reasons(said: dict[str, Any]) -> frozenset[str]:
    return frozenset(said.get("SuppressedReasons", []))
