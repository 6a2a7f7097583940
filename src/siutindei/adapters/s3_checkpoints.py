"""Checkpoints as objects in an S3 bucket, whose object lock keeps them: see `ports.Checkpoints`.

Each is put on the condition that none is there (`If-None-Match: *`): of two, one is first.
https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.adapters.aws_faults import Fault, faults
from siutindei.adapters.checkpoints import NAME, NUMBER, text
from siutindei.app.ports import Kept, PortError, Unavailable, Unusable

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Somebody else was first, or is writing at this moment.
_LOST: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict"})


@attrs.define(kw_only=True)
class S3Checkpoints:
    """See `ports.Checkpoints`.

    Attributes:
        client: boto3's client of S3.
        bucket: the bucket.
        prefix: what the objects' keys begin with, up to a slash.
    """

    client: Any
    bucket: str
    prefix: str
    #: The highest number that was seen: a sweep that looks again lists what came since.
    _seen: int = attrs.field(default=0, init=False)

    def newest(self) -> Kept | None:
        """Give the one with the highest number."""
        for number in self._numbers(after=self._seen):
            self._seen = number
        return self._read(self._seen) if self._seen else None

    def all(self) -> Iterator[Kept]:
        """Give all of them."""
        yield from (self._read(number) for number in self._numbers())

    def put(self, number: int, note: str) -> bool:
        """Keep another one."""
        try:
            with faults():
                self.client.put_object(
                    Bucket=self.bucket,
                    Key=self._key(number),
                    Body=note.encode(),
                    ContentType="text/plain; charset=utf-8",
                    IfNoneMatch="*",
                )
        except Fault as found:
            if found.code in _LOST:
                return False
            raise self._refusal(found, "written") from None
        return True

    def _numbers(self, *, after: int = 0) -> Iterator[int]:
        """List the numbers behind one, which S3 gives in order."""
        more = {"StartAfter": self._key(after)}
        while True:
            try:
                with faults():
                    page = self.client.list_objects_v2(
                        Bucket=self.bucket, Prefix=f"{self.prefix}/", **more
                    )
            except Fault as found:
                raise self._refusal(found, "listed") from None
            for entry in page.get("Contents", ()):
                name = NUMBER.fullmatch(entry["Key"].removeprefix(f"{self.prefix}/"))
                if name is not None:
                    yield int(name[1])
            if not page.get("IsTruncated"):
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}

    def _read(self, number: int) -> Kept:
        try:
            with faults():
                answer = self.client.get_object(Bucket=self.bucket, Key=self._key(number))
                data = answer["Body"].read()
        except Fault as found:
            raise self._refusal(found, "read") from None
        return Kept(number=number, note=text(data), at=answer["LastModified"])

    def _key(self, number: int) -> str:
        return f"{self.prefix}/{NAME.format(number)}"

    def _refusal(self, found: Fault, done: str) -> PortError:
        line = f"the checkpoints in s3://{self.bucket}/{self.prefix} cannot be {done}: {found.code}"
        if found.transient:
            return Unavailable(f"{line}; try again")
        return Unusable(f"{line}; see the bucket, its name and what may be done with it")
