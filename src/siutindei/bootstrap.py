"""The only module that chooses adapters; a part that nobody asks for is not built.

Imports stand where they are used: a process that replays the history must not have a mail adapter
among the modules that it has loaded.
"""

from __future__ import annotations

from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from siutindei.adapters.keys import KeyRing
    from siutindei.adapters.store import SqlStore
    from siutindei.app.accesses import Accesses
    from siutindei.app.audit_log import AuditLog
    from siutindei.app.budgeting import Budget
    from siutindei.app.checking import Checking
    from siutindei.app.claims import Claims
    from siutindei.app.dead_letters import DeadLetters
    from siutindei.app.delivery import Delivery
    from siutindei.app.dossier import Dossiers, Proofs
    from siutindei.app.explaining import Explain
    from siutindei.app.feedback import Feedback
    from siutindei.app.history import History
    from siutindei.app.lanes import Lanes
    from siutindei.app.people import People
    from siutindei.app.ports import (
        AddressBook,
        Checkpoints,
        Clock,
        Codes,
        DeadLetterQueue,
        Ids,
        LastSignIns,
        MailPort,
        Notary,
        Nudges,
        Progress,
        ReadModels,
        Schema,
        SesSettings,
        SesSuppressions,
        Transfer,
    )
    from siutindei.app.processing import Processing
    from siutindei.app.proof import Proof
    from siutindei.app.reenacting import Stage
    from siutindei.app.rules import Rules
    from siutindei.app.scripts import Scripts
    from siutindei.app.sending import Need, Sending
    from siutindei.app.sign_in import SignIn
    from siutindei.app.suppressions import Consequences, Suppressions
    from siutindei.app.sweep import Sweep
    from siutindei.app.tickets import Tickets
    from siutindei.app.what_if import WhatIf
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


def preload(settings: Settings) -> None:
    """Load the modules of a sign-in, and make nothing: Lambda starts a container with more power.

    A package that is missing is missed where it is used.
    """
    names = ["app.sign_in", "adapters.addresses", "adapters.codes", "adapters.keys"]
    names.append("adapters.sqlite" if settings.postgres_url is None else "adapters.postgres")
    modules = ["structlog", *(f"siutindei.{name}" for name in names)]
    at_aws = ("ses", "iam", "secretsmanager:", "kms:")
    if any(value.text.startswith(at_aws) for value in settings.values.values()):
        modules += ["boto3", "botocore.config", "siutindei.adapters.secrets"]
    for module in modules:
        with suppress(ImportError):
            import_module(module)


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
            limits=self.rules.sign_in,
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
            nudges=self.nudges,
            stars=self.settings.count("SIUTINDEI_FEEDBACK_STARS"),
        )

    @cached_property
    def audit_log(self) -> AuditLog:
        """What was done to tickets."""
        from siutindei.app.audit_log import AuditLog

        return AuditLog(store=self.store)

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
            settle=self.rules.settle,
            addresses=self.addresses,
            limits=self.rules.budget,
            consequences=self.consequences,
            retries=self.rules.retries,
        )

    @cached_property
    def budget(self) -> Budget:
        """The mails of the rolling day."""
        from siutindei.app.budgeting import Budget

        return Budget(
            store=self.store,
            clock=self.clock,
            limits=self.settings.budget_limits,
            ses=self.ses_settings if self.settings.is_ses else None,
        )

    @cached_property
    def dead_letters(self) -> DeadLetters:
        """Dead letters."""
        from siutindei.app.dead_letters import DeadLetters

        return DeadLetters(
            store=self.store,
            clock=self.clock,
            addresses=self.addresses,
            nudges=self.nudges,
            letters=self.dead_letter_queue,
            topic=self.settings.text("MANAGER_REQUEST_TOPIC_ARN"),
            support=self.settings.senders.support,
        )

    @cached_property
    def processing(self) -> Processing:
        """What messages on the queue lead to."""
        from siutindei.app.processing import Processing

        return Processing(
            store=self.store,
            delivery=self.delivery,
            tickets=self.tickets,
            letters=self.dead_letter_queue,
            topic=self.settings.text("MANAGER_REQUEST_TOPIC_ARN"),
        )

    @cached_property
    def feedback(self) -> Feedback:
        """What the mail service reports."""
        from siutindei.adapters.ses_events import SesEvents
        from siutindei.app.feedback import Feedback

        return Feedback(
            store=self.store,
            clock=self.clock,
            reader=SesEvents(),
            consequences=self.consequences,
        )

    @cached_property
    def consequences(self) -> Consequences:
        """What follows for an address from what is reported."""
        from siutindei.app.suppressions import Consequences

        return Consequences(
            addresses=self.addresses,
            senders=self.settings.senders,
            limit=self.rules.soft_bounces,
            terms=self.rules.terms,
        )

    @cached_property
    def suppressions(self) -> Suppressions:
        """Which addresses are not mailed to."""
        from siutindei.app.suppressions import Suppressions

        return Suppressions(
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            addresses=self.addresses,
            accesses=self.accesses,
            ses=lambda: self.ses_suppressions,
        )

    @cached_property
    def lanes(self) -> Lanes:
        """Whose mail goes, and whose is halted."""
        from siutindei.app.lanes import Lanes

        return Lanes(
            store=self.store,
            clock=self.clock,
            addresses=self.addresses,
            forgotten=self._forgotten_suppressions,
        )

    def _forgotten_suppressions(self) -> int:
        """Count the addresses that SES has on its list and that are not suppressed here."""
        if not self.settings.is_ses:
            return 0
        return sum(drift.where == "only_at_ses" for drift in self.suppressions.drift())

    @cached_property
    def sweep(self) -> Sweep:
        """Finding what the queues lost."""
        from siutindei.app.sweep import Sweep

        return Sweep(
            store=self.store,
            clock=self.clock,
            ids=self.ids,
            delivery=self.delivery,
            nudges=self.nudges,
            letters=self.dead_letter_queue,
            topic=self.settings.text("MANAGER_REQUEST_TOPIC_ARN"),
            proof=self._proof(self.store, ()),
        )

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
            accesses=self.accesses,
        )

    @cached_property
    def accesses(self) -> Accesses:
        """Who looked at what is personal."""
        from siutindei.app.accesses import Accesses

        return Accesses(store=self.store, clock=self.clock, ids=self.ids, addresses=self.addresses)

    @cached_property
    def dossiers(self) -> Dossiers:
        """The dossiers of tickets; no mail adapter is under them."""
        from siutindei.app.dossier import Dossiers

        self._require_history()
        return Dossiers(
            store=self.store,
            addresses=self.addresses,
            accesses=self.accesses,
            explain=self.explain,
            support=self.settings.senders.support,
            proofs=self.proofs,
        )

    @cached_property
    def proofs(self) -> Proofs:
        """What proves that the record is intact."""
        return self._proof(self.store, ())

    @cached_property
    def sending(self) -> Sending:
        """The account at SES."""
        from siutindei.app.sending import Sending

        return Sending(
            ses=self.ses_settings,
            senders=self.settings.senders,
            region=self.settings.region,
            code_ttl=self.settings.limits.ttl,
        )

    @cached_property
    def history(self) -> History:
        """The history; no mail adapter is under it."""
        from siutindei.adapters.projections import NAMES
        from siutindei.adapters.replayed import replayed
        from siutindei.app.history import History

        self._require_history()
        return History(
            store=self.store,
            clock=self.clock,
            scratch=replayed,
            projections=NAMES,
            limits=self.settings.budget_limits,
        )

    def _require_history(self) -> None:
        """Refuse to ask a history that is not there: a home that is mistyped is not made."""
        if "store" in self.__dict__ or self.settings.postgres_url is not None:
            return
        path = Path(self.settings.sqlite_path)
        if not path.exists():
            from siutindei.app.ports import Unusable

            msg = f"there is no history at {path}; name its home with --home or SIUTINDEI_HOME"
            raise Unusable(msg)

    @contextmanager
    def checking(self) -> Iterator[Checking]:
        """Checking what is stored; nothing is made or changed for it, and no key is needed."""
        from importlib.metadata import version

        from siutindei.adapters.baselines import BaselineFiles
        from siutindei.adapters.keys import KeyRing
        from siutindei.app.checking import Checking

        # No read model is made either: that would end at the first event that cannot be read.
        self._require_history()
        _ = self.is_fresh
        given = self.__dict__.get("store")
        store = given or self._opened_store(KeyRing(current="", keys={}))
        try:
            yield Checking(
                store=store,
                clock=self.clock,
                baselines=BaselineFiles(),
                program=version("siutindei"),
            )
        finally:
            if given is None:
                store.close()

    @contextmanager
    def proving(self, keys: Sequence[str] = ()) -> Iterator[Proof]:
        """The signed log; no key of what is personal is needed, and no read model is made.

        Args:
            keys: the lines of public keys to check signatures with; none are the installation's.
        """
        from siutindei.adapters.keys import KeyRing

        if self.checkpoints.newest() is None:
            # Where there is one, a database that is gone is a finding.
            self._require_history()
        _ = self.is_fresh
        given = self.__dict__.get("store")
        store = given or self._opened_store(KeyRing(current="", keys={}))
        try:
            yield self._proof(store, keys)
        finally:
            if given is None:
                store.close()

    def _proof(self, store: SqlStore, keys: Sequence[str]) -> Proof:
        from siutindei.adapters.leaves import SqlEventLog
        from siutindei.app.proof import Proof

        def notary() -> Notary:
            return self._public_notary(tuple(keys)) if keys else self.notary

        return Proof(
            store=store,
            log=SqlEventLog(store),
            checkpoints=self.checkpoints,
            notary=notary,
            clock=self.clock,
        )

    def _public_notary(self, keys: Sequence[str]) -> Notary:
        from siutindei.adapters.signing import notary_of_keys

        notary: Notary = notary_of_keys(keys)
        return notary

    @cached_property
    def explain(self) -> Explain:
        """Why something happened; no mail adapter is under it."""
        from siutindei.app.explaining import Explain

        self._require_history()
        return Explain(store=self.store)

    @cached_property
    def claims(self) -> Claims:
        """What was promised to SES; no mail adapter is under it."""
        from siutindei.app.claims import Claims

        self._require_history()
        settings = self.settings
        return Claims(
            store=self.store,
            clock=self.clock,
            addresses=self.addresses,
            senders=settings.senders,
            region=settings.region,
            quota=settings.budget_limits.quota,
            account=self._needs_of_ses if settings.is_ses else None,
        )

    def _needs_of_ses(self) -> Sequence[Need]:
        return self.sending.status()

    def refuse_taken(self, file: Path) -> None:
        """Say before the work that a file cannot be written after it.

        Raises:
            Unusable: there is a file already, or no such folder.
        """
        from siutindei.adapters.files import refuse_taken

        refuse_taken(file)

    def write(self, file: Path, text: str) -> None:
        """Write a new file, for its owner only: whole, or not at all.

        Raises:
            Unusable: there is a file already, or its folder cannot be written.
            Unavailable: the disk is full.
        """
        from siutindei.adapters.files import whole

        with whole(file) as draft:
            draft.write_text(text, encoding="utf-8")

    @cached_property
    def what_if(self) -> WhatIf:
        """The history under changed rules; no mail adapter that sends is under it."""
        from siutindei.app.what_if import WhatIf

        self._require_history()
        return WhatIf(store=self.store, clock=self.clock, rules=self.rules, stage=self._stage)

    @contextmanager
    def _stage(self, rules: Rules, scripts: Scripts) -> Iterator[Stage]:
        """Wire the application again, over an empty store and in a simulated world."""
        import secrets

        from siutindei.adapters import simulated
        from siutindei.adapters.keys import KeyRing
        from siutindei.adapters.sns_sqs import NoNudges
        from siutindei.adapters.sqlite import MEMORY, SqliteStore
        from siutindei.app.reenacting import Stage

        clock, ids = simulated.SimulatedClock(), simulated.SimulatedIds()
        mail = simulated.SimulatedMail(clock, has_feedback=scripts.has_feedback)
        # Nothing of the installation can open what is sealed on a stage, nor the other way round.
        ring = KeyRing(current="what-if", keys={"what-if": secrets.token_bytes(32)})
        support = self.settings.senders.support
        directory = simulated.AnyOrganization()
        with closing(SqliteStore(MEMORY, master=ring, clock=clock)) as store:
            services = build(
                self.settings,
                rules=rules,
                store=store,
                clock=clock,
                ids=ids,
                mail=mail,
                addresses=simulated.MadeUpAddresses({support: self.addresses.fingerprint(support)}),
                codes=simulated.OneCode(),
                directory=directory,
                identity=directory,
                erasures=simulated.NoErasureList(),
                _queues=NoNudges(),
            )
            yield Stage(
                store=store,
                clock=clock,
                ids=ids,
                mail=mail,
                sign_in=services.sign_in,
                tickets=services.tickets,
                delivery=services.delivery,
                feedback=services.feedback,
                suppressions=services.suppressions,
                lanes=services.lanes,
                dead_letters=services.dead_letters,
                people=services.people,
            )

    def changed_rules(self, policy: Path) -> Rules:
        """Read a policy file: the rules of now, with what it changes."""
        from siutindei.adapters.policy_file import read_policy

        return read_policy(policy, self.settings)

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

    @contextmanager
    def _opened(self, rings: Mapping[str, KeyRing]) -> Iterator[SqlStore]:
        """Give the store, or open it for a while over rings that are in no file yet."""
        from siutindei.adapters.keyfile import CODE_KEYS, INDEX_KEY, VAULT_KEYS

        if not rings:
            yield self.store
            return
        beside = build(
            self.settings,
            code_keys=rings[CODE_KEYS],
            vault_keys=rings[VAULT_KEYS],
            index_key=rings[INDEX_KEY],
            **{name: getattr(self, name) for name in ("clock", "ids", "patience", "schema")},
        )
        with closing(beside.store) as store:
            yield store

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
            opened=self._opened,
            schema=self.schema,
            ring_files={
                ring: self.settings.file(setting)
                for ring, setting in {
                    CODE_KEYS: "SIUTINDEI_CODE_KEYS",
                    VAULT_KEYS: "SIUTINDEI_VAULT_KEYS",
                    INDEX_KEY: "SIUTINDEI_INDEX_KEY",
                }.items()
                if self.settings.is_file(setting)
            },
            rings=lambda: {
                CODE_KEYS: self.code_keys,
                VAULT_KEYS: self.vault_keys,
                INDEX_KEY: self.index_key,
            },
            erase_again=self.erase_again,
            halt_restored=self._halt_restored,
        )

    @cached_property
    def rules(self) -> Rules:
        """The numbers that decide whether and when mails go."""
        return self.settings.rules

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
        maildir, relay = self.settings.maildir, self.settings.relay
        if maildir is not None:
            from siutindei.adapters.maildir import Maildir

            return Maildir(maildir)
        if relay is not None:
            from siutindei.adapters.smtp import SmtpMail

            return SmtpMail(relay)
        from siutindei.adapters import aws, ses

        return ses.SesMail(
            client=aws.client(
                "sesv2",
                region=self.settings.region,
                connect_timeout=ses.CONNECT_TIMEOUT,
                read_timeout=ses.READ_TIMEOUT,
            )
        )

    @property
    def held_mails(self) -> frozenset[str] | None:
        """The notifications whose mails the maildir was given; None where it cannot be told."""
        from siutindei.adapters.maildir import Maildir
        from siutindei.app.ports import Unavailable

        if not isinstance(self.mail, Maildir):
            return None
        try:
            return self.mail.held()
        except Unavailable:
            return None

    @cached_property
    def ses_settings(self) -> SesSettings:
        """How the account at SES is set up."""
        from siutindei.adapters.ses_account import SesAccountSettings

        return SesAccountSettings(self._ses_requests)

    @cached_property
    def ses_suppressions(self) -> SesSuppressions:
        """The addresses that the account at SES does not mail to."""
        from siutindei.adapters.ses_suppressions import SesAccountSuppressions

        if self.settings.maildir is not None or self.settings.relay is not None:
            from siutindei.app.ports import Unusable

            msg = "mails do not go to SES here, so SES's list is not ours; set SIUTINDEI_MAIL=ses"
            raise Unusable(msg)
        return SesAccountSuppressions(self._ses_requests)

    @cached_property
    def _ses_requests(self) -> Any:
        """What paces everything that is asked about the account at SES."""
        from siutindei.adapters import aws, ses_requests

        client = aws.client(
            "sesv2", region=self.settings.region, read_timeout=ses_requests.READ_TIMEOUT
        )
        return ses_requests.SesRequests(client, clock=self.clock)

    @cached_property
    def nudges(self) -> Nudges:
        """What wakes whoever works on effects."""
        nudges: Nudges = self._queues
        return nudges

    @cached_property
    def dead_letter_queue(self) -> DeadLetterQueue:
        """The messages that came to nothing."""
        letters: DeadLetterQueue = self._queues
        return letters

    @cached_property
    def _queues(self) -> Any:
        from siutindei.adapters.sns_sqs import NoNudges, SnsSqs

        settings = self.settings
        if settings.text("SIUTINDEI_NUDGE") == "none":
            return NoNudges()

        def client(service: str) -> Any:
            from siutindei.adapters import aws

            # A user may be waiting for the command whose nudge this is.
            return aws.client(service, region=settings.region, read_timeout=2.0)

        return SnsSqs(
            client,
            topic=settings.text("MANAGER_REQUEST_TOPIC_ARN"),
            queue=settings.text("SIUTINDEI_QUEUE_URL"),
            dead_letter_queue=settings.text("SIUTINDEI_DEAD_LETTER_QUEUE_URL"),
        )

    @cached_property
    def directory(self) -> Any:
        """The platform's catalogue and groups."""
        place = self.settings.directory_object
        if place is not None:
            from siutindei.adapters.aws import client
            from siutindei.adapters.s3_directory import S3Directory

            s3 = client("s3", region=self.settings.region, read_timeout=3.0)
            return S3Directory(client=s3, bucket=place[0], key=place[1], clock=self.clock)
        from siutindei.adapters.directory import JsonDirectory

        return JsonDirectory(self.settings.file("SIUTINDEI_DIRECTORY"))

    @cached_property
    def identity(self) -> Any:
        """The users' groups: a user pool's, or in the same file as the catalogue."""
        return self.user_pool or self.directory

    @cached_property
    def last_sign_ins(self) -> LastSignIns | None:
        """When users signed in last: the user pool keeps it; without one nobody does."""
        pool: LastSignIns | None = self.user_pool
        return pool

    @cached_property
    def user_pool(self) -> Any:
        """The Cognito user pool; None where there is none."""
        pool = self.settings.text("USER_POOL_ID")
        if not pool:
            return None
        from siutindei.adapters.cognito import CognitoPool

        return CognitoPool(
            pool,
            group=self.settings.text("MANAGER_GROUP"),
            connect=lambda: self._client("cognito-idp"),
        )

    @cached_property
    def erasures(self) -> Any:
        """The list of erasures, beside the database."""
        from siutindei.adapters.erasures import ErasureFile

        return ErasureFile(self.settings.home / "erasures.jsonl")

    @cached_property
    def checkpoints(self) -> Checkpoints:
        """Where checkpoints are kept."""
        place = self.settings.checkpoint_objects
        if place is not None:
            from siutindei.adapters.s3_checkpoints import S3Checkpoints

            return S3Checkpoints(client=self._client("s3"), bucket=place[0], prefix=place[1])
        from siutindei.adapters.checkpoints import CheckpointFolder

        return CheckpointFolder(self.settings.file("SIUTINDEI_CHECKPOINTS"))

    @cached_property
    def notary(self) -> Notary:
        """What signs checkpoints."""
        from siutindei.adapters import signing

        origin, key = self.settings.text("SIUTINDEI_LOG_ORIGIN"), self.settings.kms_signing_key
        if key is not None:
            return signing.notary_at_kms(origin, key, connect=lambda: self._client("kms"))
        ring = self._ring("SIUTINDEI_SIGNING_KEY", may_make=self.may_make_signing_key)
        return signing.notary_of_ring(origin, ring)

    @property
    def known_keys(self) -> Sequence[str]:
        """The lines of the installation's public keys; none when nothing was ever signed here."""
        if self.settings.is_file("SIUTINDEI_SIGNING_KEY"):
            from siutindei.adapters.keys import read_ring

            if read_ring(self.settings.file("SIUTINDEI_SIGNING_KEY")) is None:
                return ()
        return self.notary.keys

    @cached_property
    def database_password(self) -> Callable[[], str] | None:
        """What is asked for a password at every connection to PostgreSQL, such as an IAM token."""
        url = self.settings.postgres_url
        if url is None or self.settings.text("SIUTINDEI_DATABASE_AUTH") == "url":
            return None
        from siutindei.adapters import secrets

        name = self.settings.secret("SIUTINDEI_DATABASE_AUTH")
        if name is None:
            return secrets.iam_password(url, connect=lambda: self._client("rds"))
        return secrets.secret_password(name, url, connect=lambda: self._client("secretsmanager"))

    @cached_property
    def patience(self) -> float | None:
        """How many seconds the database may keep a command waiting; None: as long as usual."""
        return None

    @property
    def longest_wait(self) -> timedelta:
        """How long a command may wait for the database before it is told that it waits in vain."""
        if self.patience is not None:
            return timedelta(seconds=self.patience)
        if self.settings.postgres_url is None:
            from siutindei.adapters.sqlite import LOCK_SECONDS

            return timedelta(seconds=LOCK_SECONDS)
        return timedelta(seconds=_postgres().LOCK_SECONDS)

    @cached_property
    def schema(self) -> Schema:
        """The tables of the store."""
        url = self.settings.postgres_url
        if url is None:
            from siutindei.adapters.sqlite import SqliteSchema

            return SqliteSchema(self.settings.sqlite_path, **self._waits)
        schema: Schema = _postgres().PostgresSchema(
            url, password=self.database_password, **self._waits
        )
        return schema

    @property
    def _waits(self) -> dict[str, Any]:
        return {} if self.patience is None else {"lock_seconds": self.patience}

    @property
    def roles(self) -> str:
        """The SQL of PostgreSQL's roles with the least rights."""
        sql: str = _postgres().roles()
        return sql

    @cached_property
    def store(self) -> SqlStore:
        """The history, with its read models and its vault."""
        # A file gets its tables, and a database that is newer than this program is refused.
        _ = self.is_fresh
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
            self._halt_restored(store)
        except BaseException:
            store.close()
            raise
        return store

    def erase_again(self, store: SqlStore) -> Sequence[str]:
        """Erase whom the list of erasures names and who has keys all the same."""
        from siutindei.app.erasing import erase_again

        return erase_again(store, self.erasures, clock=self.clock, ids=self.ids)

    def _halt_restored(self, store: SqlStore) -> bool:
        """Let no mail go where what was mailed after a copy was made is not known yet."""
        from siutindei.app.lanes import halt_restored

        return halt_restored(store, clock=self.clock, ids=self.ids)

    def _opened_store(self, master: KeyRing) -> SqlStore:
        url = self.settings.postgres_url
        if url is None:
            from siutindei.adapters.sqlite import SqliteStore

            return SqliteStore(
                self.settings.sqlite_path, master=master, clock=self.clock, **self._waits
            )
        store: SqlStore = _postgres().PostgresStore(
            url, master=master, clock=self.clock, password=self.database_password, **self._waits
        )
        return store

    # --- keys -------------------------------------------------------------------------------------

    @cached_property
    def is_fresh(self) -> bool:
        """Whether the database (made here when there is none) holds no event yet."""
        return self.schema.prepare()

    @cached_property
    def may_make_keys(self) -> bool:
        """Whether a key file that is missing is made: not when a database depends on it."""
        return self.is_fresh

    @cached_property
    def may_make_signing_key(self) -> bool:
        """Whether a signing key that is missing is made: not when checkpoints were signed."""
        return self.checkpoints.newest() is None

    @cached_property
    def code_keys(self) -> KeyRing:
        """The ring that codes are derived from."""
        return self._ring("SIUTINDEI_CODE_KEYS")

    @cached_property
    def vault_keys(self) -> KeyRing:
        """The ring of master keys."""
        return self._ring("SIUTINDEI_VAULT_KEYS")

    @cached_property
    def index_key(self) -> KeyRing:
        """The key of the fingerprints."""
        return self._ring("SIUTINDEI_INDEX_KEY")

    def _ring(self, setting: str, *, may_make: bool | None = None) -> KeyRing:
        if self.settings.is_file(setting):
            from siutindei.adapters.keys import open_ring

            return open_ring(
                self.settings.file(setting),
                may_make=self.may_make_keys if may_make is None else may_make,
            )
        from siutindei.adapters import secrets

        path = self.settings.wrapped(setting)
        if path is not None:
            return secrets.wrapped_ring(path, purpose=setting, connect=lambda: self._client("kms"))
        name = self.settings.secret(setting) or ""
        return secrets.ring(name, connect=lambda: self._client("secretsmanager"))

    # --- AWS --------------------------------------------------------------------------------------

    @cached_property
    def _clients(self) -> dict[str, Any]:
        return {}

    def _client(self, service: str) -> Any:
        """Give the client of a service for what is asked briefly; each is made once."""
        if service not in self._clients:
            from siutindei.adapters.aws import client

            self._clients[service] = client(
                service, region=self.settings.region, read_timeout=_BRIEFLY
            )
        return self._clients[service]


#: How long AWS may take to answer what somebody waits for who signs in, in seconds.
_BRIEFLY: Final = 2.0


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
