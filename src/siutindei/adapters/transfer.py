"""A whole history out of a database and into another: see `ports.Transfer`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import attrs
import msgspec
from eventsourcing.persistence import Notification

from siutindei.adapters import exports, keyfile, projections
from siutindei.adapters.exports import Digest, ErasedOwner, Reader, StoredRow, Summary
from siutindei.adapters.files import refusal, whole
from siutindei.adapters.keys import KeyRing, find_ring, other_ring, put_ring
from siutindei.adapters.store import Lost, SqlStore, mark_copy
from siutindei.app.ports import (
    Conflict,
    Exported,
    Imported,
    Protected,
    Schema,
    Unreadable,
    Unusable,
)
from siutindei.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Iterator

    from siutindei.adapters.keyfile import Keys
    from siutindei.adapters.sql import Cursor
    from siutindei.app.ports import Recorded

_PAGE: Final = 500
#: What a read model cannot be made of: nothing that this program wrote.
_MISFITS: Final = (
    LookupError, ValueError, TypeError, AttributeError, ArithmeticError, AssertionError,
)  # fmt: skip


class _Command(msgspec.Struct):
    command_id: str


@attrs.frozen(kw_only=True)
class FileTransfer:
    """See `ports.Transfer`.

    Attributes:
        opened: opens the store for a while, over its own rings of keys or over others, with what
            has to be done before anybody reads.
        schema: its tables.
        ring_files: where each ring of keys is kept, by name; a ring at AWS has no file.
        rings: reads them.
        erase_again: erases whom the list of erasures names.
        halt_restored: halts every lane of a copy; says whether it was one.
    """

    opened: Callable[[Mapping[str, KeyRing]], AbstractContextManager[SqlStore]]
    schema: Schema
    ring_files: Mapping[str, Path]
    rings: Callable[[], Mapping[str, KeyRing]]
    erase_again: Callable[[SqlStore], Sequence[str]]
    halt_restored: Callable[[SqlStore], bool]

    # --- out --------------------------------------------------------------------------------------

    def export(self, file: str, *, protected: Protected | None = None) -> Exported:
        """Write the history of one moment into a new file, and its keys into another."""
        path = Path(file)
        if protected is not None:
            keyfile.check(protected.passphrase)
            key_path = Path(protected.file)
            if key_path.absolute() == path.absolute() or key_path.exists():
                msg = f"{key_path} is there already; name another file"
                raise Unusable(msg)
        with self.opened({}) as store, whole(path) as draft:
            with store.reading() as cursor:
                with draft.open("wb") as out:
                    summary = exports.write(out, _items(store, cursor))
                keys = None if protected is None else self._keys(cursor)
                counted = _count_keys(cursor)
            if protected is not None and keys is not None:
                sealed = keyfile.seal(keys, export=summary.digest, passphrase=protected.passphrase)
                with whole(Path(protected.file)) as key_draft:
                    key_draft.write_bytes(sealed)
        return Exported(
            events=summary.events,
            erased=summary.erased,
            digest=summary.digest,
            keys=counted[0],
            owners=counted[1],
        )

    def _keys(self, cursor: Cursor) -> Keys:
        cursor.execute("SELECT name, value FROM key_checks WHERE name LIKE '% key'")
        checks = {row["name"]: row["value"] for row in cursor.fetchall()}
        cursor.execute(
            "SELECT key_id, owner, stream, master_id, wrapped FROM vault_keys ORDER BY key_id"
        )
        wrapped = [
            keyfile.WrappedKey(
                row["key_id"], row["owner"], row["stream"], row["master_id"], bytes(row["wrapped"])
            )
            for row in cursor.fetchall()
        ]
        return keyfile.Keys(rings=keyfile.rings_of(self.rings()), checks=checks, wrapped=wrapped)

    # --- in ---------------------------------------------------------------------------------------

    def import_(
        self, file: str, *, protected: Protected | None = None, moved: bool = False
    ) -> Imported:
        """Fill a database without an event with what an export holds."""
        try:
            opened = Path(file).open("rb")  # noqa: SIM115  # it is closed below
        except OSError as error:
            raise refusal(f"{file} cannot be read", error) from error
        with opened:
            if not opened.seekable():
                msg = f"{file} is no ordinary file, and it is read twice; make it one"
                raise Unusable(msg)
            # Everything that can be refused is refused before anything is written.
            expected = _read_through(opened)
            keys = None if protected is None else _unsealed(protected, expected.digest)
            self._check_place(keys)
            rings = {} if keys is None else keys.opened_rings
            opened.seek(0)
            # Without keys of its own the store would make some.
            with self.opened(rings) as store:
                unreadable = _fill(
                    store, opened, expected, keys, partial(self._put_rings, rings), moved=moved
                )
                erased_again = len(self.erase_again(store))
                halted = self.halt_restored(store)
        return Imported(
            events=expected.events,
            erased=expected.erased,
            digest=expected.digest,
            keys=0 if keys is None else len(keys.wrapped),
            unreadable=unreadable,
            erased_again=erased_again,
            halted=halted,
        )

    def _check_place(self, keys: Keys | None) -> None:
        if self.schema.version() and not self.schema.prepare():
            raise Unusable(_NOT_EMPTY)
        for name, ring in ({} if keys is None else keys.opened_rings).items():
            if name not in self.ring_files:
                msg = (
                    f"the {name} would have to be written into a secret; name files for the "
                    "import, and put their text into the secrets afterwards"
                )
                raise Unusable(msg)
            found = find_ring(self.ring_files[name])
            if found is not None and found != ring:
                raise other_ring(self.ring_files[name])

    def _put_rings(self, rings: Mapping[str, KeyRing]) -> None:
        for name, ring in rings.items():
            put_ring(self.ring_files[name], ring)


_NOT_EMPTY: Final = (
    "there are events in the database, and a history is imported into an empty one only; "
    "name another database or another home"
)


# --- reading the database ------------------------------------------------------------------------


def _items(store: SqlStore, cursor: Cursor) -> Iterator[StoredRow | ErasedOwner]:
    """Give what an export holds, in pages: memory stays flat."""
    after = 0
    while rows := store.stored_page(cursor, after, _PAGE):
        for row in rows:
            yield StoredRow(
                position=row["position"],
                stream=row["originator_id"],
                version=row["originator_version"],
                name=row["topic"],
                state=_state(row),
            )
        after = rows[-1]["position"]
    owner = ""
    while True:
        cursor.execute(
            "SELECT owner FROM vault_erased WHERE owner > ? ORDER BY owner LIMIT ?", (owner, _PAGE)
        )
        rows = cursor.fetchall()
        if not rows:
            return
        yield from (ErasedOwner(row["owner"]) for row in rows)
        owner = rows[-1]["owner"]


def _state(row: Any) -> bytes:
    if isinstance(row["state"], str):
        # SQLite keeps what it is given, whatever the column says.
        where = f"{row['originator_id']}/{row['originator_version']}"
        msg = f"what is stored as the event {where} is not bytes; restore a backup"
        raise Unusable(msg)
    return bytes(row["state"])


def _count_keys(cursor: Cursor) -> tuple[int, int]:
    cursor.execute("SELECT count(*) AS n, count(DISTINCT owner) AS owners FROM vault_keys")
    row = cursor.fetchone()
    return int(row["n"]), int(row["owners"])


# --- filling the database ------------------------------------------------------------------------


def _read_through(file: IO[bytes]) -> Summary:
    reader = Reader(file)
    for _ in reader:
        pass
    return reader.found


def _unsealed(protected: Protected, digest: str) -> Keys:
    try:
        data = Path(protected.file).read_bytes()
    except OSError as error:
        raise refusal(f"{protected.file} cannot be read", error) from error
    return keyfile.unseal(data, export=digest, passphrase=protected.passphrase)


def _fill(
    store: SqlStore,
    file: IO[bytes],
    expected: Summary,
    keys: Keys | None,
    put_rings: Callable[[], None],
    *,
    moved: bool,
) -> int:
    """Fill the database in one transaction; give how many events no read model knows of.

    What was written is read back before it is committed: what differs is not there afterwards.
    """
    reader = Reader(file)
    try:
        with store.writing() as cursor:
            cursor.execute("SELECT 1 FROM stored_events LIMIT 1")
            if cursor.fetchone() is not None:
                raise Unusable(_NOT_EMPTY)
            filling = _Filling(store, cursor, reader)
            unreadable = filling.run()
            if keys is not None:
                _put_keys(cursor, keys)
            if not expected == reader.found == _summary(store, cursor):
                msg = "the file changed while it was imported; nothing was imported"
                raise Unusable(msg)
            if expected.events and not moved:
                mark_copy(cursor)
            # The last things of all: they are done whatever becomes of the rest.
            put_rings()
            store.go_on_after(cursor, filling.last)
    except Lost:
        found = store.ask_again(partial(_summary, store), learn="siutindei doctor shows what is in")
        if found != expected:
            raise
    except Conflict as error:
        raise reader.refusal("does not fit what came before it") from error
    except Invalid as error:
        if error.field == exports.FIELD:
            raise
        raise reader.refusal("holds what this database cannot") from error
    return unreadable


def _summary(store: SqlStore, cursor: Cursor) -> Summary:
    digest = Digest()
    for item in _items(store, cursor):
        digest.add(item)
    return digest.summary


class _Filling:
    """Puts what a file holds where it belongs."""

    def __init__(self, store: SqlStore, cursor: Cursor, reader: Reader) -> None:
        self._store = store
        self._cursor = cursor
        self._reader = reader
        self._command = ""
        self._event_ids: list[str] = []
        self._unreadable = 0
        #: The position of the last event.
        self.last = 0

    def run(self) -> int:
        """Put all of it; give how many events cannot be read."""
        last = 0
        for item in self._reader:
            if isinstance(item, ErasedOwner):
                self._cursor.execute("INSERT INTO vault_erased (owner) VALUES (?)", (item.owner,))
                continue
            last = item.position
            stored = Notification(
                id=item.position,
                originator_id=item.stream,
                originator_version=item.version,
                topic=item.name,
                state=item.state,
            )
            self._store.put(self._cursor, stored)
            self._remember(item)
            self._project(stored)
        self._flush()
        self.last = last
        return self._unreadable

    def _project(self, stored: Notification) -> None:
        """Bring the read models up to one event, if this program can read it.

        A command that needs an unreadable event's stream is refused, here as where it comes from.
        """
        try:
            recorded: Recorded = self._store.mapper.to_domain_event(stored)
        except Unreadable:
            self._unreadable += 1
            return
        try:
            projections.project(self._cursor, [recorded])
        except _MISFITS as error:
            raise self._reader.refusal("does not fit its stream") from error

    def _remember(self, row: StoredRow) -> None:
        """Note which command appended an event: the events of one stand together in the log."""
        try:
            command = msgspec.json.decode(row.state, type=_Command).command_id
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            return
        if command != self._command:
            self._flush()
            self._command = command
        self._event_ids.append(f"{row.stream}/{row.version}")

    def _flush(self) -> None:
        if self._event_ids:
            self._cursor.execute(
                "INSERT INTO commands (command_id, event_ids) VALUES (?, ?)",
                (self._command, json.dumps(self._event_ids)),
            )
            self._event_ids = []


def _put_keys(cursor: Cursor, keys: Keys) -> None:
    for key in keys.wrapped:
        cursor.execute(
            "INSERT INTO vault_keys (key_id, owner, stream, master_id, wrapped)"
            " VALUES (?, ?, ?, ?, ?)",
            (key.key_id, key.owner, key.stream, key.master_id, key.wrapped),
        )
    for name, value in keys.checks.items():
        cursor.execute(
            "INSERT INTO key_checks (name, value) VALUES (?, ?)"
            " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
            (name, value),
        )
