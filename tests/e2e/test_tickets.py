"""Tickets through API Gateway, with the token of somebody who signed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e import stack
from tests.e2e.clients import call, sign_in, sign_up

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.stack import Emulator

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

REQUEST = "/user/access-request"


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The stack, deployed once for all tests of this file."""
    with stack.deployed(tmp_path_factory.mktemp("e2e")) as emulator:
        yield emulator


def test_without_a_token_nobody_gets_in(aws: Emulator) -> None:
    """The gateway refuses whoever has no token of the pool; the function never hears of it."""
    assert 401 == call(aws, "GET", REQUEST)[0]
    assert 401 == call(aws, "GET", REQUEST, token="made-up")[0]


def test_a_ticket_is_submitted_seen_and_decided(aws: Emulator) -> None:
    """What a user submits is there at the next look; an administrator decides it, once."""
    token = sign_in(aws, "ann@example.com")
    status, made = call(
        aws, "POST", REQUEST, token=token, body={"organization_name": "Hand in Hand"}
    )
    assert (202, "R00001") == (status, made["ticket_id"]), made
    status, seen = call(aws, "GET", REQUEST, token=token)
    assert (200, True) == (status, seen["has_pending_request"])

    path = "/admin/tickets/R00001/review"
    decision = {"action": "reject", "admin_notes": "Not yet."}
    assert 403 == call(aws, "PUT", path, token=token, body=decision)[0]
    sign_up(aws, "admin@example.com")
    aws.client("cognito-idp").admin_add_user_to_group(
        UserPoolId=aws.outputs["UserPoolId"], Username="admin@example.com", GroupName="admin"
    )
    admin = sign_in(aws, "admin@example.com", is_new=False)
    status, decided = call(aws, "PUT", path, token=admin, body=decision)
    assert 200 == status, decided
    assert "rejected" == decided["ticket"]["status"]
    assert 409 == call(aws, "PUT", path, token=admin, body=decision)[0]
