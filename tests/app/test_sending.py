"""The account at SES: compared with what our mails need, and set up."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from siutindei.app import sending
from siutindei.app.ports import (
    SesAccount,
    SesConfigurationSet,
    SesDestination,
    SesIdentity,
    Unavailable,
)
from siutindei.app.sending import EVENTS, REASONS, Need, Sending, Step
from siutindei.domain.errors import Invalid
from siutindei.domain.mail import Senders

if TYPE_CHECKING:
    from collections.abc import Collection

DOMAIN: Final = "lx-software.com"
REGION: Final = "ap-southeast-1"
TOPIC: Final = f"arn:aws:sns:{REGION}:123456789012:ses-events"
FEEDBACK: Final = SesDestination(
    name="siutindei-feedback", enabled=True, events=EVENTS, topic=TOPIC
)
IDENTITY: Final = SesIdentity(
    verified=True,
    dkim="SUCCESS",
    dkim_signs=True,
    dkim_records=((f"abc._domainkey.{DOMAIN}", "abc.dkim.amazonses.com"),),
    mail_from=f"bounce.{DOMAIN}",
    mail_from_status="SUCCESS",
)
ACCOUNT: Final = SesAccount(
    sending_enabled=True,
    production=True,
    enforcement="HEALTHY",
    quota=1000,
    sent=12,
    suppressed=REASONS,
)


def configuration_set(**changes: Any) -> SesConfigurationSet:
    """Make a configuration set as it should be, but for some changes."""
    right = SesConfigurationSet(
        sending_enabled=True, max_delivery=300, suppressed=None, destinations=(FEEDBACK,)
    )
    return attrs.evolve(right, **changes)


class FakeSes:
    """SES as it should be set up, in memory; it keeps what it is told.

    Attributes:
        state: how the account is.
        identities: its domains.
        sets: its configuration sets.
        told: what it was told to change.
        error: what it raises when it is told to change something.
    """

    def __init__(self) -> None:
        self.state = ACCOUNT
        self.identities: dict[str, SesIdentity] = {DOMAIN: IDENTITY}
        self.sets: dict[str, SesConfigurationSet] = {
            "siutindei-codes": configuration_set(),
            "siutindei-tickets": configuration_set(max_delivery=None),
        }
        self.told: list[str] = []
        self.error: Exception | None = None

    @classmethod
    def empty(cls) -> FakeSes:
        """Make an account that nobody has used."""
        made = cls()
        made.state = attrs.evolve(ACCOUNT, production=False, quota=200, suppressed=frozenset())
        made.identities, made.sets = {}, {}
        return made

    def account(self) -> SesAccount:
        """Say how the account is."""
        return self.state

    def identity(self, domain: str) -> SesIdentity | None:
        """Say how a domain is."""
        return self.identities.get(domain)

    def configuration_set(self, name: str) -> SesConfigurationSet | None:
        """Say how a configuration set is."""
        return self.sets.get(name)

    def suppress(self, reasons: Collection[str]) -> None:
        """Keep the reasons."""
        self._told("suppress")
        self.state = attrs.evolve(self.state, suppressed=frozenset(reasons))

    def create_identity(self, domain: str) -> SesIdentity:
        """Keep the domain."""
        self._told(f"create_identity {domain}")
        self.identities[domain] = attrs.evolve(
            IDENTITY, verified=False, dkim="PENDING", mail_from=None, mail_from_status=""
        )
        return self.identities[domain]

    def set_mail_from(self, domain: str, mail_from: str) -> None:
        """Keep the domain of bounces."""
        self._told(f"set_mail_from {domain} {mail_from}")
        self.identities[domain] = attrs.evolve(
            self.identities[domain], mail_from=mail_from, mail_from_status="PENDING"
        )

    def create_configuration_set(self, name: str, *, max_delivery: int | None) -> None:
        """Keep the set."""
        self._told(f"create_configuration_set {name} {max_delivery}")
        self.sets[name] = configuration_set(max_delivery=max_delivery, destinations=())

    def limit_delivery(self, name: str, *, max_delivery: int) -> None:
        """Keep the limit."""
        self._told(f"limit_delivery {name} {max_delivery}")
        self.sets[name] = attrs.evolve(self.sets[name], max_delivery=max_delivery)

    def publish(self, name: str, destination: SesDestination, *, is_new: bool) -> None:
        """Keep the destination."""
        self._told(f"publish {name} {'new' if is_new else 'again'} {destination.topic}")
        others = tuple(one for one in self.sets[name].destinations if one.name != destination.name)
        assert is_new == (len(others) == len(self.sets[name].destinations))
        self.sets[name] = attrs.evolve(self.sets[name], destinations=(*others, destination))

    def _told(self, what: str) -> None:
        if self.error is not None:
            raise self.error
        self.told.append(what)


def make_sending(ses: FakeSes, *, ttl: int = 300, **senders: str) -> Sending:
    """Make the use case on an account in memory."""
    return Sending(
        ses=ses, senders=Senders(**senders), region=REGION, code_ttl=timedelta(seconds=ttl)
    )


def needs(ses: FakeSes, **options: Any) -> dict[str, Need]:
    """Compare, and give what was found by its name."""
    found = make_sending(ses, **options).status()
    assert len({need.what for need in found}) == len(found)
    return {need.what: need for need in found}


def set_up(
    ses: FakeSes, *, topic_arn: str | None = TOPIC, dry_run: bool = False, **options: Any
) -> list[Step]:
    """Set it up, and give the steps."""
    steps: list[Step] = []
    count = make_sending(ses, **options).set_up(
        topic_arn=topic_arn, dry_run=dry_run, report=steps.append
    )
    assert len(steps) == count
    return steps


# --- looking --------------------------------------------------------------------------------------


def test_an_account_that_is_as_it_should_be() -> None:
    """Everything is there and there is nothing to do, but DNS, which nobody looked at."""
    found = needs(FakeSes())

    assert {"ok"} == {one.standing for name, one in found.items() if "DMARC" not in name}
    assert {""} == {one.mend for name, one in found.items() if "DMARC" not in name}
    dmarc = found[f"{DOMAIN}: DMARC"]
    assert dmarc.standing == "not looked at"
    assert f"_dmarc.{DOMAIN}" in dmarc.mend
    assert found["quota"].found == "12 of 1000 in 24 hours"


def test_an_account_that_nobody_has_used() -> None:
    """What is missing is said, with the command that makes it."""
    found = needs(FakeSes.empty())

    assert {
        *("production access", "suppression list", DOMAIN),
        *("siutindei-codes", "siutindei-tickets"),
    } == {name for name, one in found.items() if one.standing == "missing"}
    assert found[DOMAIN].mend == "siutindei ses setup"
    assert found["siutindei-codes"].mend == "siutindei ses setup --topic-arn ARN"
    assert "sandbox" in found["production access"].found
    assert f"{DOMAIN}: DKIM" not in found


@pytest.mark.parametrize(
    ("changes", "what", "standing", "words"),
    [
        ({"production": False}, "production access", "missing", "ask AWS"),
        ({"sending_enabled": False}, "sending", "wrong", "who paused it"),
        ({"enforcement": "PROBATION"}, "standing with AWS", "wrong", "mails that AWS sent"),
        ({"sent": 1000.0}, "quota", "wrong", "ask AWS for more"),
        ({"quota": 0.0, "sent": 0.0}, "quota", "wrong", "ask AWS for more"),
        ({"suppressed": frozenset({"BOUNCE"})}, "suppression list", "missing", "ses setup"),
    ],
)
def test_an_account_that_is_not_right(
    changes: dict[str, Any], what: str, standing: str, words: str
) -> None:
    """Each thing that is wrong with the account is found alone, with what to do."""
    ses = FakeSes()
    ses.state = attrs.evolve(ACCOUNT, **changes)
    found = needs(ses)

    assert [what] == [one.what for one in found.values() if one.standing in {"missing", "wrong"}]
    assert standing == found[what].standing
    assert words in found[what].mend


def test_an_account_without_a_quota() -> None:
    """A quota below nothing is none."""
    ses = FakeSes()
    ses.state = attrs.evolve(ACCOUNT, quota=-1, sent=70_000)

    assert needs(ses)["quota"].found == "70000 of any number in 24 hours"
    assert needs(ses)["quota"].standing == "ok"


@pytest.mark.parametrize(
    ("changes", "standings", "words"),
    [
        (
            {"verified": False, "dkim": "PENDING"},
            {"": "wrong", ": DKIM": "wrong"},
            f"put it into DNS: abc._domainkey.{DOMAIN} CNAME abc.dkim.amazonses.com",
        ),
        ({"verified": False, "dkim_records": ()}, {"": "wrong"}, "look at the domain in SES"),
        ({"dkim_signs": False}, {": DKIM": "wrong"}, "turn it on in SES"),
        ({"mail_from": None}, {": MAIL FROM": "missing"}, "siutindei ses setup"),
        (
            {"mail_from_status": "PENDING"},
            {": MAIL FROM": "wrong"},
            f"bounce.{DOMAIN} MX 10 feedback-smtp.{REGION}.amazonses.com",
        ),
    ],
)
def test_a_domain_that_is_not_right(
    changes: dict[str, Any], standings: dict[str, str], words: str
) -> None:
    """What DNS has to have is said to the letter."""
    ses = FakeSes()
    ses.identities[DOMAIN] = attrs.evolve(IDENTITY, **changes)
    found = needs(ses)

    assert {f"{DOMAIN}{name}": standing for name, standing in standings.items()} == {
        name: one.standing for name, one in found.items() if one.standing in {"missing", "wrong"}
    }
    for name in standings:
        assert words in found[f"{DOMAIN}{name}"].mend


def test_each_domain_is_looked_at_once() -> None:
    """Two senders of one domain are one domain, of two are two; letters have no case there."""
    found = needs(FakeSes(), codes_from="hello@LX-Software.com")
    assert [DOMAIN] == [name for name in found if name.endswith(".com")]
    found = needs(FakeSes(), codes_from="hello@example.com")

    assert ["example.com", DOMAIN] == [name for name in found if name.endswith(".com")]


@pytest.mark.parametrize(
    ("changes", "what", "standing", "words"),
    [
        ({"sending_enabled": False}, "", "wrong", "who paused it"),
        ({"max_delivery": None}, ": delivery limit", "missing", "300 s"),
        ({"max_delivery": 3600}, ": delivery limit", "wrong", "siutindei ses setup: 300 s"),
        ({"suppressed": frozenset()}, ": suppression list", "wrong", "own rule away"),
        ({"destinations": ()}, ": feedback", "missing", "--topic-arn"),
        (
            {"destinations": (attrs.evolve(FEEDBACK, enabled=False),)},
            *(": feedback", "wrong", "--topic-arn"),
        ),
        (
            {"destinations": (attrs.evolve(FEEDBACK, topic=None),)},
            *(": feedback", "wrong", "--topic-arn"),
        ),
        (
            {"destinations": (attrs.evolve(FEEDBACK, events=EVENTS - {"COMPLAINT"}),)},
            *(": feedback", "wrong", "--topic-arn"),
        ),
        (
            {"destinations": (attrs.evolve(FEEDBACK, events=EVENTS | {"OPEN"}),)},
            *(": feedback", "wrong", "take CLICK, OPEN out of siutindei-feedback"),
        ),
    ],
)
def test_a_configuration_set_that_is_not_right(
    changes: dict[str, Any], what: str, standing: str, words: str
) -> None:
    """Each thing that is wrong with a set is found alone, with what to do."""
    ses = FakeSes()
    ses.sets["siutindei-codes"] = configuration_set(**changes)
    found = needs(ses)
    what = f"siutindei-codes{what}"

    assert [what] == [one.what for one in found.values() if one.standing in {"missing", "wrong"}]
    assert standing == found[what].standing
    assert words in found[what].mend


def test_a_set_that_has_the_same_rule_as_the_account() -> None:
    """A rule of its own that says the same is right, and a destination that is off is named so."""
    ses = FakeSes()
    off = attrs.evolve(FEEDBACK, name="old", enabled=False, events=frozenset({"CLICK"}))
    ses.sets["siutindei-codes"] = configuration_set(
        suppressed=REASONS, destinations=(off, FEEDBACK)
    )
    found = needs(ses)

    assert found["siutindei-codes: suppression list"].standing == "ok"
    assert found["siutindei-codes: feedback"].found == "old (off), siutindei-feedback"
    assert found["siutindei-codes: feedback"].standing == "ok"


def test_mails_about_tickets_have_no_limit() -> None:
    """A decision is still news after five minutes: only codes die."""
    ses = FakeSes()
    ses.sets["siutindei-tickets"] = configuration_set(max_delivery=300)

    assert "siutindei-tickets: delivery limit" not in needs(ses)


@pytest.mark.parametrize(("ttl", "limit"), [(60, 300), (600, 600), (999_999, 50_400)])
def test_the_limit_is_the_life_of_a_code(ttl: int, limit: int) -> None:
    """SES tries for as long as a code lives, within what SES takes."""
    ses = FakeSes()
    ses.sets["siutindei-codes"] = configuration_set(max_delivery=limit)

    assert needs(ses, ttl=ttl)["siutindei-codes: delivery limit"].standing == "ok"


# --- setting up -----------------------------------------------------------------------------------


def test_an_account_is_set_up() -> None:
    """Everything that can be made is made, once; what is left to others is said."""
    ses = FakeSes.empty()

    steps = set_up(ses)

    assert ses.told == [
        "suppress",
        f"create_identity {DOMAIN}",
        f"set_mail_from {DOMAIN} bounce.{DOMAIN}",
        "create_configuration_set siutindei-codes 300",
        f"publish siutindei-codes new {TOPIC}",
        "create_configuration_set siutindei-tickets None",
        f"publish siutindei-tickets new {TOPIC}",
    ]
    assert [step.what for step in steps] == [
        "suppression list: BOUNCE, COMPLAINT",
        f"{DOMAIN}: made known to SES",
        f"{DOMAIN}: MAIL FROM bounce.{DOMAIN}",
        "siutindei-codes: made, delivery limit 300 s",
        "siutindei-codes: feedback to ses-events",
        "siutindei-tickets: made",
        "siutindei-tickets: feedback to ses-events",
    ]
    assert f"abc._domainkey.{DOMAIN} CNAME abc.dkim.amazonses.com" in steps[1].then
    assert f"bounce.{DOMAIN} MX" in steps[2].then
    assert set_up(ses) == []
    assert set_up(ses, topic_arn=None) == []
    assert {"production access", DOMAIN, f"{DOMAIN}: DKIM", f"{DOMAIN}: MAIL FROM"} == {
        name for name, one in needs(ses).items() if one.standing in {"missing", "wrong"}
    }


def test_a_dry_run_does_nothing() -> None:
    """It says the same steps, needs no topic, and changes nothing."""
    ses = FakeSes.empty()

    dry = set_up(ses, topic_arn=None, dry_run=True)

    assert ses.told == []
    assert "siutindei-codes: feedback to the topic that --topic-arn names" in [
        step.what for step in dry
    ]
    assert [step.what for step in set_up(ses, dry_run=True)] == [step.what for step in set_up(ses)]


def test_a_topic_is_needed_before_anything_is_done() -> None:
    """Without a topic for the feedback nothing is changed."""
    ses = FakeSes.empty()

    with pytest.raises(Invalid, match=r"topic_arn: is needed.*siutindei-codes"):
        set_up(ses, topic_arn=None)
    assert ses.told == []


@pytest.mark.parametrize(
    ("topic_arn", "words"),
    [
        ("ses-events", "ARN of an SNS topic"),
        (f"{TOPIC}.fifo", "not FIFO"),
        (f"arn:aws:sqs:{REGION}:123456789012:x", "ARN of an SNS topic"),
        ("arn:aws:sns:eu-west-1:123456789012:ses-events", f"must be a topic in {REGION}"),
    ],
)
def test_a_topic_that_is_none(topic_arn: str, words: str) -> None:
    """A topic that SES could not publish to is refused before anything is asked."""
    ses = FakeSes.empty()

    with pytest.raises(Invalid, match=words):
        set_up(ses, topic_arn=topic_arn)
    assert ses.told == []


@pytest.mark.parametrize(
    ("destination", "topic_arn", "expected"),
    [
        (attrs.evolve(FEEDBACK, enabled=False), None, f"again {TOPIC}"),
        (attrs.evolve(FEEDBACK, events=EVENTS - {"BOUNCE"}), None, f"again {TOPIC}"),
        (attrs.evolve(FEEDBACK, events=EVENTS | {"CLICK"}), None, f"again {TOPIC}"),
        (FEEDBACK, f"{TOPIC}-2", f"again {TOPIC}-2"),
        (attrs.evolve(FEEDBACK, topic=None), TOPIC, f"again {TOPIC}"),
        (attrs.evolve(FEEDBACK, name="x", events=frozenset({"SEND"})), TOPIC, f"new {TOPIC}"),
        (attrs.evolve(FEEDBACK, name="somebody-elses"), f"{TOPIC}-2", None),
        (FEEDBACK, TOPIC, None),
        (FEEDBACK, None, None),
    ],
)
def test_where_feedback_goes_is_changed_when_it_has_to_be(
    destination: SesDestination, topic_arn: str | None, expected: str | None
) -> None:
    """Our destination is put right; one of somebody else that does it all is left alone."""
    ses = FakeSes()
    ses.sets["siutindei-tickets"] = configuration_set(destinations=(destination,))
    if topic_arn == f"{TOPIC}-2":
        ses.sets["siutindei-codes"] = configuration_set(
            destinations=(attrs.evolve(FEEDBACK, topic=topic_arn),)
        )

    set_up(ses, topic_arn=topic_arn)

    assert ([] if expected is None else [f"publish siutindei-tickets {expected}"]) == ses.told
    assert set_up(ses, topic_arn=topic_arn) == []


def test_a_limit_is_put_right() -> None:
    """A codes' set with another limit gets the right one, and nothing else."""
    ses = FakeSes()
    ses.sets["siutindei-codes"] = configuration_set(max_delivery=None)

    assert [Step(what="siutindei-codes, delivery limit 300 s")] == set_up(ses)
    assert ses.told == ["limit_delivery siutindei-codes 300"]
    assert needs(ses)["siutindei-codes: delivery limit"].standing == "ok"


def test_what_somebody_paused_stays_paused() -> None:
    """A pause has a reason, and its end is somebody's decision."""
    ses = FakeSes()
    ses.state = attrs.evolve(ACCOUNT, sending_enabled=False)
    ses.sets["siutindei-codes"] = configuration_set(sending_enabled=False)

    assert set_up(ses) == []


def test_a_reason_that_is_there_stays() -> None:
    """Nothing is taken away from the account's suppression list."""
    ses = FakeSes()
    ses.state = attrs.evolve(ACCOUNT, suppressed=frozenset({"BOUNCE", "NEW"}))

    set_up(ses)

    assert ses.state.suppressed == {"BOUNCE", "COMPLAINT", "NEW"}


def test_what_breaks_off_is_gone_on_with() -> None:
    """What was reported is done; the next time only the rest is."""
    ses = FakeSes.empty()
    told: list[Step] = []

    def report(step: Step) -> None:
        told.append(step)
        if len(told) == 3:
            ses.error = Unavailable("SES cannot be reached")

    with pytest.raises(Unavailable):
        make_sending(ses).set_up(topic_arn=TOPIC, dry_run=False, report=report)
    ses.error = None

    assert len(told) == 3
    assert len(set_up(ses)) == 4
    assert len(ses.told) == len(set(ses.told)) == 7


def test_nothing_here_follows_people() -> None:
    """What SES would change mails for is not among what is published."""
    assert sending.TRACKING.isdisjoint(EVENTS)
