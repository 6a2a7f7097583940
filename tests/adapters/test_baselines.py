"""Baselines as files: whole or not there, and refused when they are something else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from siutindei.adapters.baselines import BaselineFiles
from siutindei.app import ports
from siutindei.app.ports import Baseline, Block, Unusable
from siutindei.domain.errors import Invalid
from tests.contracts import has_signatures_of

if TYPE_CHECKING:
    from pathlib import Path

FILES: Final = BaselineFiles()
BASELINE: Final = Baseline(
    program="0.1.0",
    position=1001,
    fields={"a.b.v1": ["x", "at"], "a.c.v1": []},
    blocks=[
        Block(first=1, name="a.b.v1", count=999, digest="0" * 64),
        Block(first=1, name="a.c.v1", count=1, digest="1" * 64),
        Block(first=1001, name="a.b.v1", count=1, digest="2" * 64),
    ],
)


def test_the_port_is_kept() -> None:
    """The files take the arguments that their port names."""
    assert has_signatures_of(BaselineFiles, ports.Baselines)


def test_a_baseline_comes_back(tmp_path: Path) -> None:
    """What was written is read; the file is for its owner and says what it is."""
    file = tmp_path / "baseline.json"
    FILES.refuse_taken(str(file))
    FILES.write(str(file), BASELINE)

    assert BASELINE == FILES.read(str(file))
    assert 0o600 == file.stat().st_mode & 0o777
    document = json.loads(file.read_text("utf-8"))
    assert ("siutindei baseline", 1) == (document["format"], document["version"])


def test_no_file_is_overwritten(tmp_path: Path) -> None:
    """A file that is there stays, and the refusal can come before the work."""
    file = tmp_path / "baseline.json"
    file.write_text("mine")
    for refuse in (FILES.refuse_taken, lambda name: FILES.write(name, BASELINE)):
        with pytest.raises(Unusable, match="is there already; name another file"):
            refuse(str(file))
    with pytest.raises(Unusable, match="there is no folder"):
        FILES.refuse_taken(str(tmp_path / "no" / "baseline.json"))

    assert "mine" == file.read_text()
    assert [file] == list(tmp_path.iterdir())


def test_a_file_that_is_not_there_cannot_be_read(tmp_path: Path) -> None:
    """The refusal names the file."""
    with pytest.raises(Unusable, match=r"none\.json cannot be read"):
        FILES.read(str(tmp_path / "none.json"))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"format": "siutindei export"}, "is no baseline"),
        ({"version": 2}, "of version 2, and this program knows 1"),
        ({"position": -1}, "no whole baseline: .*position"),
        ({"position": None}, "no whole baseline"),
        ({"more": 1}, "no whole baseline"),
        ({"blocks": [[1, {"a.b.v1": [1, "short"]}]]}, "no whole baseline"),
    ],
)
def test_what_is_no_baseline_is_refused(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    """A file of another kind, a newer one and a damaged one are told apart."""
    file = tmp_path / "baseline.json"
    FILES.write(str(file), BASELINE)
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    with pytest.raises(Invalid, match=why) as refused:
        FILES.read(str(file))

    assert "against" == refused.value.field


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xfe", b"[]", b"[" * 100_000, b'{"format":"x"}'])
def test_garbage_is_refused(tmp_path: Path, data: bytes) -> None:
    """Bytes that nobody wrote give the one error that the port promises."""
    file = tmp_path / "baseline.json"
    file.write_bytes(data)
    with pytest.raises(Invalid, match="no whole baseline"):
        FILES.read(str(file))
