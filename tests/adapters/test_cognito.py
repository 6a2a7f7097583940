"""A Cognito user pool: what it is asked, and what its errors mean."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest
from botocore.exceptions import (
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.stub import Stubber

from siutindei.adapters import aws
from siutindei.adapters.cognito import CognitoPool
from siutindei.app import ports
from siutindei.app.ports import GrantError, PortError, Unavailable, Unusable
from siutindei.bootstrap import build
from siutindei.settings import read_settings
from tests.contracts import has_signatures_of
from tests.support import START

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

POOL: Final = "ap-southeast-1_Example1"
USER: Final = "f3a1c2d4-5b6e-4f70-8a91-0b1c2d3e4f50"
URL: Final = "https://cognito-idp.example.com"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")


@pytest.fixture
def stub() -> Iterator[Stubber]:
    """Give a client that answers as it is told, and checks what it is asked."""
    client = aws.client("cognito-idp", region="ap-southeast-1", read_timeout=1)
    with Stubber(client) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def users(stub: Stubber) -> CognitoPool:
    """Give the pool."""
    return CognitoPool(POOL, group="manager", connect=lambda: stub.client)


def test_it_is_what_its_ports_say() -> None:
    """It has the methods of both ports, with the same parameters."""
    assert has_signatures_of(CognitoPool, ports.IdentityProvider)
    assert has_signatures_of(CognitoPool, ports.LastSignIns)


def test_a_user_joins_the_managers(stub: Stubber, users: CognitoPool) -> None:
    """The user is put into the group, as often as it is asked: Cognito keeps who is in it."""
    for _ in range(2):
        stub.add_response(
            "admin_add_user_to_group",
            {},
            {"UserPoolId": POOL, "Username": USER, "GroupName": "manager"},
        )
        users.join_managers(grant_id="g", user=USER)


def test_a_sign_in_is_noted_in_whole_seconds(stub: Stubber, users: CognitoPool) -> None:
    """The attribute has the unix time as text, without a fraction."""
    stub.add_response(
        "admin_update_user_attributes",
        {},
        {
            "UserPoolId": POOL,
            "Username": USER,
            "UserAttributes": [{"Name": "custom:last_auth_time", "Value": "1769823000"}],
        },
    )
    users.note(USER, at=START.replace(microsecond=999_999))


@pytest.mark.parametrize(
    ("code", "status", "permanent"),
    [
        ("UserNotFoundException", 400, True),
        ("ResourceNotFoundException", 400, True),
        ("InvalidParameterException", 400, True),
        ("NotAuthorizedException", 400, True),
        ("AccessDeniedException", 400, True),
        ("TooManyRequestsException", 400, False),
        ("ThrottlingException", 400, False),
        ("LimitExceededException", 400, False),
        ("InternalErrorException", 500, False),
        ("SomethingNew", 503, False),
        ("SomethingNew", 418, True),
    ],
)
def test_errors_of_cognito(
    stub: Stubber, users: CognitoPool, code: str, status: int, permanent: bool
) -> None:
    """What another try may mend is transient; Cognito's words, which may name a user, are not
    repeated.
    """
    for method in ("admin_add_user_to_group", "admin_update_user_attributes"):
        stub.add_client_error(method, code, f"User {USER} ann@example.com", status)
    with pytest.raises(GrantError) as refused:
        users.join_managers(grant_id="g", user=USER)
    with pytest.raises(PortError) as failed:
        users.note(USER, at=START)

    assert permanent == refused.value.permanent
    assert isinstance(failed.value, Unusable if permanent else Unavailable)
    assert code in str(refused.value)
    for text in (str(refused.value), str(failed.value)):
        assert USER not in text
        assert "ann@example.com" not in text


class Failing:
    """A client that gets no answer."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def admin_add_user_to_group(self, **arguments: Any) -> None:
        """Fail."""
        raise self._error


@pytest.mark.parametrize(
    ("error", "permanent"),
    [
        (ReadTimeoutError(endpoint_url=URL), False),
        (ConnectTimeoutError(endpoint_url=URL), False),
        (EndpointConnectionError(endpoint_url=URL), False),
        (NoCredentialsError(), True),
    ],
    ids=lambda value: type(value).__name__,
)
def test_errors_on_the_way(error: Exception, permanent: bool) -> None:
    """No answer is transient: adding somebody twice is adding them once."""
    users = CognitoPool(POOL, group="manager", connect=lambda: Failing(error))
    with pytest.raises(GrantError) as refused:
        users.join_managers(grant_id="g", user=USER)

    assert permanent == refused.value.permanent


def test_what_is_wrong_here_is_no_error_of_cognito() -> None:
    """A fault of ours, and a package that is missing, are not taken for an answer."""
    for error in (KeyError("x"), Unusable("AWS needs more packages")):
        users = CognitoPool(POOL, group="manager", connect=lambda e=error: Failing(e))  # type: ignore[misc]
        with pytest.raises(type(error)):
            users.join_managers(grant_id="g", user=USER)


def test_the_pool_is_used_when_it_is_named(tmp_path: Path) -> None:
    """With a pool's id grants go there; without one the catalogue's file says who is a manager."""
    local = build(read_settings({}, home=tmp_path))
    there = build(read_settings({"USER_POOL_ID": POOL, "MANAGER_GROUP": "m"}, home=tmp_path))

    assert local.identity is local.directory
    assert local.last_sign_ins is None
    assert isinstance(there.identity, CognitoPool)
    assert there.identity is there.last_sign_ins
    with Stubber(there._client("cognito-idp")) as stub:
        stub.add_response(
            "admin_add_user_to_group",
            {},
            {"UserPoolId": POOL, "Username": USER, "GroupName": "m"},
        )
        there.identity.join_managers(grant_id="g", user=USER)
        stub.assert_no_pending_responses()
    assert there._client("cognito-idp") is there._client("cognito-idp")
