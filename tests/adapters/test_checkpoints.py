"""Where checkpoints are kept, and what signs them."""

from __future__ import annotations

import base64
import io
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import boto3
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from botocore.response import StreamingBody
from botocore.stub import Stubber
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from siutindei.adapters import signing
from siutindei.adapters.checkpoints import CheckpointFolder
from siutindei.adapters.leaves import SqlEventLog
from siutindei.adapters.postgres import PostgresStore, roles
from siutindei.adapters.s3_checkpoints import S3Checkpoints
from siutindei.adapters.sqlite import SqliteSchema, SqliteStore, prepare
from siutindei.app.ports import Checkpoints, Unavailable, Unusable
from siutindei.app.proof import _hash_of
from siutindei.bootstrap import build
from siutindei.domain.errors import Invalid
from siutindei.settings import read_settings
from tests.contracts import ANN, append, signed_up
from tests.postgres import execute, fresh_database
from tests.support import RING, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AT: Final = datetime(2026, 1, 31, tzinfo=UTC)


class Bucket:
    """A bucket that gives two keys a page, and puts nothing over an object."""

    def __init__(self) -> None:
        self.listed = 0
        self.objects: dict[str, bytes] = {"log/directory.json": b"{}", "other/0000000009.note": b""}

    def list_objects_v2(self, *, Bucket: str, Prefix: str, **more: str) -> dict[str, Any]:  # noqa: N803  # boto3's names
        """List the keys."""
        assert Bucket == "proofs"
        self.listed += 1
        after = more.get("StartAfter", "")
        keys = sorted(key for key in self.objects if key.startswith(Prefix) and key > after)
        start = int(more.get("ContinuationToken", "0"))
        page: dict[str, Any] = {"IsTruncated": start + 2 < len(keys)}
        if keys[start : start + 2]:
            page["Contents"] = [{"Key": key} for key in keys[start : start + 2]]
        if page["IsTruncated"]:
            page["NextContinuationToken"] = str(start + 2)
        return page

    def get_object(self, *, Bucket: str, Key: str) -> dict[str, Any]:  # noqa: N803  # boto3's names
        """Give an object."""
        data = self.objects[Key]
        return {"Body": StreamingBody(io.BytesIO(data), len(data)), "LastModified": AT}

    def put_object(self, *, Key: str, Body: bytes, IfNoneMatch: str, **_: str) -> None:  # noqa: N803  # boto3's names
        """Put an object where none is."""
        assert "*" == IfNoneMatch
        if self.objects.setdefault(Key, Body) is not Body:
            raise refused("PreconditionFailed", 412)


def refused(code: str, status: int) -> ClientError:
    """Say no as AWS does."""
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "Any")


@pytest.fixture(params=["folder", "bucket"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> Checkpoints:
    """A place for checkpoints."""
    if request.param == "folder":
        return CheckpointFolder(tmp_path / "checkpoints")
    return S3Checkpoints(client=Bucket(), bucket="proofs", prefix="log")


def test_a_place_without_checkpoints_is_empty(kept: Checkpoints) -> None:
    """Nothing has to be made first."""
    assert kept.newest() is None
    assert [] == list(kept.all())


def test_checkpoints_come_by_number(kept: Checkpoints) -> None:
    """As they were put, with the time at which they were."""
    for number in (1, 2, 3, 11):
        assert kept.put(number, f"note {number} 棋\n")
    newest = kept.newest()

    assert newest is not None
    assert (11, "note 11 棋\n") == (newest.number, newest.note)
    assert newest.at.tzinfo is UTC
    assert [1, 2, 3, 11] == [one.number for one in kept.all()]


def test_a_bucket_is_listed_from_where_one_stood() -> None:
    """A sweep looks every minute: what it has seen is not listed again."""
    bucket = Bucket()
    place = S3Checkpoints(client=bucket, bucket="proofs", prefix="log")
    for number in range(1, 8):
        place.put(number, "x")
    listed = []
    for number in (7, 8):
        place.put(number, "x")
        newest = place.newest()
        listed.append((newest and newest.number, bucket.listed))

    assert [(7, 4), (8, 5)] == listed


def test_a_checkpoint_is_never_written_over(kept: Checkpoints) -> None:
    """Whoever is second is told so."""
    answers = [kept.put(1, "mine\n"), kept.put(1, "theirs\n")]

    assert ([True, False], ["mine\n"]) == (answers, [one.note for one in kept.all()])


def test_of_many_at_once_one_is_first(tmp_path: Path) -> None:
    """And what the folder holds is whole."""
    folder = CheckpointFolder(tmp_path / "checkpoints")
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: folder.put(1, name * 1000), "abcdefgh"))

    assert 1 == sum(answers)
    assert ["0000000001.note"] == [path.name for path in folder.folder.iterdir()]


def test_a_folder_that_is_none_is_told(tmp_path: Path) -> None:
    """A file stands there, or a folder where a checkpoint should be."""
    (tmp_path / "file").write_text("x", "utf-8")
    (tmp_path / "0000000001.note").mkdir()
    for call in (
        lambda: CheckpointFolder(tmp_path / "file").newest(),
        lambda: CheckpointFolder(tmp_path / "file").put(1, "x"),
        lambda: CheckpointFolder(tmp_path).newest(),
    ):
        with pytest.raises(Unusable, match="cannot be"):
            call()


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (refused("AccessDenied", 403), Unusable),
        (refused("SlowDown", 503), Unavailable),
        (EndpointConnectionError(endpoint_url="https://s3.example.com"), Unavailable),
    ],
)
def test_what_s3_refuses_is_told(error: Exception, kind: type[Exception]) -> None:
    """Whether another try is worth it, and where to look."""

    class Refusing:
        """Refuses everything but listing, and that when it is told to."""

        def __init__(self, *, lists: bool) -> None:
            self.lists = lists

        def list_objects_v2(self, **_: str) -> dict[str, Any]:
            if not self.lists:
                raise error
            return {"Contents": [{"Key": "log/0000000001.note"}]}

        def get_object(self, **_: str) -> None:
            raise error

        def put_object(self, **_: object) -> None:
            raise error

    for lists in (False, True):
        place = S3Checkpoints(client=Refusing(lists=lists), bucket="proofs", prefix="log")
        with pytest.raises(kind, match="checkpoints in s3://proofs/log cannot be"):
            place.newest()
    with pytest.raises(kind, match="cannot be written"):
        place.put(1, "x")


def test_s3_is_asked_in_its_own_shapes() -> None:
    """Boto3 knows every parameter that is used."""
    client = boto3.client(
        "s3", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="y"
    )
    place = S3Checkpoints(client=client, bucket="proofs", prefix="log")
    with Stubber(client) as stub:
        asked = {"Bucket": "proofs", "Prefix": "log/", "StartAfter": "log/0000000000.note"}
        stub.add_response("list_objects_v2", {}, asked)
        stub.add_client_error("put_object", "PreconditionFailed", http_status_code=412)

        assert place.newest() is None
        assert not place.put(1, "x")


# --- where they are -------------------------------------------------------------------------------


def test_a_setting_says_where_checkpoints_are(tmp_path: Path) -> None:
    """A folder of the home, or a bucket."""
    here = build(read_settings({}, home=tmp_path)).checkpoints
    place = {"SIUTINDEI_CHECKPOINTS": "s3://proofs/prod/log/"}
    there: Any = build(read_settings(place, home=tmp_path)).checkpoints

    assert CheckpointFolder(tmp_path / "checkpoints") == here
    assert ("proofs", "prod/log") == (there.bucket, there.prefix)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("SIUTINDEI_CHECKPOINTS", "s3://proofs", "must be file:PATH"),
        ("SIUTINDEI_CHECKPOINTS", "file:here", "absolute path"),
        ("SIUTINDEI_LOG_ORIGIN", "a b", "without blanks and without"),
        ("SIUTINDEI_LOG_ORIGIN", "a+b", "without blanks and without"),
        ("SIUTINDEI_SIGNING_KEY", "kms-sign:", "must be kms-sign:KEY"),
        ("SIUTINDEI_SIGNING_KEY", "kms:here", "absolute path"),
        ("SIUTINDEI_SIGNING_KEY", "secretsmanager:", "secretsmanager:NAME"),
        ("SIUTINDEI_SIGNING_KEY", "x", "must be file:PATH, secretsmanager:NAME or kms:PATH"),
    ],
)
def test_a_setting_of_another_form_is_refused(name: str, text: str, words: str) -> None:
    """It is said which one would do."""
    with pytest.raises(Invalid, match=words):
        read_settings({name: text})


# --- signing in KMS -------------------------------------------------------------------------------

SIGNER: Final = Ed25519PrivateKey.from_private_bytes(bytes(32))


def der(key: Any) -> bytes:
    """Write a public key as KMS gives it."""
    found: bytes = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return found


def kms() -> Any:
    """Make a client that reaches nothing."""
    return boto3.client(
        "kms", region_name="eu-west-1", aws_access_key_id="x", aws_secret_access_key="y"
    )


def test_kms_signs_a_checkpoint(tmp_path: Path) -> None:
    """The note is the same as with a key of our own; the key never leaves KMS."""
    client = kms()
    settings = read_settings({"SIUTINDEI_SIGNING_KEY": "kms-sign:alias/log"}, home=tmp_path)
    services = build(settings)
    services.__dict__["_clients"] = {"kms": client}
    body = f"siutindei.lx-software.com/log\n1\n{base64.b64encode(bytes(32)).decode()}\n"
    with Stubber(client) as stub:
        stub.add_response("get_public_key", {"PublicKey": der(SIGNER)}, {"KeyId": "alias/log"})
        stub.add_response(
            "sign",
            {"Signature": SIGNER.sign(body.encode())},
            {
                "KeyId": "alias/log",
                "Message": body.encode(),
                "MessageType": "RAW",
                "SigningAlgorithm": "ED25519_SHA_512",
            },
        )
        notary = services.notary
        note = notary.sign(size=1, root=bytes(32))

    assert tuple(services.known_keys) == tuple(notary.keys)
    assert 1 == notary.open(note)[0].size
    assert note.startswith(body)


def test_a_key_of_another_kind_signs_nothing() -> None:
    """KMS has many."""
    client = kms()
    with Stubber(client) as stub:
        stub.add_response("get_public_key", {"PublicKey": der(generate_private_key(SECP256R1()))})
        with pytest.raises(Unusable, match="not one of Ed25519"):
            signing.notary_at_kms("log", "k", connect=lambda: client)


@pytest.mark.parametrize(
    ("code", "kind"), [("NotFoundException", Unusable), ("ThrottlingException", Unavailable)]
)
def test_what_kms_refuses_is_told(code: str, kind: type[Exception]) -> None:
    """Whether another try is worth it, and what is missing."""
    client = kms()
    with Stubber(client) as stub:
        stub.add_client_error("get_public_key", code)
        with pytest.raises(kind, match=code):
            signing.notary_at_kms("log", "k", connect=lambda: client)


def test_a_public_key_signs_nothing() -> None:
    """It only checks."""
    notary = signing.notary_of_keys(signing.notary_of_ring("log", RING).keys)
    with pytest.raises(Unusable, match="leave --key out"):
        notary.sign(size=0, root=bytes(32))


# --- an older database ---------------------------------------------------------------------------


def test_a_file_of_the_second_schema_gets_an_index_of_leaves(tmp_path: Path) -> None:
    """Opening it makes the table; the first checkpoint covers everything that is there."""
    path = str(tmp_path / "siutindei.db")
    prepare(path)
    with closing(SqliteStore(path, master=RING, clock=VirtualClock())) as store:
        append(store, ANN, signed_up())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in ("DROP TABLE leaves", "PRAGMA user_version = 2"):
            connection.execute(statement)
    services = build(read_settings({}, home=tmp_path))
    with services.proving() as proof:
        taken, found = proof.checkpoint(), proof.verify()

    assert (3, 1, True, 0) == (
        *(SqliteSchema(path).version(), taken.checkpoint.size, found.ok, found.not_covered),
    )


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_many_at_once_make_one_chain(tmp_path: Path, kind: str) -> None:
    """Each appends and signs; the first also makes the key. There is one key, and no fork."""
    with ExitStack() as stack:
        environment = {}
        if kind == "postgres":
            environment["SIUTINDEI_DATABASE"] = stack.enter_context(fresh_database())
        settings = read_settings(environment, home=tmp_path)
        stack.callback(build(settings).store.close)

        def work(user: str) -> list[tuple[int, int, str]]:
            services = build(settings)
            seen = []
            with closing(services.store) as store:
                for number in range(4):
                    append(store, f"person-{user}{number}", signed_up(f"{user}{number}"))
                    with services.proving() as proof:
                        taken = proof.checkpoint()
                    seen.append((taken.number, taken.checkpoint.size, taken.key))
            return seen

        with ThreadPoolExecutor(4) as pool:
            taken = [one for seen in pool.map(work, "abcd") for one in seen]
        with build(settings).proving() as proof:
            found = proof.verify()

    assert 1 == len({key for *_, key in taken})
    assert (True, 16, 16) == (found.ok, found.checked, found.size)
    by_number = dict(sorted({(number, size) for number, size, _ in taken}))
    assert list(by_number.values()) == sorted(set(by_number.values()))
    assert found.checkpoints == max(by_number)


# --- the index on PostgreSQL ----------------------------------------------------------------------


@pytest.fixture
def writer() -> Iterator[str]:
    """The address of a database for a role that may write; there is `the_reader` besides."""
    with fresh_database() as url:
        execute(roles(), url.partition("@/")[2].partition("?")[0])
        for role in ("writer", "reader"):
            if not execute("SELECT 1 FROM pg_roles WHERE rolname = %s", values=[f"the_{role}"]):
                execute(f"CREATE ROLE the_{role} LOGIN IN ROLE siutindei_{role}")
        yield url.replace("//postgres@", "//the_writer@")


def test_the_writer_adds_leaves_and_changes_none(writer: str) -> None:
    """A leaf, once there, is out of its reach, as an event is; the reader only reads."""
    with closing(PostgresStore(writer, master=RING, clock=VirtualClock())) as store:
        append(store, ANN, signed_up())
        added = SqlEventLog(store).index_more(_hash_of)
        for statement in ("DELETE FROM leaves", "UPDATE leaves SET position = 9"):
            with pytest.raises(Unusable, match="may not do this"), store.writing() as cursor:
                cursor.execute(statement)
    reader = writer.replace("the_writer", "the_reader")
    with closing(PostgresStore(reader, master=RING, clock=VirtualClock())) as store:
        leaves = list(SqlEventLog(store).leaves(until=10))
        with pytest.raises(Unusable, match="may not do this"):
            SqlEventLog(store).index_more(_hash_of)

    assert (1, [(0, 1)]) == (added, [(leaf.index, leaf.position) for leaf in leaves])
