"""The catalogue as an object in S3: nobody writes over what they have not read."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

import boto3
import pytest
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)
from botocore.response import StreamingBody
from botocore.stub import Stubber

from siutindei.adapters.s3_directory import S3Directory
from siutindei.app.ports import GrantError, Unavailable, Unusable
from siutindei.bootstrap import build
from siutindei.domain.errors import Invalid
from siutindei.settings import read_settings
from tests.contracts import DirectoryContract
from tests.support import VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from siutindei.app.ports import FeedbackLabel

NAME: Final = {"Bucket": "catalogue", "Key": "directory.json"}


def refused(code: str, status: int) -> ClientError:
    """Say no as S3 does."""
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "PutObject")


class Bucket:
    """A bucket with one object, which is written only by whoever read it last.

    `before` is called before each writing, as others come in between.
    """

    def __init__(self) -> None:
        self.data: bytes | None = None
        self.tags = count(1)
        self.tag = ""
        self.writes = 0
        self.before: Callable[[], None] = lambda: None
        self.lock = Lock()

    def get_object(self, **given: str) -> dict[str, Any]:
        """Give the object."""
        assert given == NAME
        with self.lock:
            if self.data is None:
                raise refused("NoSuchKey", 404)
            body = StreamingBody(io.BytesIO(self.data), len(self.data))
            return {"Body": body, "ETag": self.tag}

    def put_object(
        self,
        *,
        Body: bytes,  # noqa: N803  # S3's names
        ContentType: str,  # noqa: N803
        IfMatch: str | None = None,  # noqa: N803
        IfNoneMatch: str | None = None,  # noqa: N803
        **given: str,
    ) -> None:
        """Write the object, if it is still the one that was read."""
        self.before()
        assert (NAME, "application/json") == (given, ContentType)
        assert (IfMatch is None) == (IfNoneMatch == "*")
        with self.lock:
            if IfMatch is not None and self.data is None:
                raise refused("NoSuchKey", 404)
            if (self.data is not None) if IfMatch is None else (self.tag != IfMatch):
                raise refused("PreconditionFailed", 412)
            self.data, self.tag = Body, f'"{next(self.tags)}"'
            self.writes += 1


def directory_of(bucket: Any, clock: VirtualClock | None = None) -> S3Directory:
    """Open the directory in a bucket."""
    return S3Directory(
        client=bucket, bucket=NAME["Bucket"], key=NAME["Key"], clock=clock or VirtualClock()
    )


class TestS3Directory(DirectoryContract):
    """An object in a bucket."""

    @pytest.fixture(autouse=True)
    def bucket(self) -> Bucket:
        """A bucket for each test."""
        self.made = Bucket()
        return self.made

    def make(self, folder: Path) -> S3Directory:
        """Open the directory in the test's bucket."""
        return directory_of(self.made)

    def add(self, directory: Any, *, id: str, name: str) -> None:
        """Put an organization into it."""
        directory.add_organization(id=id, name=name)

    def label(self, folder: Path, *labels: FeedbackLabel) -> S3Directory:
        """Write an object with labels."""
        entries = [
            {
                "id": label.id,
                "name": label.name,
                "name_translations": dict(label.name_translations),
                "display_order": label.display_order,
            }
            for label in labels
        ]
        self.made.data, self.made.tag = json.dumps({"labels": entries}).encode(), '"0"'
        return self.make(folder)

    def facts(self, directory: Any) -> dict[str, Any]:
        """Read the object."""
        document = json.loads(self.made.data or b"")
        return {key: document[key] for key in ("managers", "stars", "feedback")}

    def test_what_changes_nothing_writes_nothing(self, bucket: Bucket) -> None:
        """A grant that was made before is not written again."""
        directory = directory_of(bucket)
        for _ in range(2):
            directory.join_managers(grant_id="g1", user="ann")

        assert 1 == bucket.writes

    @pytest.mark.parametrize("first", [True, False])
    def test_what_somebody_else_wrote_is_kept(self, bucket: Bucket, first: bool) -> None:
        """A write that meets another version is made again on that one, after a while."""
        clock = VirtualClock()
        directory = directory_of(bucket, clock)
        if not first:
            directory.join_managers(grant_id="g0", user="eve")
        start = clock.now()
        others = iter(["bob", "carl"])

        def meanwhile() -> None:
            other = next(others, None)
            if other is not None:
                bucket.before, own = (lambda: None), bucket.before
                directory_of(bucket).join_managers(grant_id=f"g-{other}", user=other)
                bucket.before = own

        bucket.before = meanwhile
        directory.join_managers(grant_id="g1", user="ann")

        assert [*([] if first else ["eve"]), "bob", "carl", "ann"] == self.facts(directory)[
            "managers"
        ]
        assert pytest.approx(0.15) == (clock.now() - start).total_seconds()

    def test_of_many_at_once_everybody_is_kept(self, bucket: Bucket) -> None:
        """Four who write at the same moment: each change is there."""

        def join(number: int) -> None:
            directory_of(bucket).join_managers(grant_id=f"g{number}", user=f"user-{number}")

        with ThreadPoolExecutor(4) as pool:
            list(pool.map(join, range(4)))

        assert {f"user-{number}" for number in range(4)} == set(
            self.facts(directory_of(bucket))["managers"]
        )

    @pytest.mark.parametrize("code", ["PreconditionFailed", "ConditionalRequestConflict"])
    def test_who_is_never_first_is_told_to_try_again(self, bucket: Bucket, code: str) -> None:
        """After eight times nothing was changed, and the grant is worth another try."""
        tries = count()

        def meanwhile() -> None:
            next(tries)
            raise refused(code, 412)

        bucket.before = meanwhile
        with pytest.raises(GrantError, match="again and again; nothing was changed") as failed:
            directory_of(bucket).join_managers(grant_id="g1", user="ann")

        assert not failed.value.permanent
        assert (8, None) == (next(tries), bucket.data)

    def test_an_object_that_was_taken_away_is_written_anew(self, bucket: Bucket) -> None:
        """It may go between reading and writing."""
        directory = directory_of(bucket)
        directory.join_managers(grant_id="g1", user="ann")

        def meanwhile() -> None:
            bucket.before, bucket.data = (lambda: None), None

        bucket.before = meanwhile
        directory.join_managers(grant_id="g2", user="bob")

        assert ["bob"] == self.facts(directory)["managers"]

    def test_what_is_no_catalogue_is_left_as_it_is(self, bucket: Bucket) -> None:
        """An object that we do not know all of is neither read nor written over."""
        bucket.data = b'{"more": 1}'
        directory = directory_of(bucket)
        with pytest.raises(Unusable, match=r"s3://catalogue/directory\.json is not a catalogue"):
            directory.labels()
        with pytest.raises(GrantError, match="is not a catalogue"):
            directory.join_managers(grant_id="g1", user="ann")

        assert 0 == bucket.writes


# --- as S3 has it ---------------------------------------------------------------------------------


def stubbed() -> tuple[S3Directory, Stubber]:
    """Give a directory whose client knows the shapes of S3's requests, and reaches nothing."""
    client = boto3.session.Session().client(
        "s3",
        region_name="ap-southeast-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )
    return directory_of(client), Stubber(client)


def found(text: bytes) -> dict[str, Any]:
    """Answer with an object."""
    return {"Body": StreamingBody(io.BytesIO(text), len(text)), "ETag": '"a1"'}


def test_the_requests_are_s3s() -> None:
    """The first object is written where there is none, the next over the one that was read."""
    directory, stub = stubbed()
    written: list[dict[str, Any]] = []
    client = directory.client
    client.meta.events.register(
        "provide-client-params.s3.PutObject", lambda params, **_: written.append(dict(params))
    )
    with stub:
        stub.add_client_error("get_object", "NoSuchKey", http_status_code=404)
        stub.add_response("put_object", {"ETag": '"a1"'})
        stub.add_response("get_object", found(b'{"managers": ["ann"]}'), NAME)
        stub.add_response("put_object", {"ETag": '"a2"'})
        directory.join_managers(grant_id="g1", user="ann")
        directory.join_managers(grant_id="g2", user="bob")
        stub.assert_no_pending_responses()

    assert [("*", None), (None, '"a1"')] == [
        (given.get("IfNoneMatch"), given.get("IfMatch")) for given in written
    ]
    assert ["ann", "bob"] == json.loads(written[1]["Body"])["managers"]


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("SlowDown", 503, Unavailable),
        ("SlowDown", 400, Unavailable),
        ("InternalError", 500, Unavailable),
        ("AccessDenied", 403, Unusable),
        ("NoSuchBucket", 404, Unusable),
        ("PermanentRedirect", 301, Unusable),
    ],
)
def test_what_s3_refuses_is_said(code: str, status: int, kind: type[Exception]) -> None:
    """What passes is worth another try; the rest needs a person. It names the object."""
    directory, stub = stubbed()
    for operation in ("get_object", "put_object"):
        with stub:
            if operation == "put_object":
                stub.add_client_error("get_object", "NoSuchKey", http_status_code=404)
            stub.add_client_error(operation, code, http_status_code=status)
            with pytest.raises(kind, match=rf"s3://catalogue/directory\.json cannot be .*{code}"):
                directory.add_organization(id="1", name="Kite Club")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (EndpointConnectionError(endpoint_url="https://s3.example.com"), Unavailable),
        (ReadTimeoutError(endpoint_url="https://s3.example.com"), Unavailable),
        (NoCredentialsError(), Unusable),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
def test_an_s3_out_of_reach_is_said(error: Exception, kind: type[Exception]) -> None:
    """A network that fails may come back; a function without credentials will not get any."""

    class Unreached:
        def get_object(self, **_: str) -> None:
            raise error

    with pytest.raises(kind, match=type(error).__name__):
        directory_of(Unreached()).organization("1")


def test_a_body_that_breaks_off_is_worth_another_try() -> None:
    """An answer that ends before its length does is no catalogue."""
    directory, stub = stubbed()
    with stub:
        body = StreamingBody(io.BytesIO(b"{"), 99)
        stub.add_response("get_object", {"Body": body, "ETag": '"a1"'}, NAME)
        with pytest.raises(Unavailable, match="IncompleteReadError"):
            directory.labels()


# --- the setting ----------------------------------------------------------------------------------


def test_the_setting_names_bucket_and_key(tmp_path: Path) -> None:
    """`s3://BUCKET/KEY` is an object; everything else is a file, as before."""
    place = {"SIUTINDEI_DIRECTORY": "s3://catalogue/prod/directory.json"}
    services = build(read_settings(place, home=tmp_path))
    directory = services.directory

    assert ("catalogue", "prod/directory.json") == (directory.bucket, directory.key)
    assert directory is services.identity
    assert read_settings({}, home=tmp_path).directory_object is None
    for text in ("s3://catalogue", "s3://catalogue/", "s3:///x", "s3://B/x", "s3://b?/x"):
        with pytest.raises(Invalid, match="SIUTINDEI_DIRECTORY"):
            read_settings({"SIUTINDEI_DIRECTORY": text}, home=tmp_path)
