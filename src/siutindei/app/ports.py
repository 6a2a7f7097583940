"""Everything that the use cases need from outside, and the errors that each may raise.

PortError
├── Unavailable        not now, nothing was changed, try again (locked, full, unreachable)
├── Unusable           the installation cannot be used as it is (foreign, newer, corrupt, no key)
│   ├── Damaged            the file of the database is none any more
│   └── Unreadable         an event that this version cannot read; another version can
├── Altered            what is there is not what was signed
├── Conflict           somebody else appended to the stream first
├── CommandRepeated    this very command was carried out before
├── MailError
│   ├── MailNotSent        transient: surely not sent, worth another try
│   ├── MailRefused        permanent: surely not sent, never will be
│   ├── AccountHalted      surely not sent, a matter of the account: halts the sender's lane, or all
│   └── MailOutcomeUnknown nobody can tell whether it was sent
└── GrantError             the platform did not take a change
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

import attrs

from siutindei.domain import budget
from siutindei.domain.catalogue import Event

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from contextlib import AbstractContextManager

    from siutindei.domain import (
        challenge,
        grant,
        lane,
        notification,
        report,
        suppression,
        ticket,
    )
    from siutindei.domain.mail import Mail
    from siutindei.domain.personal import Personal

T = TypeVar("T")

# --- errors --------------------------------------------------------------------------------------


class PortError(Exception):
    """Something outside did not work; the text says what, without personal data."""


class Unavailable(PortError):
    """Not now; nothing was changed; try again."""


class Unusable(PortError):
    """The installation cannot be used as it is; the text says what to do."""


class Unreadable(Unusable):
    """An event that this version of the program cannot read; the one that wrote it can."""


class Damaged(Unusable):
    """The file of the database cannot be opened as one, or not be read to its end."""


class Altered(PortError):
    """What is there is not what was signed; the text says what, and where."""


class Conflict(PortError):
    """Somebody else appended to the stream first; load it and decide again."""


class CommandRepeated(PortError):
    """The command was carried out before.

    Attributes:
        event_ids: what it appended then, in order.
    """

    def __init__(self, event_ids: Sequence[str]) -> None:
        super().__init__(f"carried out before: {', '.join(event_ids)}")
        self.event_ids = tuple(event_ids)


class MailError(PortError):
    """The mail port did not take a mail."""


class MailNotSent(MailError):
    """Surely not sent; worth another try."""


class MailRefused(MailError):
    """Surely not sent; the message itself is wrong, and stays so."""


class AccountHalted(MailError):
    """Surely not sent; a matter of the sender's account, not of the message: its lane halts."""


class WholeAccountHalted(AccountHalted):
    """Surely not sent, and nothing else is: every lane halts."""


class MailOutcomeUnknown(MailError):
    """No answer came: it may have been sent or not."""


class GrantError(PortError):
    """The platform did not take a change.

    Attributes:
        permanent: whether another try is pointless.
    """

    def __init__(self, text: str, *, permanent: bool) -> None:
        super().__init__(text)
        self.permanent = permanent


# --- time, chance, addresses ---------------------------------------------------------------------


class Clock(Protocol):
    """The time."""

    def now(self) -> datetime:
        """Give the time, in UTC."""

    def sleep(self, seconds: float) -> None:
        """Wait; a virtual clock moves on instead."""


class Ids(Protocol):
    """New names."""

    def uuid(self) -> str:
        """Make a random UUID in its usual form."""

    def token(self) -> str:
        """Make an opaque name of 128 random bits, in letters, digits, `-` and `_`."""


class AddressBook(Protocol):
    """What makes an address an address, and what it is found by."""

    def normalise(self, text: object, *, field: str = "email") -> str:
        """Check an address and give the form that mail is sent to: ASCII, IDN domains encoded.

        Raises:
            Invalid: names the field.
        """

    def fingerprint(self, address: str) -> str:
        """Give the keyed hash of a normalised address: 32 hex digits, the same for ever.

        Upper and lower case are the same address here, as the identity provider has it.
        """


class Codes(Protocol):
    """Sign-in codes: derived, stored nowhere."""

    @property
    def current_key_id(self) -> str:
        """Name the key that new challenges use."""

    def code(self, *, key_id: str, challenge: str) -> str:
        """Derive the six digits of a challenge.

        Raises:
            Unusable: the ring no longer holds that key.
        """


# --- the store -----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Context:
    """Who acts, and by which request: what a command leaves in every event that it appends.

    Attributes:
        command_id: a command that is repeated under the same id is carried out once.
        actor: who: `user:<id>`, `client:<id>` (somebody unknown at an app client), `admin:<id>`,
            `operator:<name>`, `worker`, `erasures`.
        request_id: the request, as the way in names it.
        correlation_id: what ties together everything that follows from one request.
        causation_id: the event that made this command necessary, if one did.
        aws_request_id: the Lambda invocation.
        sqs_message_id: the message that was worked on.
    """

    command_id: str
    actor: str
    request_id: str
    correlation_id: str
    causation_id: str | None = None
    aws_request_id: str | None = None
    sqs_message_id: str | None = None


@attrs.frozen(kw_only=True)
class Recorded:
    """A stored event: the envelope and what is in it."""

    stream: str
    version: int
    position: int
    name: str
    recorded_at: datetime
    context: Context
    event: Event

    @property
    def id(self) -> str:
        """The event's id."""
        return f"{self.stream}/{self.version}"


@attrs.frozen(kw_only=True)
class Unread:
    """A stored event that this version of the program cannot read.

    Attributes:
        why: what is wrong with it.
        recorded_at: when it was recorded; None when its envelope cannot be read either.
        context: the same of who acted, and by which request.
        texts: those of its fields that are text, as they are stored.
    """

    stream: str
    version: int
    position: int
    name: str
    why: str
    recorded_at: datetime | None = None
    context: Context | None = None
    texts: Mapping[str, str] = attrs.field(factory=dict, repr=False)

    @property
    def id(self) -> str:
        """The event's id."""
        return f"{self.stream}/{self.version}"


#: A stored event, be it readable or not.
Entry = Recorded | Unread


@attrs.frozen(kw_only=True)
class Reading:
    """How this program reads one stored event.

    Attributes:
        id: the event's id.
        position: its place in the log.
        name: its stored name.
        recorded: what is read; None when it cannot be read.
        trouble: why it cannot be, or in what it is read otherwise than it was written, in words
            that are the same for every such event; empty when all is well.
    """

    id: str
    position: int
    name: str
    recorded: Recorded | None
    trouble: str


class Vault(Protocol):
    """Opens what is personal."""

    def open(self, personal: Personal) -> Personal:
        """Give it clear, or erased when its key is destroyed."""

    def open_all(self, value: T) -> T:
        """Give a copy of an attrs object, at any depth, with everything personal opened."""


class Transaction(Vault, Protocol):
    """One all-or-nothing change of the history; everything in it sees the same state."""

    @property
    def views(self) -> Views:
        """The read models, as this transaction sees them."""

    def load(
        self, stream: str, *, newest: int | None = None, until: int | None = None
    ) -> Sequence[Recorded]:
        """Read a stream in order: all of it, or its newest events, up to version `until`."""

    def has(self, stream: str) -> bool:
        """Whether anything happened in a stream, be it readable or not."""

    def append(
        self,
        stream: str,
        version: int,
        events: Sequence[Event],
        *,
        cause: Recorded | None = None,
    ) -> tuple[Recorded, ...]:
        """Append events behind `version`, seal what is personal, and keep the read models up.

        Args:
            stream: where to.
            version: how long the stream is as far as the caller knows.
            events: what happened; personal fields clear or erased.
            cause: the event that they follow from, whose correlation they carry on.

        Raises:
            Conflict: the stream is longer than `version`.
            ValueError: it is shorter: there would be a hole.
        """

    def keys_of(self, owner: str) -> Mapping[str, str]:
        """Give the streams that an owner has a key for, by the key's id."""

    def destroy_keys(self, owner: str, *, forever: bool) -> None:
        """Destroy every key of an owner; `forever` means that they never get a new one.

        A user's id is never used again; an address may be somebody else's tomorrow.
        """

    def is_erased(self, owner: str) -> bool:
        """Whether an owner has no key, and never gets one."""

    def take_copy_mark(self) -> bool:
        """Say whether the database is a copy that nobody has opened yet; from now on it is none."""


class EventStore(Vault, Protocol):
    """The history, with its read models and its vault."""

    def transaction(self, context: Context) -> AbstractContextManager[Transaction]:
        """Begin a change; it is committed at the end of the block, or nothing of it is.

        Raises:
            CommandRepeated: the command id was used before (at the first append, or at the start).
            Conflict: somebody else was first.
            Unavailable: locked, full or out of reach; nothing was changed.
            Unusable: not our database, too new, or corrupt.
        """

    @property
    def views(self) -> Views:
        """The read models."""

    def load(
        self, stream: str, *, newest: int | None = None, until: int | None = None
    ) -> Sequence[Recorded]:
        """Read a stream in order: all of it, or its newest events, up to version `until`."""

    def read(
        self,
        *,
        after: int | datetime = 0,
        until: int | datetime | None = None,
        names: Sequence[str] = (),
        stream: str | None = None,
        holding: str | None = None,
    ) -> Iterator[Recorded]:
        """Read the log in order of position, in flat memory; positions may have holes.

        Args:
            after: what is behind that position, or was recorded after that time.
            until: up to that position, or what was recorded by that time.
            names: stored names; none are all.
            stream: one stream.
            holding: what holds this text, whole, in any field, or stands in a stream whose name
                ends with it.
        """

    def entries(self, stream: str) -> Sequence[Entry]:
        """Read a stream in order, also what of it this version cannot read."""

    def mentions(self, texts: Sequence[str], *, after: int = 0) -> Iterator[Entry]:
        """Give the events behind a position that hold one of some texts, in order of position.

        Each text is looked for as it is stored, and whole: no part of a longer one is found. In
        which field it stands is for the caller to see. It takes flat memory.
        """

    def readings(self, *, until: int) -> Iterator[Reading]:
        """Read the log as `read` does, also what cannot be read, and look whether it is all there.

        Everything that is stored comes, whatever is wrong with it.
        """

    def last_position(self) -> int:
        """Give the position of the newest event, 0 when there is none."""

    @property
    def is_copy(self) -> bool:
        """Whether the database is a copy that a backup made, and that nobody has opened yet."""

    def not_erased(self, owners: Sequence[str]) -> Sequence[str]:
        """Say which of some owners have a key, or might get one."""

    def erased_owners(self) -> Sequence[str]:
        """List the owners who never get a key again, in order."""

    @property
    def owed(self) -> str:
        """What `scrub` has yet to do since keys were destroyed; empty when that is nothing."""

    @property
    def unforgotten(self) -> Sequence[str]:
        """List who was erased and whose mails are yet to be forgotten where mails go."""

    def note_forgotten(self, owner: str) -> None:
        """Remember that somebody's mails were forgotten."""

    def scrub(self) -> None:
        """Make sure that what was destroyed is in no file of the store any more.

        Raises:
            Unavailable: others kept a file open, or there is no room: destroyed, but not yet gone.
        """


# --- the signed log ------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Row:
    """A stored event, each column as it is.

    Attributes:
        is_sound: whether each is of the type that it should be.
    """

    position: int
    version: int
    stream: bytes
    name: bytes
    state: bytes
    is_sound: bool


@attrs.frozen
class Leaf:
    """A leaf of the tree, as the index of leaves has it; the events are counted from 0."""

    index: int
    position: int
    hash: bytes


class EventLog(Protocol):
    """The log as it is stored, and the index of its leaves; memory stays flat."""

    def last_position(self) -> int:
        """Give the position of the newest event, 0 when there is none."""

    def rows(self, *, until: int) -> Iterator[Row]:
        """Give every event up to a position, in order of position, whatever is wrong with it."""

    def row(self, stream: str, version: int) -> Row | None:
        """Find an event; None when there is none."""

    def leaves(self, *, until: int) -> Iterator[Leaf]:
        """Give the leaves with a smaller index, in order."""

    def newest_leaf(self) -> Leaf | None:
        """Give the last leaf of the index; None when it is empty."""

    def leaf_at(self, position: int) -> Leaf | None:
        """Find the leaf of an event; None when it is not in the index yet."""

    def index_more(self, hashed: Callable[[Row], bytes]) -> int:
        """Put the next events into the index, some hundreds at once; say how many.

        Of two who do so at once the second goes on behind the first.
        """


@attrs.frozen(kw_only=True)
class Checkpoint:
    """How far a log had come, and the root over all of it.

    Attributes:
        origin: which log.
        size: how many events it had.
        root: the root of the tree over them.
    """

    origin: str
    size: int
    root: bytes


class Notary(Protocol):
    """Signs checkpoints, and tells those that were signed from others."""

    @property
    def keys(self) -> Sequence[str]:
        """The public keys as lines, the one that signs now first."""

    def sign(self, *, size: int, root: bytes) -> str:
        """Sign a checkpoint; give it as a signed note.

        Raises:
            Unavailable: not now.
            Unusable: there is no key that signs.
        """

    def open(self, note: str) -> tuple[Checkpoint, str]:
        """Check a signed note, and read it; give the key that signed, too.

        Raises:
            Altered: it is none of ours.
        """


@attrs.frozen(kw_only=True)
class Kept:
    """A checkpoint as it is kept outside the database.

    Attributes:
        number: they are counted from 1, without a hole.
        note: the signed note.
        at: when it was put there.
    """

    number: int
    note: str
    at: datetime


class Checkpoints(Protocol):
    """Where checkpoints are kept, outside the database.

    Raises:
        Unavailable: not now.
        Unusable: they cannot be read or written as this is set up.
    """

    def newest(self) -> Kept | None:
        """Give the one with the highest number; None when there is none."""

    def all(self) -> Iterator[Kept]:
        """Give all of them, by number."""

    def put(self, number: int, note: str) -> bool:
        """Keep another one; say no when there is one of that number: somebody else was first."""


# --- baselines -----------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Block:
    """What was read of the events of one stored name in one block of positions.

    Attributes:
        first: the first position of the block; each has a thousand.
        name: the stored name.
        count: how many events.
        digest: SHA-256 over what was read of them.
    """

    first: int
    name: str
    count: int
    digest: str


@attrs.frozen(kw_only=True)
class Baseline:
    """What a program read of a whole history, for another one to be held against.

    Attributes:
        program: the program's version.
        position: the last event's position.
        fields: the fields that the events of each stored name had.
        blocks: what was read, in order of position and name.
    """

    program: str
    position: int
    fields: Mapping[str, Sequence[str]]
    blocks: Sequence[Block]


class Baselines(Protocol):
    """Baselines as files."""

    def refuse_taken(self, file: str) -> None:
        """Say before the work that a file cannot be written after it.

        Raises:
            Unusable: there is a file already, or no such folder.
        """

    def write(self, file: str, baseline: Baseline) -> None:
        """Write a new file; it is complete, or it is not there.

        Raises:
            Unavailable: the disk is full.
            Unusable: there is a file already, or its folder cannot be written.
        """

    def read(self, file: str) -> Baseline:
        """Read a file.

        Raises:
            Invalid: it is no baseline, or one of a newer version.
            Unusable: it cannot be read.
        """


class Schema(Protocol):
    """The tables of the store."""

    @property
    def newest(self) -> int:
        """The version that this program knows."""

    def version(self) -> int:
        """Say which version the database has, 0 when it has no tables yet.

        Raises:
            Unavailable: locked or out of reach.
            Unusable: not our database, too new, or corrupt.
        """

    def migrate(self) -> int:
        """Bring the database up to `newest`, whoever else does so too; give the version before.

        Raises:
            Unavailable: locked, full or out of reach; nothing was changed.
            Unusable: not our database, too new, or not ours to change.
        """

    def damage(self) -> str | None:
        """Look for damage in the files of the database; None when there is none, or no way to see.

        Raises:
            Unavailable: locked or out of reach.
        """

    def prepare(self) -> bool:
        """Make sure that the database can be used; say whether it holds no event yet.

        Raises:
            Unavailable: locked, full or out of reach.
            Unusable: not migrated, not our database, too new, or corrupt.
        """

    def backup(self, file: str) -> int:
        """Copy the database as it is at one moment into a new file; give how many events it has.

        Others go on reading and writing. The file is complete, or it is not there.

        Raises:
            Unavailable: locked, or the disk is full.
            Unusable: there is a file already; no database; or one that other programs copy.
        """


@attrs.frozen(kw_only=True)
class Protected:
    """A file of keys, and the passphrase that it is sealed under."""

    file: str
    passphrase: str = attrs.field(repr=False)


@attrs.frozen(kw_only=True)
class Exported:
    """What an export holds.

    Attributes:
        events: how many events.
        erased: how many owners who were erased.
        digest: SHA-256 over all of it: the same history gives the same.
        keys: how many keys of personal data the database holds, one for each owner and stream.
        owners: how many owners these have.
    """

    events: int
    erased: int
    digest: str
    keys: int
    owners: int


@attrs.frozen(kw_only=True)
class Imported:
    """What was imported.

    Attributes:
        events: how many events.
        erased: how many owners who were erased.
        digest: that of the file and, read back, of the database.
        keys: how many keys of personal data came with it.
        unreadable: how many events this version cannot read; they are kept as they are.
        erased_again: how many people the list of erasures named and the keys had brought back.
        halted: whether every lane was halted, because mails may have been sent since the export.
    """

    events: int
    erased: int
    digest: str
    keys: int
    unreadable: int
    erased_again: int
    halted: bool


class Transfer(Protocol):
    """A whole history as a file, and back."""

    def export(self, file: str, *, protected: Protected | None = None) -> Exported:
        """Write the history of one moment into a new file, and the keys into another if asked.

        Raises:
            Invalid: the passphrase cannot be used.
            Unavailable: the database is out of reach, or the disk is full; there is no file.
            Unusable: there is a file already.
        """

    def import_(
        self, file: str, *, protected: Protected | None = None, moved: bool = False
    ) -> Imported:
        """Fill a database without an event with what a file holds: all of it, or nothing.

        Unless the history `moved`, so that the place that it comes from sends nothing any more,
        every lane starts halted.

        Raises:
            Invalid: the file is no whole and unaltered export (the text names the line), the file
                of keys is not its own, or the passphrase is wrong.
            Unavailable: locked, full or out of reach.
            Unusable: there are events, or other keys.
        """


# --- read models ---------------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class Page(Generic[T]):
    """Some rows, and the cursor of what follows (None at the end)."""

    items: tuple[T, ...]
    next_cursor: str | None


@attrs.frozen(kw_only=True)
class PersonRow:
    """A person, as found by address or id."""

    user: str
    fingerprint: str
    erased: bool


@attrs.frozen(kw_only=True)
class CodeRow:
    """Where a challenge is found."""

    challenge: str
    client: str
    fingerprint: str


Action = Literal["INSERT", "UPDATE"]


@attrs.frozen(kw_only=True)
class AuditRow:
    """Where an event about a ticket is found: the ticket's number, and the version."""

    reference: str
    version: int


Work = Literal["notification", "grant"]


@attrs.frozen(kw_only=True)
class Due:
    """Something that somebody should look at."""

    work: Work
    id: str
    due_at: datetime


@attrs.frozen(kw_only=True)
class Sends:
    """The mails that went, or may have gone.

    Attributes:
        usage: how many, by kind.
        oldest: when the first of them was announced; None when there is none.
    """

    usage: budget.Usage
    oldest: datetime | None


class Views(Protocol):
    """The read models: written in the transaction that appends, disposable, rebuilt from events."""

    def find_ticket(self, reference_or_id: str) -> ticket.Ticket | None:
        """Find a ticket by its number or its UUID, personal fields sealed."""

    def tickets(
        self,
        *,
        status: ticket.Status | None = None,
        ticket_type: ticket.Type | None = None,
        submitter: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[ticket.Ticket]:
        """List tickets, newest first; following the cursor visits every row once.

        Raises:
            Invalid: the cursor is none of ours.
        """

    def audit_logs(
        self,
        *,
        ticket_type: ticket.Type | None = None,
        reference: str | None = None,
        user: str | None = None,
        action: Action | None = None,
        since: datetime | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page[AuditRow]:
        """List what was done to tickets, newest first; following the cursor visits all of it once.

        Raises:
            Invalid: the cursor is none of ours.
        """

    def pending_count(self, ticket_type: ticket.Type | None = None) -> int:
        """Count pending tickets."""

    def pending(self, *, submitter: str, ticket_type: ticket.Type) -> str | None:
        """Give the number of the user's pending ticket of a type."""

    def next_number(self, ticket_type: ticket.Type) -> int:
        """Give the number after the highest that a ticket of this type has."""

    def approved_stars(self, submitter: str) -> int:
        """Add up the stars that a user's approved feedback earned."""

    def find_person(self, user: str) -> PersonRow | None:
        """Find a person by id."""

    def person_by_address(self, fingerprint: str) -> PersonRow | None:
        """Find the person who has an address now; an erased one is not found."""

    def find_code(self, challenge: str) -> CodeRow | None:
        """Find the stream of a challenge."""

    def code_counts(self, *, client: str, fingerprint: str, since: datetime) -> challenge.Counts:
        """Count the challenges that were started after `since`."""

    def find_notification(self, id: str) -> notification.Notification | None:
        """Find a notification, its recipient sealed."""

    def notifications(
        self,
        *,
        status: notification.Status | None = None,
        kind: notification.Kind | None = None,
        ticket: str | None = None,
        user: str | None = None,
    ) -> Sequence[notification.Notification]:
        """List notifications, oldest first."""

    def grants(
        self, *, ticket: str | None = None, status: grant.Status | None = None
    ) -> Sequence[grant.Grant]:
        """List grants, oldest first."""

    def find_grant(self, id: str) -> grant.Grant | None:
        """Find a grant."""

    def find_suppression(self, fingerprint: str) -> suppression.Suppression | None:
        """Give what is known of an address that mails had trouble with."""

    def lanes(self) -> Mapping[lane.Name, lane.Lane]:
        """Say how every lane stands."""

    def suppressions(self) -> Sequence[tuple[str, suppression.Suppression]]:
        """Give all of them, by fingerprint, the oldest first."""

    def due(self, *, at: datetime, limit: int = 100) -> Sequence[Due]:
        """List what is due, longest due first."""

    def next_due(self) -> datetime | None:
        """Say when the next thing is due, past or future."""

    def count_due(self, *, at: datetime) -> int:
        """Count what is due."""

    def find_message(self, message_id: str) -> str | None:
        """Give the notification that the mail port took under an id."""

    def is_heard_of(
        self, kinds: Sequence[notification.Kind], *, after: datetime, until: datetime
    ) -> bool:
        """Whether anything was reported of a mail of these kinds that was called for meanwhile."""

    def sends(self, *, since: datetime) -> Sends:
        """Count the mails that were announced after `since`, and are not known not to be sent."""

    def reports(self, *, status: report.Status) -> Sequence[report.Reports]:
        """List what was reported of mails that nobody knows, or knew, oldest first."""

    def count_reports(self) -> Mapping[report.Status, int]:
        """Count them by status; a status that none has is left out."""

    def accesses(
        self, *, subject: str | None = None, limit: int = 50, cursor: str | None = None
    ) -> Page[str]:
        """List the ids of the events of who looked, newest first; the cursor goes on.

        Raises:
            Invalid: the cursor is none of ours.
        """


@attrs.frozen(kw_only=True)
class Generation:
    """One table of a read model.

    Attributes:
        generation: its number, counted up.
        version: the version of the read model that it holds.
        position: the event up to which it is made.
        events: how many events were read for it.
    """

    generation: int
    version: int
    position: int
    events: int


@attrs.frozen(kw_only=True)
class ReadModel:
    """A read model, and what there is of it.

    Attributes:
        name: what it is called.
        newest: the version that this program makes.
        live: the generation that serves; None when nothing does yet.
        rows: how many rows that one has.
        building: the one that is being made beside it.
        previous: the one that served before, which one can go back to.
    """

    name: str
    newest: int
    live: Generation | None
    rows: int
    building: Generation | None
    previous: Generation | None


@attrs.frozen(kw_only=True)
class Made:
    """A read model that was made from the history.

    Attributes:
        name: what it is called.
        generation: the generation that serves now.
        events: how many events it was made from.
        rows: how many rows it has.
        digest: SHA-256 over all of them.
        compared: the digest of the one that served, at the same position; None when it has another
            version, or when there was none.
        different: how many rows were not the same there.
        keys: which ones, the first few.
        switched: whether it serves now and did not before.
    """

    name: str
    generation: int
    events: int
    rows: int
    digest: str
    compared: str | None
    different: int
    keys: Sequence[str]
    switched: bool


#: Is told how many positions are done, and how many there are.
Progress = Callable[[int, int], None]


class ReadModels(Protocol):
    """Making read models again while the system runs.

    Every method raises NotFound for a name that there is not, and the errors of a store.
    """

    def all(self) -> Sequence[ReadModel]:
        """List them."""

    def rebuild(self, name: str, *, progress: Progress) -> Made:
        """Make one again beside the live one, compare, and switch.

        What an earlier one did is gone on with.

        Raises:
            Unavailable: another process makes it at this moment.
        """

    def revert(self, name: str, *, progress: Progress) -> Made:
        """Bring the one that served before up to now, and switch back to it.

        Raises:
            NotFound: there is none.
        """

    def verify(self, name: str, *, progress: Progress) -> Made:
        """Make one again outside the database, and compare it with the live one."""

    def complete(self, *, progress: Progress) -> Sequence[str]:
        """Make those that are not there yet, and say which.

        Raises:
            Unavailable: another process makes one, and is not done within half a minute.
        """


# --- the outside ---------------------------------------------------------------------------------

Lookup = Literal["accepted", "not_accepted", "cannot_tell"]


@attrs.frozen(kw_only=True)
class Found:
    """What a mail port knows about a notification; `message_id` when it was accepted."""

    answer: Lookup
    message_id: str | None = None


class MailPort(Protocol):
    """Where mails go."""

    @property
    def time_out(self) -> timedelta:
        """How long one call can take at the most: an attempt's deadline is that far away."""

    @property
    def has_feedback(self) -> bool:
        """Whether bounces, complaints and deliveries are reported back."""

    def send(self, mail: Mail) -> str:
        """Hand over one mail, with exactly one try, and give the id that it got.

        Raises:
            MailNotSent: surely not sent; worth another try.
            MailRefused: surely not sent; never will be.
            AccountHalted: surely not sent; a matter of the account or the sender.
            MailOutcomeUnknown: nobody can tell.
        """

    def lookup(self, notification_id: str) -> Found:
        """Say whether a notification was handed over before."""

    def forget(self, notification_id: str) -> None:
        """Destroy what is kept of a mail here; a port that keeps nothing does nothing."""


@attrs.frozen(kw_only=True)
class Nudge:
    """Word that an effect is due; whoever gets it trusts the id alone and asks the ledger.

    Attributes:
        work: a notification or a grant.
        id: its id.
        ticket: the number of the ticket that it is about.
        event_id: the event that made it due.
        request_id: the request that did.
        correlation_id: what ties it to the request that caused it.
    """

    work: Work
    id: str
    ticket: str | None
    event_id: str
    request_id: str
    correlation_id: str

    @property
    def event_type(self) -> str:
        """What the message is called."""
        return f"{self.work}.due"

    @property
    def message(self) -> dict[str, str | None]:
        """The message, as the contract has it."""
        return {
            "event_type": self.event_type,
            "ticket_id": self.ticket,
            f"{self.work}_id": self.id,
            "event_id": self.event_id,
            "request_id": self.request_id,
            "correlation_id": self.correlation_id,
        }


class Nudges(Protocol):
    """Waking whoever works on what is due; no message has to arrive."""

    @property
    def can_send(self) -> bool:
        """Whether anybody is woken at all; without it the worker asks the ledger."""

    def send(self, nudges: Sequence[Nudge]) -> None:
        """Send nudges; some may be sent when it fails.

        Raises:
            Unavailable: not all of them were sent.
            Unusable: they cannot be, as this is set up.
        """


@attrs.frozen(kw_only=True)
class QueuedLetter:
    """A message that lies on the dead-letter queue.

    Attributes:
        body: the message.
        reason: why it was put there; None when the queue moved it.
        was_redriven: whether it was sent again once before.
        handle: what the queue knows it by, for as long as it is ours.
    """

    body: str = attrs.field(repr=False)
    reason: str | None = None
    was_redriven: bool = False
    handle: str = attrs.field(default="", repr=False)


class DeadLetterQueue(Protocol):
    """The messages that came to nothing. Every method may raise Unavailable.

    What lies there is no dead letter yet: dead letters are in the ledger.
    """

    def put(self, body: str, *, reason: str) -> None:
        """Put a message there.

        Raises:
            Unusable: there is no such queue.
        """

    def letters(self, *, limit: int) -> Sequence[QueuedLetter]:
        """Take up some messages; each is ours until it is settled, or for a minute."""

    def redrive(self, letter: QueuedLetter) -> None:
        """Send a message again, and take it away here."""

    def remove(self, letter: QueuedLetter) -> None:
        """Take a message away."""

    def release(self, letters: Sequence[QueuedLetter]) -> None:
        """Let messages lie."""


ReportKind = Literal[
    "accepted", "delivered", "delayed", "bounced", "complained", "rejected", "ignored"
]


@attrs.frozen(kw_only=True)
class Report:
    """What the mail service reports of one mail; nothing in it is personal.

    Attributes:
        kind: what became of the mail; `ignored` is what we have no use for.
        name: what the service calls this kind of report.
        message_id: what the service calls the mail.
        notification_id: the notification that the mail was tagged with; None without that tag.
        is_tagged: whether the mail had tags at all: older reports do not say them, and every mail
            of ours has one with its notification.
        feedback_id: what tells this report from another one; the same when it comes twice.
        at: when it happened; None when that cannot be read.
        main_type: the type of a bounce, a delay or a complaint.
        sub_type: more precisely.
        status: the status code of the receiving server.
    """

    kind: ReportKind
    name: str
    message_id: str = ""
    notification_id: str | None = None
    is_tagged: bool = False
    feedback_id: str = ""
    at: datetime | None = None
    main_type: str = ""
    sub_type: str = ""
    status: str | None = None


class ReportReader(Protocol):
    """Reads what the mail service reports."""

    def read(self, message: Mapping[str, object]) -> Report:
        """Read a report, whatever is missing in it or new.

        Raises:
            Invalid: it is none.
        """


@attrs.frozen(kw_only=True)
class Organization:
    """An organization of the platform's catalogue."""

    id: str
    name: str


@attrs.frozen(kw_only=True)
class FeedbackLabel:
    """A label that feedback can carry."""

    id: str
    name: str
    name_translations: Mapping[str, str] = attrs.field(factory=dict)
    display_order: int = 0


class OrganizationDirectory(Protocol):
    """The platform's catalogue: organizations, labels, published feedback, stars.

    Changes are idempotent by `grant_id`, which holds the ticket's UUID, and may raise GrantError.
    """

    def organization(self, id: str) -> Organization | None:
        """Find an organization."""

    def search(self, text: str, *, limit: int) -> Sequence[Organization]:
        """Find organizations whose name contains a text; an empty text finds none."""

    def labels(self) -> Sequence[FeedbackLabel]:
        """List the labels, in display order."""

    def managed_by(self, user: str) -> int:
        """Count the organizations that a user manages."""

    def create(self, *, grant_id: str, id: str, name: str, manager: str) -> None:
        """Make an organization."""

    def add_manager(self, *, grant_id: str, id: str, manager: str) -> None:
        """Make a user manager of an organization."""

    def publish_feedback(self, *, grant_id: str, id: str, feedback: Mapping[str, object]) -> None:
        """Publish feedback on an organization."""

    def set_stars(self, *, grant_id: str, user: str, stars: int) -> None:
        """Set the number of stars that a user has."""


@attrs.frozen
class ListedErasure:
    """Somebody who was erased.

    Attributes:
        user: their id.
        fingerprints: of the addresses that were theirs then, and nobody else's.
    """

    user: str
    fingerprints: tuple[str, ...] = ()


class ErasureList(Protocol):
    """The erasures, listed outside the database: a restored backup applies them again."""

    def add(self, erasure: ListedErasure, *, at: datetime) -> None:
        """Write one down for good.

        Raises:
            Unavailable: it could not be written, now.
            Unusable: its folder cannot be written.
        """

    def all(self) -> Sequence[ListedErasure]:
        """List who was erased, each once."""


class ReplayStore(Protocol):
    """Read models that a replay fills, in a temporary database."""

    @property
    def views(self) -> Views:
        """The read models as queries; those that are not filled are empty."""

    @property
    def categories(self) -> frozenset[str]:
        """The categories of streams that they are made from."""

    def project_all(self, events: Sequence[Recorded]) -> None:
        """Bring the read models up to some events, the next of the log."""

    def digest(self) -> str:
        """Give the SHA-256 of every row, in a fixed order."""

    def rows(self, name: str) -> Iterator[Mapping[str, Any]]:
        """Give the rows of one in the order of its keys; a document as the state that it holds."""


class IdentityProvider(Protocol):
    """The users' groups."""

    def join_managers(self, *, grant_id: str, user: str) -> None:
        """Put a user into the managers' group.

        Raises:
            GrantError: the provider did not take it.
        """


class LastSignIns(Protocol):
    """When users signed in last, as the identity provider keeps it."""

    def note(self, user: str, *, at: datetime) -> None:
        """Remember that a user signed in; by the name that the provider knows them by.

        Raises:
            Unavailable: the provider did not answer, or not now.
            Unusable: it does not take it.
        """


# --- a history that is enacted again --------------------------------------------------------------

Ending = Literal["accepted", "transient", "permanent", "account", "whole", "unknown", "none"]


@attrs.frozen(kw_only=True)
class Said:
    """How one call to the mail port ends.

    Attributes:
        ending: taken; failed for now, for good, or for the account's or the whole account's sake;
            without an answer; or never, because the process died.
        text: the id that the mail got, or the error.
        takes: how long the call lasts.
        time_out: how long it may last.
        found: what is known of it when it is looked up later.
    """

    ending: Ending = "accepted"
    text: str = ""
    takes: timedelta = timedelta(0)
    time_out: timedelta = timedelta(seconds=5)
    found: Found = attrs.field(factory=lambda: Found(answer="cannot_tell"))


class Died(BaseException):
    """The process is no more: nothing that happened since the last commit was recorded."""


class StageClock(Clock, Protocol):
    """A clock that shows what it is told."""

    def set(self, at: datetime) -> None:
        """Show another time, earlier or later."""


class StageIds(Ids, Protocol):
    """Names, of which the next one can be given."""

    def give(self, name: str | None) -> None:
        """Let the next name be this one; None for any."""


class StageMail(MailPort, Protocol):
    """A mail port that sends nothing, and answers as it is told."""

    def expect(self, call: Said, *, known: Found) -> None:
        """Say how the next call ends, and what is known of the last one."""


# --- the account at SES ---------------------------------------------------------------------------


@attrs.frozen(kw_only=True)
class SesAccount:
    """What SES says of the account.

    Attributes:
        sending_enabled: whether it sends at all.
        production: whether it is out of the sandbox, in which it mails to verified addresses only.
        enforcement: what AWS thinks of it: HEALTHY, PROBATION or SHUTDOWN.
        quota: recipients in a rolling day; negative for any number.
        sent: how many of those are used.
        suppressed: why an address gets on the account's suppression list: BOUNCE, COMPLAINT.
    """

    sending_enabled: bool
    production: bool
    enforcement: str
    quota: float
    sent: float
    suppressed: frozenset[str]


@attrs.frozen(kw_only=True)
class SesIdentity:
    """What SES says of a domain that we send from.

    Attributes:
        verified: whether it may send.
        dkim: how far its signature is: SUCCESS, PENDING, NOT_STARTED, ...
        dkim_signs: whether mails are signed.
        dkim_records: the names and values that DNS has to have for it (CNAME).
        mail_from: the domain that bounces go to; None for one of SES's.
        mail_from_status: how far that is: SUCCESS, PENDING, FAILED, ...
    """

    verified: bool
    dkim: str
    dkim_signs: bool
    dkim_records: tuple[tuple[str, str], ...] = ()
    mail_from: str | None = None
    mail_from_status: str = ""


@attrs.frozen(kw_only=True)
class SesDestination:
    """Where a configuration set publishes what becomes of its mails.

    Attributes:
        name: its name.
        enabled: whether it does.
        events: what it publishes: BOUNCE, COMPLAINT, ...
        topic: the ARN of the SNS topic that it goes to; None for anything else.
    """

    name: str
    enabled: bool
    events: frozenset[str]
    topic: str | None


@attrs.frozen(kw_only=True)
class SesConfigurationSet:
    """What SES says of a configuration set.

    Attributes:
        sending_enabled: whether mails are sent under it.
        max_delivery: for how long SES tries to deliver a mail, in seconds; None for its default.
        suppressed: as for the account; None when it is as the account has it.
        destinations: where it publishes what happens.
    """

    sending_enabled: bool
    max_delivery: int | None
    suppressed: frozenset[str] | None
    destinations: tuple[SesDestination, ...]


class SesSettings(Protocol):
    """How SES is set up.

    Each method is one or two requests, of which SES takes one a second; it waits for its turn.

    Raises:
        Unavailable: SES cannot be reached, or is asked too often.
        Unusable: there are no credentials, or they do not allow it, or SES refuses it for good.
    """

    def account(self) -> SesAccount:
        """Look at the account."""

    def identity(self, domain: str) -> SesIdentity | None:
        """Look at a domain; None when SES does not know it."""

    def configuration_set(self, name: str) -> SesConfigurationSet | None:
        """Look at a configuration set; None when there is none."""

    def suppress(self, reasons: Collection[str]) -> None:
        """Say why an address gets on the account's suppression list."""

    def create_identity(self, domain: str) -> SesIdentity:
        """Begin to verify a domain: SES signs for it once DNS has its records."""

    def set_mail_from(self, domain: str, mail_from: str) -> None:
        """Say which domain bounces go to."""

    def create_configuration_set(self, name: str, *, max_delivery: int | None) -> None:
        """Make a configuration set."""

    def limit_delivery(self, name: str, *, max_delivery: int) -> None:
        """Say for how long SES tries to deliver; the set's other options stay."""

    def publish(self, name: str, destination: SesDestination, *, is_new: bool) -> None:
        """Make or replace an event destination of a configuration set."""


SuppressionReason = Literal["BOUNCE", "COMPLAINT"]


@attrs.frozen(kw_only=True)
class SesSuppression:
    """An address that SES does not mail to.

    Attributes:
        address: the address.
        reason: why it is on the list.
        since: when it was put there, or last changed.
        message_id: the mail that brought it there, when SES knows and says it.
    """

    address: str = attrs.field(repr=False)
    reason: SuppressionReason
    since: datetime
    message_id: str | None = None


class SesSuppressions(Protocol):
    """The list of addresses that the account at SES does not mail to; paced as `SesSettings` is.

    Raises:
        Unavailable: as for `SesSettings`.
        Unusable: as for `SesSettings`; in the sandbox, also for every `put`.
    """

    def list(self) -> Iterator[SesSuppression]:
        """Give every address, asked for page by page."""

    def get(self, address: str) -> SesSuppression | None:
        """Look for one address; None when it is not on the list."""

    def put(self, address: str, reason: SuppressionReason) -> None:
        """Put an address on the list; one that is there gets the new reason."""

    def delete(self, address: str) -> None:
        """Take an address from the list; one that is not there is left alone."""
