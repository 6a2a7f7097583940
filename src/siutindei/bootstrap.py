"""The only module that chooses adapters; a part that nobody asks for is not built.

Imports stand where they are used: a process that replays the history must not have a mail adapter
among the modules that it has loaded.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from siutindei.adapters.keys import KeyRing
    from siutindei.adapters.store import SqlStore
    from siutindei.app.dead_letters import DeadLetters
    from siutindei.app.delivery import Delivery
    from siutindei.app.history import History
    from siutindei.app.people import People
    from siutindei.app.ports import (
        AddressBook,
        Clock,
        Codes,
        Ids,
        MailPort,
        Progress,
        ReadModels,
        Schema,
        Transfer,
    )
    from siutindei.app.sign_in import SignIn
    from siutindei.app.tickets import Tickets
    from siutindei.settings import Settings


def build(settings: Settings, **seams: Any) -> Services:
    """Wire the application for an installation.

    Args:
        settings: which installation.
        **seams: parts to use instead of the production ones, by the name of the attribute of
            `Services`: `clock`, `ids`, `mail`, `store`, ...

    Raises:
        Unusable: the installation cannot be used as it is (when a part is built that needs it).
        Unavailable: not now.
    """
    services = Services(settings)
    for name, part in seams.items():
        if not hasattr(Services, name):
            msg = f"there is no part called {name}"
            raise TypeError(msg)
        services.__dict__[name] = part
    return services


class Services:
    """The application: use cases and the adapters under them, each built when it is asked for."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    # --- use cases --------------------------------------------------------------------------------

    @cached_property
    def sign_in(self) -> SignIn:
        """Signing in."""
        from siutindei.app.sign_in import SignIn

        return SignIn(
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            addresses=self.addresses,
            codes=self.codes,
            delivery=self.delivery,
            limits=self.settings.limits,
        )

    @cached_property
    def tickets(self) -> Tickets:
        """Tickets."""
        from siutindei.app.tickets import Tickets

        return Tickets(
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            addresses=self.addresses,
            directory=self.directory,
            stars=self.settings.count("SIUTINDEI_FEEDBACK_STARS"),
        )

    @cached_property
    def delivery(self) -> Delivery:
        """Mails and grants."""
        from siutindei.app.delivery import Delivery

        return Delivery(
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            mail=self.mail,
            codes=self.codes,
            directory=self.directory,
            identity=self.identity,
            senders=self.settings.senders,
            settle=self.settings.seconds("SIUTINDEI_SETTLE"),
        )

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """Dead letters."""
        from siutindei.app.dead_letters import DeadLetters

        return DeadLetters(store=self.store, clock=self.clock, addresses=self.addresses)

    @cached_property
    def people(self) -> People:
        """People."""
        from siutindei.app.people import People

        return People(
            store=self.store,
            clock=self.clock,
            addresses=self.addresses,
            mail=self.mail,
            erasures=self.erasures,
        )

    @cached_property
    def history(self) -> History:
        """The history; no mail adapter is under it."""
        from siutindei.adapters.projections import NAMES
        from siutindei.adapters.sqlite import MEMORY, SqliteStore
        from siutindei.app.history import History

        return History(
            store=self.store,
            clock=self.clock,
            memory=lambda: SqliteStore(MEMORY, master=self.vault_keys, clock=self.clock),
            projections=NAMES,
        )

    @cached_property
    def read_models(self) -> ReadModels:
        """Making the read models again."""
        return self._read_models(self.store)

    def complete_read_models(self, *, progress: Progress) -> Sequence[str]:
        """Make the read models that a database lacks, before anybody uses it, without a key."""
        from siutindei.adapters.keys import KeyRing

        given = self.__dict__.get("store")
        store = given or self._opened_store(KeyRing(current="", keys={}))
        try:
            return self._read_models(store).complete(progress=progress)
        finally:
            if given is None:
                store.close()

    def _read_models(self, store: SqlStore) -> ReadModels:
        from siutindei.adapters.read_models import SqlReadModels
        from siutindei.adapters.sqlite import scratch

        return SqlReadModels(store, scratch)

    @cached_property
    def transfer(self) -> Transfer:
        """The whole history, out and in."""
        from siutindei.adapters.keyfile import CODE_KEYS, INDEX_KEY, VAULT_KEYS
        from siutindei.adapters.transfer import FileTransfer

        return FileTransfer(
            opened=lambda: self.store,
            schema=self.schema,
            ring_files={
                CODE_KEYS: self.settings.file("SIUTINDEI_CODE_KEYS"),
                VAULT_KEYS: self.settings.file("SIUTINDEI_VAULT_KEYS"),
                INDEX_KEY: self.settings.file("SIUTINDEI_INDEX_KEY"),
            },
            rings=lambda: {
                CODE_KEYS: self.code_keys,
                VAULT_KEYS: self.vault_keys,
                INDEX_KEY: self.index_key,
            },
            erase_again=self.erase_again,
        )

    # --- adapters ---------------------------------------------------------------------------------

    @cached_property
    def clock(self) -> Clock:
        """The machine's clock."""
        from siutindei.adapters.system import SystemClock

        return SystemClock()

    @cached_property
    def ids(self) -> Ids:
        """Random names."""
        from siutindei.adapters.system import RandomIds

        return RandomIds()

    @cached_property
    def addresses(self) -> AddressBook:
        """Addresses and their fingerprints."""
        from siutindei.adapters.addresses import HashedAddressBook

        return HashedAddressBook(self.index_key)

    @cached_property
    def codes(self) -> Codes:
        """Sign-in codes."""
        from siutindei.adapters.codes import HotpCodes

        return HotpCodes(self.code_keys)

    @cached_property
    def mail(self) -> MailPort:
        """Where mails go."""
        from siutindei.adapters.maildir import Maildir

        return Maildir(self.settings.maildir)

    @cached_property
    def directory(self) -> Any:
        """The platform's catalogue and groups."""
        from siutindei.adapters.directory import JsonDirectory

        return JsonDirectory(self.settings.file("SIUTINDEI_DIRECTORY"))

    @cached_property
    def identity(self) -> Any:
        """The users' groups: in the same file as the catalogue."""
        return self.directory

    @cached_property
    def erasures(self) -> Any:
        """The list of erasures, beside the database."""
        from siutindei.adapters.erasures import ErasureFile

        return ErasureFile(self.settings.home / "erasures.jsonl")

    @cached_property
    def database_password(self) -> Callable[[], str] | None:
        """What is asked for a password at every connection to PostgreSQL, such as an IAM token."""
        return None

    @cached_property
    def schema(self) -> Schema:
        """The tables of the store."""
        url = self.settings.postgres_url
        if url is None:
            from siutindei.adapters.sqlite import SqliteSchema

            return SqliteSchema(self.settings.sqlite_path)
        schema: Schema = _postgres().PostgresSchema(url, password=self.database_password)
        return schema

    @property
    def roles(self) -> str:
        """The SQL of PostgreSQL's roles with the least rights."""
        sql: str = _postgres().roles()
        return sql

    @cached_property
    def store(self) -> SqlStore:
        """The history, with its read models and its vault."""
        store = self._opened_store(self.vault_keys)
        # All keys are made before the first event: a key that is missing later is a loss.
        # (Which code key it was is not remembered: old ones may go, their codes have expired.)
        _ = self.code_keys
        try:
            store.check_ring("vault key", self.vault_keys, rotates=True)
            store.check_ring("index key", self.index_key, rotates=False)
            if self.settings.postgres_url is None:
                # A file gets what is new in this version when it is first needed.
                self._read_models(store).complete(progress=lambda *_: None)
            # Before anybody reads: a backup that was restored may have brought keys back.
            self.erase_again(store)
        except BaseException:
            store.close()
            raise
        return store

    def erase_again(self, store: SqlStore) -> Sequence[str]:
        """Erase whom the list of erasures names and who has keys all the same."""
        from siutindei.app.erasing import erase_again

        return erase_again(store, self.erasures, clock=self.clock, ids=self.ids)

    def _opened_store(self, master: KeyRing) -> SqlStore:
        url = self.settings.postgres_url
        if url is None:
            from siutindei.adapters.sqlite import SqliteStore

            return SqliteStore(self.settings.sqlite_path, master=master, clock=self.clock)
        store: SqlStore = _postgres().PostgresStore(
            url, master=master, clock=self.clock, password=self.database_password
        )
        return store

    # --- keys -------------------------------------------------------------------------------------

    @cached_property
    def is_fresh(self) -> bool:
        """Whether the database (made here when there is none) holds no event yet."""
        return self.schema.prepare()

    @cached_property
    def code_keys(self) -> KeyRing:
        """The ring that codes are derived from."""
        return self._ring(self.settings.file("SIUTINDEI_CODE_KEYS"))

    @cached_property
    def vault_keys(self) -> KeyRing:
        """The ring of master keys."""
        return self._ring(self.settings.file("SIUTINDEI_VAULT_KEYS"))

    @cached_property
    def index_key(self) -> KeyRing:
        """The key of the fingerprints."""
        return self._ring(self.settings.file("SIUTINDEI_INDEX_KEY"))

    def _ring(self, path: Path) -> KeyRing:
        from siutindei.adapters.keys import open_ring

        return open_ring(path, may_make=self.is_fresh)


def _postgres() -> Any:
    """Load the PostgreSQL adapter; what it needs is an extra of this package."""
    try:
        from siutindei.adapters import postgres
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in {"psycopg", "psycopg_pool"}:
            raise
        from siutindei.app.ports import Unusable

        msg = "PostgreSQL needs more packages; install them: pip install 'siutindei[postgres]'"
        raise Unusable(msg) from error
    return postgres
