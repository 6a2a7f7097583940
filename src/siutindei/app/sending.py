"""The account at SES, compared with what our mails need, and set up.

What somebody else decides is only said: production access, the end of a pause, and what stands in
DNS. DNS is not looked at here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

import attrs

from siutindei.app.ports import (
    SesAccount,
    SesConfigurationSet,
    SesDestination,
    SesIdentity,
    SesSettings,
)
from siutindei.domain.errors import Invalid
from siutindei.domain.mail import CONFIGURATION_SETS, Senders
from siutindei.domain.notification import Lane

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: What becomes of a mail: all of it has to be published.
EVENTS: Final = frozenset({"SEND", "DELIVERY", "DELIVERY_DELAY", "BOUNCE", "COMPLAINT", "REJECT"})
#: SES follows people to know these, and changes mails for it: nobody asked them.
TRACKING: Final = frozenset({"OPEN", "CLICK"})
REASONS: Final = frozenset({"BOUNCE", "COMPLAINT"})
#: The event destination that `set_up` makes.
DESTINATION: Final = "siutindei-feedback"
#: The domain that bounces go to is this one under the sender's.
MAIL_FROM: Final = "bounce"
#: SES's least and most.
_DELIVERY_LEAST: Final = timedelta(seconds=300)
_DELIVERY_MOST: Final = timedelta(seconds=50_400)
_TOPIC: Final = re.compile(
    r"arn:aws[a-z-]{0,20}:sns:(?P<region>[a-z0-9-]+):[0-9]{12}:[A-Za-z0-9_-]{1,256}"
)

SET_UP: Final = "siutindei ses setup"
WITH_TOPIC: Final = f"{SET_UP} --topic-arn ARN"

Standing = Literal["ok", "missing", "wrong", "not looked at"]


@attrs.frozen(kw_only=True)
class Need:
    """Something that we need of SES, and how it is there.

    Attributes:
        what: what it is.
        standing: whether it is there, and right.
        found: what SES says.
        mend: what to do; empty when there is nothing to do.
    """

    what: str
    standing: Standing
    found: str
    mend: str = ""


@attrs.frozen(kw_only=True)
class Step:
    """Something that is done.

    Attributes:
        what: what it is.
        then: what somebody else has to do after it; empty when nothing is left.
    """

    what: str
    then: str = ""


@attrs.frozen(kw_only=True)
class _Seen:
    """What SES says of everything that we need."""

    account: SesAccount
    identities: tuple[tuple[str, SesIdentity | None], ...]
    sets: tuple[tuple[Lane, str, SesConfigurationSet | None], ...]


_Change = tuple[Step, Callable[[], object]]


@attrs.frozen(kw_only=True)
class Sending:
    """What may be asked of the account at SES.

    Attributes:
        ses: how it is set up.
        senders: whom mails come from.
        region: where it is.
        code_ttl: how long a code lives; SES tries to deliver it for no longer.
    """

    ses: SesSettings
    senders: Senders
    region: str
    code_ttl: timedelta

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains that mails come from."""
        senders = (self.senders.codes_from, self.senders.tickets_from)
        return tuple(dict.fromkeys(sender.rpartition("@")[2].lower() for sender in senders))

    @property
    def max_delivery(self) -> int:
        """For how long SES should try to deliver a code, in seconds."""
        limit = min(max(self.code_ttl, _DELIVERY_LEAST), _DELIVERY_MOST)
        return int(limit.total_seconds())

    # --- looking ----------------------------------------------------------------------------------

    def status(self) -> Sequence[Need]:
        """Compare what SES says with what our mails need.

        Raises:
            Unavailable: SES cannot be reached.
            Unusable: it cannot be asked with these credentials, or without any.
        """
        seen = self._look()
        return [
            *self._of_account(seen.account),
            *(entry for domain, found in seen.identities for entry in self._of(domain, found)),
            *(
                entry
                for lane, name, found in seen.sets
                for entry in self._of_set(lane, name, found)
            ),
        ]

    def _look(self) -> _Seen:
        return _Seen(
            account=self.ses.account(),
            identities=tuple((domain, self.ses.identity(domain)) for domain in self.domains),
            sets=tuple(
                (lane, name, self.ses.configuration_set(name))
                for lane, name in CONFIGURATION_SETS.items()
            ),
        )

    def _of_account(self, account: SesAccount) -> Iterator[Need]:
        yield Need(
            what="production access",
            standing="ok" if account.production else "missing",
            found="granted" if account.production else "the account is in the sandbox",
            mend=""
            if account.production
            else "ask AWS for it; until then mails reach verified addresses alone",
        )
        yield Need(
            what="sending",
            standing="ok" if account.sending_enabled else "wrong",
            found="on" if account.sending_enabled else "paused",
            mend="" if account.sending_enabled else "find out who paused it, and why",
        )
        healthy = account.enforcement == "HEALTHY"
        yield Need(
            what="standing with AWS",
            standing="ok" if healthy else "wrong",
            found=account.enforcement,
            mend="" if healthy else "read the mails that AWS sent to the account, and answer",
        )
        is_used_up = 0 <= account.quota <= account.sent
        quota = "any number" if account.quota < 0 else f"{account.quota:.0f}"
        yield Need(
            what="quota",
            standing="wrong" if is_used_up else "ok",
            found=f"{account.sent:.0f} of {quota} in 24 hours",
            mend="wait, or ask AWS for more" if is_used_up else "",
        )
        lacking = REASONS - account.suppressed
        yield Need(
            what="suppression list",
            standing="missing" if lacking else "ok",
            found=_listed(account.suppressed) or "off",
            mend=SET_UP if lacking else "",
        )

    def _of(self, domain: str, found: SesIdentity | None) -> Iterator[Need]:
        if found is None:
            yield Need(what=f"{domain}", standing="missing", found="unknown to SES", mend=SET_UP)
        else:
            records = "; ".join(f"{name} CNAME {value}" for name, value in found.dkim_records)
            in_dns = f"put it into DNS: {records}" if records else "look at the domain in SES"
            yield Need(
                what=domain,
                standing="ok" if found.verified else "wrong",
                found="verified" if found.verified else "not verified",
                mend="" if found.verified else in_dns,
            )
            signs = found.dkim_signs and found.dkim == "SUCCESS"
            yield Need(
                what=f"{domain}: DKIM",
                standing="ok" if signs else "wrong",
                found=found.dkim if found.dkim_signs else "off",
                mend="" if signs else in_dns if found.dkim_signs else "turn it on in SES",
            )
            yield self._of_mail_from(domain, found)
        yield Need(
            what=f"{domain}: DMARC",
            standing="not looked at",
            found="DNS is not asked",
            mend=f"look at the TXT record of _dmarc.{domain}: it has to begin with v=DMARC1",
        )

    def _of_mail_from(self, domain: str, found: SesIdentity) -> Need:
        what = f"{domain}: MAIL FROM"
        if found.mail_from is None:
            return Need(what=what, standing="missing", found="SES's own", mend=SET_UP)
        works = found.mail_from_status == "SUCCESS"
        return Need(
            what=what,
            standing="ok" if works else "wrong",
            found=f"{found.mail_from} ({found.mail_from_status})",
            mend="" if works else self._mail_from_records(found.mail_from),
        )

    def _mail_from_records(self, mail_from: str) -> str:
        return (
            f"put it into DNS: {mail_from} MX 10 feedback-smtp.{self.region}.amazonses.com; "
            f'{mail_from} TXT "v=spf1 include:amazonses.com ~all"'
        )

    def _of_set(self, lane: Lane, name: str, found: SesConfigurationSet | None) -> Iterator[Need]:
        if found is None:
            yield Need(what=name, standing="missing", found="unknown to SES", mend=WITH_TOPIC)
            return
        yield Need(
            what=name,
            standing="ok" if found.sending_enabled else "wrong",
            found="there" if found.sending_enabled else "paused",
            mend="" if found.sending_enabled else "find out who paused it, and why",
        )
        if lane == "codes":
            is_right = found.max_delivery == self.max_delivery
            limit = "SES's" if found.max_delivery is None else f"{found.max_delivery} s"
            yield Need(
                what=f"{name}: delivery limit",
                standing="ok" if is_right else "missing" if found.max_delivery is None else "wrong",
                found=limit,
                mend="" if is_right else f"{SET_UP}: {self.max_delivery} s",
            )
        if found.suppressed is not None:
            lacking = REASONS - found.suppressed
            yield Need(
                what=f"{name}: suppression list",
                standing="wrong" if lacking else "ok",
                found=_listed(found.suppressed) or "off",
                mend="take the set's own rule away in SES" if lacking else "",
            )
        yield self._of_destinations(name, found)

    def _of_destinations(self, name: str, found: SesConfigurationSet) -> Need:
        what = f"{name}: feedback"
        shown = ", ".join(
            f"{one.name}{'' if one.enabled else ' (off)'}" for one in found.destinations
        )
        tracking = [one.name for one in found.destinations if one.enabled and one.events & TRACKING]
        if not _is_published(found.destinations):
            standing: Standing = "wrong" if found.destinations else "missing"
            return Need(what=what, standing=standing, found=shown or "none", mend=WITH_TOPIC)
        if tracking:
            mend = (
                f"take {_listed(TRACKING)} out of {', '.join(tracking)}: SES changes mails for it"
            )
            return Need(what=what, standing="wrong", found=shown, mend=mend)
        return Need(what=what, standing="ok", found=shown)

    # --- setting up -------------------------------------------------------------------------------

    def set_up(
        self, *, topic_arn: str | None, dry_run: bool, report: Callable[[Step], None]
    ) -> int:
        """Make what is missing, and change what is wrong; what is right is left alone.

        Args:
            topic_arn: the SNS topic that feedback goes to; needed when nothing publishes it yet.
            dry_run: whether to say only what would be done.
            report: is told each step once it is done.

        Returns:
            How many steps there were.

        Raises:
            Invalid: the topic is needed and not given, or is none; nothing was changed.
            Unavailable: SES cannot be reached; what was reported is done, and is not done again.
            Unusable: it cannot be asked with these credentials, or without any, or it refuses.
        """
        if topic_arn is not None:
            self._check_topic(topic_arn)
        seen = self._look()
        changes = [
            *self._change_account(seen.account),
            *(step for domain, found in seen.identities for step in self._change(domain, found)),
            *(
                step
                for lane, name, found in seen.sets
                for step in self._change_set(lane, name, found, topic_arn, dry_run=dry_run)
            ),
        ]
        for step, change in changes:
            done = step
            if not dry_run:
                made = change()
                if isinstance(made, str):
                    done = attrs.evolve(step, then=made)
            report(done)
        return len(changes)

    def _check_topic(self, topic_arn: str) -> None:
        match = _TOPIC.fullmatch(topic_arn)
        if match is None:
            raise Invalid(
                "topic_arn", "must be the ARN of an SNS topic that is not FIFO: arn:aws:sns:..."
            )
        if match["region"] != self.region:
            raise Invalid("topic_arn", f"must be a topic in {self.region}, as the SES account is")

    def _change_account(self, account: SesAccount) -> Iterator[_Change]:
        if REASONS - account.suppressed:
            reasons = REASONS | account.suppressed
            step = Step(what=f"suppression list: {_listed(reasons)}")
            yield step, partial(self.ses.suppress, reasons)

    def _change(self, domain: str, found: SesIdentity | None) -> Iterator[_Change]:
        if found is None:
            step = Step(what=f"{domain}: made known to SES")
            yield step, partial(self._create_identity, domain)
        if found is None or found.mail_from is None:
            mail_from = f"{MAIL_FROM}.{domain}"
            step = Step(
                what=f"{domain}: MAIL FROM {mail_from}", then=self._mail_from_records(mail_from)
            )
            yield step, partial(self.ses.set_mail_from, domain, mail_from)

    def _create_identity(self, domain: str) -> str:
        records = self.ses.create_identity(domain).dkim_records
        return "put it into DNS: " + "; ".join(f"{name} CNAME {value}" for name, value in records)

    def _change_set(
        self,
        lane: Lane,
        name: str,
        found: SesConfigurationSet | None,
        topic_arn: str | None,
        *,
        dry_run: bool,
    ) -> Iterator[_Change]:
        limit = self.max_delivery if lane == "codes" else None
        within = "" if limit is None else f", delivery limit {limit} s"
        if found is None:
            step = Step(what=f"{name}: made{within}")
            yield step, partial(self.ses.create_configuration_set, name, max_delivery=limit)
        elif limit is not None and found.max_delivery != limit:
            step = Step(what=f"{name}{within}")
            yield step, partial(self.ses.limit_delivery, name, max_delivery=limit)
        destinations = () if found is None else found.destinations
        ours = next((one for one in destinations if one.name == DESTINATION), None)
        topic = topic_arn or (None if ours is None else ours.topic)
        if _is_published(destinations) and not (ours and _has_to_change(ours, topic)):
            return
        if topic is None and not dry_run:
            raise Invalid("topic_arn", f"is needed: nothing publishes the feedback of {name} yet")
        made = SesDestination(name=DESTINATION, enabled=True, events=EVENTS, topic=topic)
        shown = "the topic that --topic-arn names" if topic is None else topic.rpartition(":")[2]
        step = Step(what=f"{name}: feedback to {shown}")
        yield step, partial(self.ses.publish, name, made, is_new=ours is None)


def _is_published(destinations: Sequence[SesDestination]) -> bool:
    return any(
        one.enabled and one.topic is not None and one.events.issuperset(EVENTS)
        for one in destinations
    )


def _has_to_change(ours: SesDestination, topic: str | None) -> bool:
    """Whether the one that we made follows people, or goes to another topic than it should."""
    return ours.enabled and (bool(ours.events & TRACKING) or ours.topic != topic)


def _listed(words: frozenset[str]) -> str:
    return ", ".join(sorted(words))
