"""Signing in through Cognito, as the clients do: the triggers really run, the code is mailed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.e2e import stack
from tests.e2e.clients import answer, code_in, mails_to, sign_up, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.e2e.stack import Emulator

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Emulator]:
    """The stack, deployed once for all tests of this file."""
    with stack.deployed(tmp_path_factory.mktemp("e2e")) as emulator:
        yield emulator


def test_who_signs_up_is_confirmed_and_gets_no_mail(aws: Emulator) -> None:
    """PreSignUp confirms; the first mail is the code of the first sign-in."""
    assert sign_up(aws, "ann@example.com")["UserConfirmed"]
    assert [] == mails_to(aws, "ann@example.com")


def test_a_code_is_mailed_and_lets_in(aws: Emulator) -> None:
    """A wrong answer lets nobody in and sends no second mail; the right one gives tokens."""
    address = "ben@example.com"
    sign_up(aws, address)
    started = start(aws, address)
    assert "CUSTOM_CHALLENGE" == started["ChallengeName"]
    (mail,) = mails_to(aws, address)
    assert "hello@lx-software.com" in mail.sender
    code = code_in(mail)
    assert code not in str(started)

    wrong = "".join(str((int(digit) + 1) % 10) for digit in code)
    again = answer(aws, address, started["Session"], wrong)
    assert "CUSTOM_CHALLENGE" == again["ChallengeName"]
    assert 1 == len(mails_to(aws, address))

    done = answer(aws, address, again["Session"], f" {code} ")
    assert {"IdToken", "AccessToken", "RefreshToken"} <= done["AuthenticationResult"].keys()


def test_three_wrong_answers_are_the_end(aws: Emulator) -> None:
    """After the third nobody gets in, with the right code neither."""
    address = "eve@example.com"
    sign_up(aws, address)
    started = start(aws, address)
    code = code_in(mails_to(aws, address)[0])
    wrong = "".join(str((int(digit) + 1) % 10) for digit in code)
    client = aws.client("cognito-idp")
    session = started["Session"]
    for _ in range(2):
        session = answer(aws, address, session, wrong)["Session"]
    with pytest.raises(client.exceptions.ClientError, match="NotAuthorizedException"):
        answer(aws, address, session, wrong)


def test_no_code_and_no_address_is_logged(aws: Emulator) -> None:
    """Logs name ids; whom they are about stays out, and what was mailed too."""
    logged = stack.wait("logged", aws.logs)
    assert "challenge" in logged
    for secret in ("ben@example.com", *(code_in(mail) for mail in aws.mails())):
        assert secret not in logged
