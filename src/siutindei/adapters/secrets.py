"""What is secret and kept at AWS: rings of keys, and the database's password.

A ring is the text of a secret in Secrets Manager, as it would stand in a file:
`{"current": "<id>", "keys": {"<id>": "<base64 of 32 bytes>"}}`. Nothing here makes one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import msgspec

from siutindei.adapters.aws_faults import Fault, faults
from siutindei.adapters.keys import parse_ring, read_ring
from siutindei.app.ports import Unavailable, Unusable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from siutindei.adapters.keys import KeyRing

    #: Gives a client, when it is needed.
    Connect = Callable[[], Any]

#: How long an answer may take, in seconds.
READ_SECONDS: Final = 2.0
_PORT: Final = 5432
_MEND: Final = {
    "ResourceNotFoundException": "is not there; make it, and never change its keys by hand",
    "AccessDeniedException": "may not be read by this function; allow "
    "secretsmanager:GetSecretValue on it, and kms:Decrypt on the key that encrypts it",
    "DecryptionFailure": "cannot be decrypted; allow kms:Decrypt on the key that encrypts it",
    "InvalidRequestException": "cannot be read as it is: it may be about to be deleted; restore it",
}


def ring(name: str, *, connect: Connect) -> KeyRing:
    """Read a ring from Secrets Manager.

    Args:
        name: the secret's name or ARN.
        connect: gives a client of `secretsmanager`.

    Raises:
        Unusable: the secret is not there, may not be read, or is no ring.
        Unavailable: not now.
    """
    return parse_ring(f"the secret {name}", _text(name, connect))


def wrapped_ring(path: Path, *, purpose: str, connect: Connect) -> KeyRing:
    """Read a ring from a file in which KMS has encrypted every key.

    Args:
        path: the file; instead of each key it has what KMS made of it.
        purpose: what `purpose` is in the encryption context that the keys were encrypted under: a
            ring that is put in another one's place is not decrypted.
        connect: gives a client of `kms`.

    Raises:
        Unusable: it is not there, or no ring, or KMS does not decrypt it.
        Unavailable: not now.
    """

    def unwrap(wrapped: bytes) -> bytes:
        try:
            with faults():
                answer = connect().decrypt(
                    CiphertextBlob=wrapped, EncryptionContext={"purpose": purpose}
                )
        except Fault as found:
            if found.transient:
                raise Unavailable(f"KMS does not answer ({found.code}); try again") from None
            raise Unusable(
                f"KMS does not decrypt the keys of {path} ({found.code}); allow kms:Decrypt, and "
                f"encrypt them under the context purpose={purpose}"
            ) from None
        key: bytes = answer["Plaintext"]
        return key

    data = read_ring(path)
    if data is None:
        raise Unusable(f"the key file {path} is missing; it belongs into the function's bundle")
    return parse_ring(f"the key file {path}", data, unwrap=unwrap)


def _text(name: str, connect: Connect) -> str:
    secrets = connect()
    try:
        with faults():
            answer = secrets.get_secret_value(SecretId=name)
    except Fault as found:
        if found.transient:
            raise Unavailable(f"Secrets Manager does not answer ({found.code})") from None
        mend = _MEND.get(found.code, f"cannot be read ({found.code})")
        raise Unusable(f"the secret {name} {mend}") from None
    text = answer.get("SecretString")
    if not isinstance(text, str):
        raise Unusable(f"the secret {name} has no text; put the text where its bytes are")
    return text


class _Login(msgspec.Struct):
    """A secret as RDS makes it; what else it has is not looked at."""

    username: str
    password: str


def secret_password(name: str, url: str, *, connect: Connect) -> Callable[[], str]:
    """Give what reads the database's password from a secret, anew at every connection.

    So a password that was rotated is used from the next connection on.

    Args:
        name: the secret's name or ARN.
        url: the database's address.
        connect: gives a client of `secretsmanager`.
    """

    def password() -> str:
        text = _text(name, connect)
        try:
            login = msgspec.json.decode(text, type=_Login)
        except msgspec.MsgspecError:
            # Without its cause: that would quote what is secret.
            raise Unusable(
                f"the secret {name} is not a JSON object with a username and a password"
            ) from None
        if login.username != _user(url):
            raise Unusable(
                f"the secret {name} is for another user than SIUTINDEI_DATABASE names; "
                "name that user there"
            )
        return login.password

    return password


def iam_password(url: str, *, connect: Connect) -> Callable[[], str]:
    """Give what makes a token of 15 minutes for the database (RDS IAM authentication).

    https://docs.aws.amazon.com/AmazonRDS/latest/UserGuide/UsingWithRDS.IAMDBAuth.Connecting.html
    It is signed here, without a call to AWS.

    Args:
        url: the database's address.
        connect: gives a client of `rds`.

    Raises:
        Unusable: the address names no host or no user; when asked: there are no credentials.
    """
    parts = urlsplit(url)
    host, user = parts.hostname, _user(url)
    if not host or not user:
        raise Unusable(
            "SIUTINDEI_DATABASE has to name a user and a host for IAM authentication: "
            "postgresql://USER@HOST:PORT/NAME"
        )

    def password() -> str:
        try:
            with faults():
                token: str = connect().generate_db_auth_token(
                    DBHostname=host, Port=parts.port or _PORT, DBUsername=user
                )
        except Fault as found:
            raise Unusable(f"no token for the database could be made ({found.code})") from None
        return token

    return password


def _user(url: str) -> str:
    """Give the user that a database's address names."""
    parts = urlsplit(url)
    return unquote(parts.username or "") or parse_qs(parts.query).get("user", [""])[0]
