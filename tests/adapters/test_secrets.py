"""Secrets at AWS: rings of keys and the database's password, read and never made."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, urlsplit

import pytest
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from botocore.stub import ANY, Stubber

from siutindei.adapters import aws, secrets
from siutindei.adapters.keys import KeyRing
from siutindei.app.ports import Protected, Unavailable, Unusable
from siutindei.bootstrap import build
from siutindei.settings import read_settings
from tests.support import RING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NAME: Final = "siutindei/vault-keys"
KEY: Final = bytes(range(32))
TEXT: Final = json.dumps({"current": "test", "keys": {"test": base64.b64encode(KEY).decode()}})
URL: Final = "postgresql://siutindei@db.example.com:6432/mail"
PASSWORD: Final = "p:a/ss w0rd"


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "example")


def stubbed(service: str) -> Iterator[Stubber]:
    """Give a client that answers as it is told, and checks what it is asked."""
    with Stubber(aws.client(service, region="ap-southeast-1", read_timeout=1)) as stubber:
        yield stubber
        stubber.assert_no_pending_responses()


@pytest.fixture
def stub() -> Iterator[Stubber]:
    """Give Secrets Manager."""
    yield from stubbed("secretsmanager")


@pytest.fixture
def kms() -> Iterator[Stubber]:
    """Give KMS."""
    yield from stubbed("kms")


def holds(stub: Stubber, text: str, name: str = NAME) -> Callable[[], Any]:
    """Let a secret be read once."""
    stub.add_response("get_secret_value", {"SecretString": text}, {"SecretId": name})
    return lambda: stub.client


# --- rings ----------------------------------------------------------------------------------------


def test_a_ring_is_the_text_of_a_secret(stub: Stubber) -> None:
    """A secret has the same text as a file would have."""
    assert RING == secrets.ring(NAME, connect=holds(stub, TEXT))


@pytest.mark.parametrize(
    "text",
    [
        "geheim",
        "{}",
        TEXT.replace("test", "other", 1),
        TEXT.replace('"keys"', '"old"'),
        json.dumps({"current": "test", "keys": {"test": "geheim!"}}),
        json.dumps({"current": "test", "keys": {"test": "Z2VoZWlt"}}),
    ],
)
def test_a_secret_that_is_no_ring_is_named_and_not_quoted(stub: Stubber, text: str) -> None:
    """What is wrong is said by the secret's name; nothing of what is in it is."""
    with pytest.raises(Unusable) as refused:
        secrets.ring(NAME, connect=holds(stub, text))

    assert f"the secret {NAME}" in str(refused.value)
    assert refused.value.__cause__ is None
    for hidden in ("geheim", "Z2VoZWlt", base64.b64encode(KEY).decode()):
        assert hidden not in str(refused.value)


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [
        ("ResourceNotFoundException", 400, "is not there; make it"),
        ("AccessDeniedException", 400, "secretsmanager:GetSecretValue"),
        ("DecryptionFailure", 400, "kms:Decrypt"),
        ("InvalidRequestException", 400, "about to be deleted"),
        ("InvalidParameterException", 400, r"cannot be read \(InvalidParameterException\)"),
    ],
)
def test_a_secret_that_cannot_be_read(stub: Stubber, code: str, status: int, says: str) -> None:
    """What is wrong for good says what to do about it."""
    stub.add_client_error("get_secret_value", code, "words", status)
    with pytest.raises(Unusable, match=says):
        secrets.ring(NAME, connect=lambda: stub.client)


@pytest.mark.parametrize(
    ("code", "status"), [("InternalServiceError", 500), ("ThrottlingException", 400)]
)
def test_a_secret_that_cannot_be_read_now(stub: Stubber, code: str, status: int) -> None:
    """What passes by itself is worth another try."""
    stub.add_client_error("get_secret_value", code, "words", status)
    with pytest.raises(Unavailable, match=code):
        secrets.ring(NAME, connect=lambda: stub.client)


class Failing:
    """A client that gets no answer."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


def test_a_secret_that_is_out_of_reach() -> None:
    """No way there is worth another try; no credentials are not; another error is none of AWS."""
    away = EndpointConnectionError(endpoint_url="https://example.com")
    cases = ((away, Unavailable), (NoCredentialsError(), Unusable), (KeyError(), KeyError))
    for error, kind in cases:
        with pytest.raises(kind):
            secrets.ring(NAME, connect=lambda e=error: Failing(e))  # type: ignore[misc]


def test_a_secret_of_bytes_is_refused(stub: Stubber) -> None:
    """A secret whose bytes were stored, and no text, is no ring."""
    stub.add_response("get_secret_value", {"SecretBinary": b"x"}, {"SecretId": NAME})
    with pytest.raises(Unusable, match="has no text"):
        secrets.ring(NAME, connect=lambda: stub.client)


# --- rings that KMS wraps -------------------------------------------------------------------------


def wrapped(path: Path) -> Path:
    """Write a ring of two keys that KMS encrypted."""
    keys = {name: base64.b64encode(f"wrapped {name}".encode()).decode() for name in ("new", "old")}
    path.write_text(json.dumps({"current": "new", "keys": keys}), encoding="utf-8")
    return path


def test_a_ring_that_kms_wraps_is_opened_under_its_purpose(tmp_path: Path, kms: Stubber) -> None:
    """Each key is decrypted under the context that says what the ring is for."""
    keys = {"new": KEY, "old": KEY[::-1]}
    for name, key in keys.items():
        kms.add_response(
            "decrypt",
            {"Plaintext": key},
            {
                "CiphertextBlob": f"wrapped {name}".encode(),
                "EncryptionContext": {"purpose": "SIUTINDEI_CODE_KEYS"},
            },
        )
    ring = secrets.wrapped_ring(
        wrapped(tmp_path / "ring.json"), purpose="SIUTINDEI_CODE_KEYS", connect=lambda: kms.client
    )

    assert KeyRing(current="new", keys=keys) == ring


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("InvalidCiphertextException", 400, Unusable),
        ("AccessDeniedException", 400, Unusable),
        ("KMSInternalException", 500, Unavailable),
    ],
)
def test_a_ring_that_kms_does_not_open(
    tmp_path: Path, kms: Stubber, code: str, status: int, kind: type[Exception]
) -> None:
    """What KMS refuses is named by its code."""
    kms.add_client_error("decrypt", code, "words", status)
    path = wrapped(tmp_path / "ring.json")
    with pytest.raises(kind, match=code):
        secrets.wrapped_ring(path, purpose="x", connect=lambda: kms.client)


def test_a_wrapped_ring_that_is_missing(tmp_path: Path) -> None:
    """It is said where it belongs; none is made."""
    path = tmp_path / "ring.json"
    with pytest.raises(Unusable, match="belongs into the function's bundle"):
        secrets.wrapped_ring(path, purpose="x", connect=lambda: None)

    assert not path.exists()


# --- the database's password ----------------------------------------------------------------------


def test_a_password_is_read_at_every_connection(stub: Stubber) -> None:
    """A password that was rotated is used from the next connection on."""
    password = secrets.secret_password(NAME, URL, connect=lambda: stub.client)
    for text in (PASSWORD, "another"):
        holds(stub, json.dumps({"username": "siutindei", "password": text, "engine": "postgres"}))
        assert text == password()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("geheim", "not a JSON object"),
        ('{"username": "siutindei", "password": 7}', "not a JSON object"),
        ('{"username": "admin", "password": "geheim"}', "another user"),
    ],
)
def test_a_secret_that_is_no_login(stub: Stubber, text: str, says: str) -> None:
    """A secret without a password, or of another user, is refused without quoting it."""
    with pytest.raises(Unusable, match=says) as refused:
        secrets.secret_password(NAME, URL, connect=holds(stub, text))()

    assert "geheim" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_the_user_may_stand_behind_the_address(stub: Stubber) -> None:
    """The user may be named as a parameter, as libpq has it."""
    login = json.dumps({"username": "si utindei", "password": PASSWORD})
    for url in ("postgresql://db.example.com/mail?user=si+utindei", "postgresql://si%20utindei@/m"):
        assert PASSWORD == secrets.secret_password(NAME, url, connect=holds(stub, login))()


def rds() -> Any:
    """Give a client of RDS."""
    return aws.client("rds", region="ap-southeast-1", read_timeout=1)


def test_a_token_is_signed_for_one_database_and_user() -> None:
    """The token names host, port, user and region, and is good for fifteen minutes."""
    token = urlsplit(f"//{secrets.iam_password(URL, connect=rds)()}")
    query = {name: values[0] for name, values in parse_qs(token.query).items()}

    assert "db.example.com:6432" == token.netloc
    assert ("connect", "siutindei", "900") == (
        query["Action"],
        query["DBUser"],
        query["X-Amz-Expires"],
    )
    assert "/ap-southeast-1/rds-db/" in query["X-Amz-Credential"]
    without_port = secrets.iam_password("postgresql://u@db.example.com/mail", connect=rds)()
    assert without_port.startswith("db.example.com:5432/")


@pytest.mark.parametrize("url", ["postgresql:///mail", "postgresql://db.example.com/mail"])
def test_a_token_needs_a_host_and_a_user(url: str) -> None:
    """An address that names neither is refused before anybody connects."""
    with pytest.raises(Unusable, match="name a user and a host"):
        secrets.iam_password(url, connect=rds)


def test_a_token_needs_credentials() -> None:
    """Without credentials there is no token."""
    with pytest.raises(Unusable, match="NoCredentialsError"):
        secrets.iam_password(URL, connect=lambda: Failing(NoCredentialsError()))()


# --- an installation ------------------------------------------------------------------------------


def services(home: Path, **environment: str) -> Any:
    """Build an application from settings."""
    return build(read_settings(environment, home=home))


def test_an_installation_reads_each_secret_once(tmp_path: Path) -> None:
    """The rings come from where the settings say, once for each container."""
    wrapped(tmp_path / "index.json")
    made = services(
        tmp_path,
        SIUTINDEI_VAULT_KEYS=f"secretsmanager:{NAME}",
        SIUTINDEI_CODE_KEYS="secretsmanager:siutindei/code-keys",
        SIUTINDEI_INDEX_KEY=f"kms:{tmp_path / 'index.json'}",
    )
    with (
        Stubber(made._client("secretsmanager")) as stub,
        Stubber(made._client("kms")) as kms,
    ):
        holds(stub, TEXT)
        holds(stub, TEXT, "siutindei/code-keys")
        for _ in range(2):
            kms.add_response(
                "decrypt",
                {"Plaintext": KEY},
                {
                    "CiphertextBlob": ANY,
                    "EncryptionContext": {"purpose": "SIUTINDEI_INDEX_KEY"},
                },
            )
        rings = [(made.vault_keys, made.code_keys, made.index_key) for _ in range(2)]
        stub.assert_no_pending_responses()
        kms.assert_no_pending_responses()
        # The database gets its tables all the same.
        assert 0 == made.store.last_position()
    made.store.close()

    assert rings[0] == rings[1]
    assert (RING, RING, KEY) == (made.vault_keys, made.code_keys, made.index_key.key)
    assert "\\x01\\x02" not in repr(made.vault_keys)
    assert not (tmp_path / "keys").exists()


def test_keys_are_not_imported_into_secrets(tmp_path: Path) -> None:
    """An import that would have to write a secret says what to do instead, and changes nothing."""
    protected = Protected(file=str(tmp_path / "keys.json"), passphrase="correct horse")
    whole = services(tmp_path / "one")
    whole.transfer.export(str(tmp_path / "history.jsonl"), protected=protected)
    whole.store.close()
    other = services(tmp_path / "two", SIUTINDEI_VAULT_KEYS=f"secretsmanager:{NAME}")
    with pytest.raises(Unusable, match="put their text into the secrets afterwards"):
        other.transfer.import_(str(tmp_path / "history.jsonl"), protected=protected)

    assert not (tmp_path / "two" / "siutindei.db").exists()


def test_where_the_password_comes_from(tmp_path: Path) -> None:
    """By default from the address; SQLite needs none, whatever the setting says."""
    postgres = {"SIUTINDEI_DATABASE": URL}
    login = json.dumps({"username": "siutindei", "password": PASSWORD})
    secret = services(tmp_path, SIUTINDEI_DATABASE_AUTH=f"secretsmanager:{NAME}", **postgres)
    with Stubber(secret._client("secretsmanager")) as stub:
        holds(stub, login)
        assert PASSWORD == secret.database_password()

    assert services(tmp_path, **postgres).database_password is None
    assert services(tmp_path, SIUTINDEI_DATABASE_AUTH="iam").database_password is None
    assert "db.example.com:6432" in (
        services(tmp_path, SIUTINDEI_DATABASE_AUTH="iam", **postgres).database_password()
    )
