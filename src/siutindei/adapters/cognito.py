"""A Cognito user pool: who is in the managers' group, and when somebody signed in last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from siutindei.adapters.aws_faults import Fault, faults
from siutindei.app.ports import GrantError, Unavailable, Unusable

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

LAST_SIGN_IN: Final = "custom:last_auth_time"


class CognitoPool:
    """See `ports.IdentityProvider` and `ports.LastSignIns`.

    Args:
        pool: the user pool's id.
        group: the managers' group.
        connect: gives a client of `cognito-idp`, when it is needed.
    """

    def __init__(self, pool: str, *, group: str, connect: Callable[[], Any]) -> None:
        self._pool = pool
        self._group = group
        self._connect = connect

    def join_managers(self, *, grant_id: str, user: str) -> None:
        """Put a user into the managers' group; who is in it stays in it."""
        problem = self._call(
            lambda: self._connect().admin_add_user_to_group(
                UserPoolId=self._pool, Username=user, GroupName=self._group
            )
        )
        if problem is not None:
            raise GrantError(str(problem), permanent=isinstance(problem, Unusable)) from problem

    def note(self, user: str, *, at: datetime) -> None:
        """Set the attribute that holds the time, in whole seconds since 1970."""
        value = str(int(at.timestamp()))
        problem = self._call(
            lambda: self._connect().admin_update_user_attributes(
                UserPoolId=self._pool,
                Username=user,
                UserAttributes=[{"Name": LAST_SIGN_IN, "Value": value}],
            )
        )
        if problem is not None:
            raise problem

    def _call(self, call: Callable[[], object]) -> Unavailable | Unusable | None:
        """Make one call, and say what went wrong."""
        try:
            with faults():
                call()
        except Fault as found:
            if found.transient:
                return Unavailable(f"Cognito does not take it now ({found.code})")
            return Unusable(f"Cognito does not take it ({found.code})")
        return None
