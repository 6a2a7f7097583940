"""Baselines as files: what a program read of a whole history, one small JSON document each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from siutindei.adapters.files import refusal, refuse_taken, whole
from siutindei.app.ports import Baseline, Block
from siutindei.domain.errors import Invalid

FORMAT: Final = "siutindei baseline"
VERSION: Final = 1
#: A hundred million events take less.
_LARGEST: Final = 2**28
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]
_Digest = Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]


class _Header(msgspec.Struct):
    format: str
    version: int


class _Document(msgspec.Struct, forbid_unknown_fields=True):
    """A baseline as it is written; a block is its first position, then the names in it."""

    format: str
    version: int
    program: str
    position: _Count
    fields: dict[str, list[str]]
    blocks: list[tuple[_Count, dict[str, tuple[_Count, _Digest]]]]


class BaselineFiles:
    """See `ports.Baselines`."""

    def refuse_taken(self, file: str) -> None:
        refuse_taken(Path(file))

    def write(self, file: str, baseline: Baseline) -> None:
        blocks: dict[int, dict[str, tuple[int, str]]] = {}
        for block in baseline.blocks:
            blocks.setdefault(block.first, {})[block.name] = (block.count, block.digest)
        document = _Document(
            format=FORMAT,
            version=VERSION,
            program=baseline.program,
            position=baseline.position,
            fields={name: list(fields) for name, fields in sorted(baseline.fields.items())},
            blocks=list(blocks.items()),
        )
        with whole(Path(file)) as draft:
            draft.write_bytes(msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n")

    def read(self, file: str) -> Baseline:
        try:
            with Path(file).open("rb") as opened:
                data = opened.read(_LARGEST + 1)
        except OSError as error:
            raise refusal(f"{file} cannot be read", error) from error
        if len(data) > _LARGEST:
            raise Invalid("against", f"{file} is no baseline: it is longer than {_LARGEST} bytes")
        try:
            header = msgspec.json.decode(data, type=_Header)
            if header.format != FORMAT:
                raise Invalid("against", f"{file} is no baseline")
            if header.version != VERSION:
                raise Invalid(
                    "against",
                    f"{file} is a baseline of version {header.version}, and this program knows "
                    f"{VERSION}; save a new one",
                )
            document = msgspec.json.decode(data, type=_Document)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise Invalid("against", f"{file} is no whole baseline: {error}") from error
        return Baseline(
            program=document.program,
            position=document.position,
            fields=document.fields,
            blocks=[
                Block(first=first, name=name, count=count, digest=digest)
                for first, names in document.blocks
                for name, (count, digest) in names.items()
            ],
        )
