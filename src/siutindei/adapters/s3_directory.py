"""The platform's catalogue and groups in one JSON object in an S3 bucket.

Whoever writes says which version they read (`If-Match` with its ETag, or `If-None-Match: *` for the
first one): S3 refuses to write over another one, and the change is made again on that.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.adapters.directory import Catalogue, CatalogueDirectory, decode, encode
from siutindei.app.ports import Clock, PortError, Unavailable, Unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Of those who write at the same moment one is first: each round is somebody's last.
_TRIES: Final = 8
_FIRST_WAIT: Final = 0.05
_MISSING: Final = "NoSuchKey"
#: Somebody else was first, is writing at this moment, or took the object away.
_LOST: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", _MISSING})
_SLOWER: Final = frozenset({"RequestTimeout", "SlowDown", "Throttling", "ThrottlingException"})
_FAULT: Final = 500


class _Lost(Exception):
    """Somebody else was first."""


@attrs.frozen(kw_only=True)
class S3Directory(CatalogueDirectory):
    """The document is an object in a bucket.

    Attributes:
        client: boto3's client of S3.
        bucket: the bucket.
        key: the object's key.
        clock: waits before another try.
    """

    client: Any
    bucket: str
    key: str
    clock: Clock

    @property
    def name(self) -> str:
        """What the object is called in messages."""
        return f"s3://{self.bucket}/{self.key}"

    def read(self) -> Catalogue:
        """Read the object."""
        return self._get()[0]

    def update(self, change: Callable[[Catalogue], None]) -> None:
        """Read the object, change it, and write it unless it is another one by then."""
        wait = _FIRST_WAIT
        for _ in range(_TRIES):
            catalogue, tag = self._get()
            before = encode(catalogue)
            change(catalogue)
            after = encode(catalogue)
            if before == after:
                return
            try:
                self._put(after, tag)
            except _Lost:
                self.clock.sleep(wait)
                wait *= 2
            else:
                return
        msg = f"{self.name} is written by others again and again; nothing was changed, try again"
        raise Unavailable(msg)

    def _get(self) -> tuple[Catalogue, str | None]:
        try:
            with self._translated("read"):
                found = self.client.get_object(Bucket=self.bucket, Key=self.key)
                data = found["Body"].read()
        except _Lost:
            return Catalogue(), None
        return decode(data, self.name), found["ETag"]

    def _put(self, data: bytes, tag: str | None) -> None:
        condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
        with self._translated("written"):
            self.client.put_object(
                Bucket=self.bucket,
                Key=self.key,
                Body=data,
                ContentType="application/json",
                **condition,
            )

    @contextmanager
    def _translated(self, done: str) -> Iterator[None]:
        """Give botocore's errors as the port has them."""
        # Loaded by now: the client came from there.
        from botocore.exceptions import (
            BotoCoreError,
            ClientError,
            ConnectionError,  # noqa: A004  # botocore's: no connection came about
            HTTPClientError,
            IncompleteReadError,
        )

        text = f"{self.name} cannot be {done}"
        try:
            yield
        except ClientError as error:
            raise _translate(error.response, text) from error
        except (ConnectionError, HTTPClientError, IncompleteReadError) as error:
            msg = f"{text}: {type(error).__name__}; try again"
            raise Unavailable(msg) from error
        except BotoCoreError as error:
            msg = f"{text}: {type(error).__name__}"
            raise Unusable(msg) from error


def _translate(response: Any, text: str) -> PortError | _Lost:
    code = response["Error"]["Code"]
    if code in _LOST:
        return _Lost()
    if code in _SLOWER or response["ResponseMetadata"]["HTTPStatusCode"] >= _FAULT:
        return Unavailable(f"{text}: {code}; try again")
    return Unusable(f"{text}: {code}; see the bucket, its name and what may be done with it")
