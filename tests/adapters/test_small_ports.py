"""Addresses, codes, clocks, names, erasures and the catalogue: what their ports promise."""

from __future__ import annotations

import errno
import fcntl
import hmac
import json
import os
import resource
import stat
import struct
from hashlib import sha1, sha256
from typing import TYPE_CHECKING, Any, Final

import pytest
from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.hotp import HOTP
from hypothesis import example, given
from hypothesis import strategies as st

from siutindei.adapters.addresses import HashedAddressBook
from siutindei.adapters.codes import HotpCodes
from siutindei.adapters.directory import JsonDirectory
from siutindei.adapters.erasures import ErasureFile
from siutindei.adapters.keys import KeyRing
from siutindei.adapters.locks import locked
from siutindei.adapters.system import RandomIds, SystemClock
from siutindei.app.ports import GrantError, ListedErasure, Unavailable, Unusable
from siutindei.domain.errors import Invalid
from tests.contracts import (
    AddressBookContract,
    ClockContract,
    CodesContract,
    DirectoryContract,
    ErasureListContract,
    IdsContract,
)
from tests.strategies import unhurried
from tests.support import RING, START, CountingIds, VirtualClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from siutindei.app.ports import FeedbackLabel

OTHER: Final = KeyRing(current="other", keys={"other": bytes(32)})


# --- addresses ------------------------------------------------------------------------------------


class TestAddresses(AddressBookContract):
    """Addresses that `email-validator` checks."""

    def make(self) -> HashedAddressBook:
        """Make one."""
        return HashedAddressBook(RING)

    def other(self) -> HashedAddressBook:
        """Make one with another key."""
        return HashedAddressBook(OTHER)

    def test_a_fingerprint_is_pinned(self) -> None:
        """Streams are named by fingerprints: how one is made never changes."""
        expected = hmac.new(bytes(range(32)), b"ann@example.com", sha256).hexdigest()[:32]

        assert expected == self.make().fingerprint("Ann@Example.com")

    @unhurried
    @given(typed=st.text(max_size=300))
    @example("a" * 70 + "@example.com")
    @example("ann@example.com:secret:text")
    def test_any_text_is_an_address_or_refused(self, typed: str) -> None:
        """Whatever somebody types, it is mailed to in ASCII or refused in fixed words."""
        text = None
        try:
            text = self.make().normalise(f"{typed}@example.com")
        except Invalid as refused:
            words = str(refused)
        else:
            words = ""

        assert text is None or (text.isascii() and len(text) <= 254 and text.endswith(".com"))
        assert "example.com" not in words
        assert words.isascii() or not typed.isascii()

    @unhurried
    @given(typed=st.text(max_size=60))
    def test_any_domain_is_one_or_refused(self, typed: str) -> None:
        """Whatever follows the @, nothing but the promised error comes of it."""
        try:
            address = self.make().normalise(f"ann@{typed}.com")
        except Invalid as refused:
            address = f"{refused}"

            assert "ann@" not in address
        assert address.isascii() or not typed.isascii()

    def test_the_key_is_not_shown(self) -> None:
        """What is printed of an address book does not give its key away."""
        assert "HashedAddressBook()" == repr(self.make())


# --- codes ----------------------------------------------------------------------------------------


class TestCodes(CodesContract):
    """Codes by HOTP."""

    def make(self, ring: KeyRing) -> HotpCodes:
        """Make one."""
        return HotpCodes(ring)

    @pytest.mark.parametrize("number", range(200))
    def test_a_code_is_what_rfc_4226_says(self, number: int) -> None:
        """A code is HOTP at counter 0 under HMAC-SHA256 of the challenge's id, step by step."""
        secret = hmac.new(RING.key, f"c{number}".encode(), sha256).digest()
        mac = hmac.new(secret, struct.pack(">Q", 0), sha1).digest()
        (word,) = struct.unpack_from(">I", mac, mac[-1] & 0xF)
        code = self.make(RING).code(key_id="test", challenge=f"c{number}")

        assert f"{(word & 0x7FFF_FFFF) % 1_000_000:06d}" == code

    def test_the_key_is_not_shown(self) -> None:
        """What is printed of the codes does not give their keys away."""
        assert "HotpCodes()" == repr(self.make(RING))
        assert "KeyRing(current='test')" == repr(RING)


@pytest.mark.parametrize(
    ("counter", "code"),
    [
        (0, "755224"),
        (1, "287082"),
        (2, "359152"),
        (3, "969429"),
        (4, "338314"),
        (5, "254676"),
        (6, "287922"),
        (7, "162583"),
        (8, "399871"),
        (9, "520489"),
    ],
)
def test_hotp_is_the_one_of_rfc_4226(counter: int, code: str) -> None:
    """The HOTP that we rely on gives the values of RFC 4226, appendix D."""
    hotp = HOTP(b"12345678901234567890", 6, SHA1())  # noqa: S303  # RFC 4226

    assert code == hotp.generate(counter).decode()


# --- time and names -------------------------------------------------------------------------------


class TestSystemClock(ClockContract):
    """The machine's clock."""

    def make(self) -> SystemClock:
        """Make one."""
        return SystemClock()


class TestVirtualClock(ClockContract):
    """The clock of the tests."""

    def make(self) -> VirtualClock:
        """Make one."""
        return VirtualClock()


class TestRandomIds(IdsContract):
    """Random names."""

    def make(self) -> RandomIds:
        """Make one."""
        return RandomIds()


class TestCountingIds(IdsContract):
    """The names of the tests."""

    def make(self) -> CountingIds:
        """Make one."""
        return CountingIds()


# --- erasures -------------------------------------------------------------------------------------


def users(erasures: ErasureFile) -> list[str]:
    """Say who is listed."""
    return [erasure.user for erasure in erasures.all()]


class TestErasures(ErasureListContract):
    """A file of JSON lines."""

    def make(self, folder: Path) -> ErasureFile:
        """Make one in a folder that may not be there yet."""
        return ErasureFile(folder / "home" / "erasures.jsonl")

    def test_it_is_its_owners_alone(self, tmp_path: Path) -> None:
        """Nobody else on the machine reads who was erased."""
        erasures = self.make(tmp_path)
        erasures.add(ListedErasure("ann"), at=START)

        assert [0o600, 0o600, 0o700] == [
            stat.S_IMODE(path.stat().st_mode)
            for path in (*sorted(erasures.path.parent.iterdir()), erasures.path.parent)
        ]

    def test_a_line_without_its_break_counts(self, tmp_path: Path) -> None:
        """A list that lost its last line break on the way lost nobody, and goes on well."""
        erasures = self.make(tmp_path)
        erasures.add(ListedErasure("ann"), at=START)
        erasures.add(ListedErasure("bob"), at=START)
        erasures.path.write_bytes(erasures.path.read_bytes()[:-1])
        before = users(erasures)
        erasures.add(ListedErasure("eve"), at=START)

        assert ["ann", "bob"] == before
        assert ["ann", "bob", "eve"] == users(erasures)
        assert 3 == erasures.path.read_bytes().count(b"\n")

    def test_a_line_of_an_earlier_version_counts(self, tmp_path: Path) -> None:
        """A list that was begun before addresses were listed is read, and gone on with."""
        erasures = self.make(tmp_path)
        erasures.add(ListedErasure("ann"), at=START)
        erasures.path.write_text('{"user":"ann","at":"2026-01-31T01:30:00+00:00"}\n')
        erasures.add(ListedErasure("ann", ("f1",)), at=START)

        assert [ListedErasure("ann", ("f1",))] == erasures.all()

    @pytest.mark.parametrize("length", range(2, 49))
    def test_a_line_that_was_cut_short_counts_for_nothing(
        self, tmp_path: Path, length: int
    ) -> None:
        """An erasure that could not be written whole is none, and does not hurt the next."""
        erasures = self.make(tmp_path)
        erasures.add(ListedErasure("ann"), at=START)
        whole = erasures.path.read_bytes()
        erasures.path.write_bytes(whole + whole.replace(b"ann", b"bob")[: len(whole) - length])
        before = users(erasures)
        erasures.add(ListedErasure("eve"), at=START)

        assert 48 == len(whole)
        assert ["ann"] == before
        assert ["ann", "eve"] == users(erasures)
        assert whole + whole.replace(b"ann", b"eve") == erasures.path.read_bytes()

    @pytest.mark.parametrize("line", [b"x", b"{}", b'{"user":7,"at":""}', b"\xff", b"[]", b"}"])
    def test_a_line_that_is_none_is_not_passed_over(self, tmp_path: Path, line: bytes) -> None:
        """A damaged list says so: whoever is missing from it would come back with a backup."""
        erasures = self.make(tmp_path)
        erasures.add(ListedErasure("ann"), at=START)
        erasures.path.write_bytes(line + b"\n" + erasures.path.read_bytes())
        with pytest.raises(Unusable, match="has a line that is no erasure; put it back"):
            erasures.all()

    def test_a_list_that_cannot_be_read_or_written_says_so(self, tmp_path: Path) -> None:
        """A folder where the file should be is no list."""
        erasures = self.make(tmp_path)
        erasures.path.mkdir(parents=True)
        with pytest.raises(Unusable, match="cannot be read: Is a directory"):
            erasures.all()
        with pytest.raises(Unavailable, match="Is a directory; nothing was erased"):
            erasures.add(ListedErasure("ann"), at=START)


# --- the catalogue --------------------------------------------------------------------------------


class TestDirectory(DirectoryContract):
    """A JSON file."""

    def make(self, folder: Path) -> JsonDirectory:
        """Make one in a folder that may not be there yet."""
        return JsonDirectory(folder / "home" / "directory.json")

    def add(self, directory: Any, *, id: str, name: str) -> None:
        """Put an organization into it."""
        directory.add_organization(id=id, name=name)

    def label(self, folder: Path, *labels: FeedbackLabel) -> JsonDirectory:
        """Write a file with labels."""
        directory = self.make(folder)
        directory.path.parent.mkdir()
        entries = [
            {
                "id": label.id,
                "name": label.name,
                "name_translations": dict(label.name_translations),
                "display_order": label.display_order,
            }
            for label in labels
        ]
        directory.path.write_text(json.dumps({"labels": entries}), "utf-8")
        return directory

    def facts(self, directory: Any) -> dict[str, Any]:
        """Read the file."""
        document = json.loads(directory.path.read_text("utf-8"))
        return {key: document[key] for key in ("managers", "stars", "feedback")}

    def test_it_is_its_owners_alone(self, directory: JsonDirectory) -> None:
        """Nobody else on the machine reads the file, whatever its mode was."""
        self.add(directory, id="1", name="Kite Club")
        directory.path.chmod(0o644)
        self.add(directory, id="2", name="Kite School")

        assert 0o600 == stat.S_IMODE(directory.path.stat().st_mode)
        assert {"directory.json", "directory.json.lock"} == {
            path.name for path in directory.path.parent.iterdir()
        }

    def test_an_organization_by_hand_does_not_replace_one(self, directory: JsonDirectory) -> None:
        """Adding an organization again keeps its managers, and writes nothing."""
        directory.create(grant_id="g1", id="1", name="Kite Club", manager="ann")
        before = directory.path.stat().st_ino
        self.add(directory, id="1", name="Other")

        assert 1 == directory.managed_by("ann")
        assert before == directory.path.stat().st_ino

    @pytest.mark.parametrize(
        "text",
        [
            b"",
            b"[]",
            b"\xff",
            b'{"organizations": {"1": {"name": 7}}}',
            b'{"organizations": {"1": {"name": "Kite Club", "district": "Sha Tin"}}}',
            b'{"more": 1}',
            b'{"labels": [{"id": "1", "name": "One", "colour": "red"}]}',
        ],
    )
    def test_what_is_no_catalogue_is_left_as_it_is(
        self, directory: JsonDirectory, text: bytes
    ) -> None:
        """A file that we do not know all of is neither read nor written over."""
        directory.path.parent.mkdir()
        directory.path.write_bytes(text)
        with pytest.raises(Unusable, match="is not a catalogue"):
            directory.organization("1")
        with pytest.raises(Unusable, match="is not a catalogue"):
            self.add(directory, id="1", name="Kite Club")
        with pytest.raises(GrantError, match="is not a catalogue") as refused:
            directory.join_managers(grant_id="g1", user="ann")

        assert not refused.value.permanent
        assert text == directory.path.read_bytes()

    def test_what_cannot_be_written_is_worth_another_try(self, directory: JsonDirectory) -> None:
        """A grant that meets a place that cannot be written fails for now, and changes nothing."""
        directory.create(grant_id="g1", id="1", name="Kite Club", manager="ann")
        draft = directory.path.with_name(".directory.json.draft")
        draft.mkdir()
        with pytest.raises(GrantError, match="cannot be written: Is a directory") as refused:
            directory.add_manager(grant_id="g2", id="1", manager="bob")
        with pytest.raises(Unusable, match="cannot be written: Is a directory"):
            self.add(directory, id="2", name="Kite School")
        draft.rmdir()
        draft.write_bytes(b"left by a process that was killed, and longer than nothing" * 99)
        directory.add_manager(grant_id="g2", id="1", manager="bob")

        assert not refused.value.permanent
        assert 1 == directory.managed_by("bob")
        assert directory.organization("2") is None

    def test_a_folder_is_no_catalogue(self, directory: JsonDirectory) -> None:
        """A folder where the file should be cannot be read."""
        directory.path.mkdir(parents=True)
        with pytest.raises(Unusable, match="cannot be read: Is a directory"):
            directory.labels()


# --- locks ----------------------------------------------------------------------------------------


def test_a_lock_is_held_by_one(tmp_path: Path) -> None:
    """Who waits too long for a lock is told to try again; afterwards it is free."""
    path = tmp_path / "new" / "lock"

    def wait() -> bool:
        with locked(path, seconds=0.05):
            return True

    with (
        locked(path),
        pytest.raises(Unavailable, match=r"another process holds .*/lock; try again"),
    ):
        wait()

    assert wait()
    assert (0o600, 0) == (stat.S_IMODE(path.stat().st_mode), path.stat().st_size)


def test_an_error_frees_the_lock(tmp_path: Path) -> None:
    """A block that fails holds nothing, and its error is its own."""
    path = tmp_path / "lock"

    def fail() -> None:
        with locked(path):
            raise OSError("mine")

    with pytest.raises(OSError, match="mine"):
        fail()
    with locked(path, seconds=0):
        pass


def test_a_lock_where_nothing_can_be_written_says_so(tmp_path: Path) -> None:
    """A lock needs a folder."""
    (tmp_path / "file").touch()
    with pytest.raises(Unusable, match="cannot be written"), locked(tmp_path / "file" / "lock"):
        pytest.fail("the block is not entered")


def test_a_file_system_without_locks_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing can be locked nothing is done."""

    def refuse(descriptor: int, operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    with (
        pytest.raises(Unusable, match="lock cannot be locked: No locks available"),
        locked(tmp_path / "lock"),
    ):
        pytest.fail("the block is not entered")


@pytest.fixture
def full_disk() -> Iterator[Callable[[int], None]]:
    """Let no file grow beyond a size from now on, as on a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_worth_another_try(tmp_path: Path, full_disk: Callable[[int], None]) -> None:
    """What the disk has no room for is not done, and can be done when there is room."""
    erasures = ErasureFile(tmp_path / "erasures.jsonl")
    directory = JsonDirectory(tmp_path / "directory.json")
    erasures.add(ListedErasure("ann"), at=START)
    full_disk(80)
    with pytest.raises(Unavailable, match="File too large; nothing was erased"):
        erasures.add(ListedErasure("bob"), at=START)
    with pytest.raises(Unavailable, match="cannot be written: File too large"):
        directory.add_organization(id="1", name="Kite Club")
    with pytest.raises(GrantError, match="cannot be written: File too large") as refused:
        directory.join_managers(grant_id="g1", user="ann")
    full_disk(-1)
    before = users(erasures)
    erasures.add(ListedErasure("eve"), at=START)
    directory.join_managers(grant_id="g1", user="ann")

    assert not refused.value.permanent
    assert ["ann"] == before
    assert ["ann", "eve"] == users(erasures)
    assert '"managers": [\n    "ann"\n  ]' in directory.path.read_text("utf-8")
