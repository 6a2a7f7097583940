"""The list of addresses that the account at SES does not mail to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from siutindei.adapters.ses_requests import SesRequests
from siutindei.app import ports

if TYPE_CHECKING:
    from collections.abc import Iterator


@attrs.frozen
class SesAccountSuppressions:
    """See `ports.SesSuppressions`."""

    requests: SesRequests

    def list(self) -> Iterator[ports.SesSuppression]:
        page: dict[str, Any] = {}
        while True:
            said = self.requests.ask("list_suppressed_destinations", PageSize=1000, **page)
            for entry in said.get("SuppressedDestinationSummaries", []):
                yield _suppression(entry)
            token = said.get("NextToken")
            if not token:
                return
            page = {"NextToken": token}

    def get(self, address: str) -> ports.SesSuppression | None:
        said = self.requests.find("get_suppressed_destination", EmailAddress=address)
        return None if said is None else _suppression(said["SuppressedDestination"])

    def put(self, address: str, reason: ports.SuppressionReason) -> None:
        self.requests.ask("put_suppressed_destination", EmailAddress=address, Reason=reason)

    def delete(self, address: str) -> None:
        # One that is not there is what was asked for.
        self.requests.find("delete_suppressed_destination", EmailAddress=address)


def _suppression(said: dict[str, Any]) -> ports.SesSuppression:
    return ports.SesSuppression(
        address=said["EmailAddress"],
        reason=said["Reason"],
        since=said["LastUpdateTime"],
        message_id=said.get("Attributes", {}).get("MessageId"),
    )
