"""What is reported of a mail that nobody knows: kept, once, until its send is recorded."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, Final

import attrs

from siutindei.domain import report
from tests.support import START

if TYPE_CHECKING:
    from siutindei.domain.report import Reports

BOUNCED: Final = report.Parked(
    kind="bounced",
    name="Bounce",
    message_id="m-1",
    feedback_id="f-1",
    main_type="Permanent",
    happened_at=START,
    at=START,
)
DELIVERED: Final = report.Parked(
    kind="delivered",
    name="Delivery",
    message_id="m-1",
    feedback_id="f-2",
    happened_at=START,
    at=START,
)
FOREIGN: Final = attrs.evolve(BOUNCED, foreign=True)
APPLIED: Final = report.Applied(notification="n-1", at=START)


def after(*events: Any) -> Reports:
    """Give the state after some events."""
    return reduce(report.evolve, events, report.INITIAL)


def test_what_is_reported_is_kept_in_order() -> None:
    """Everything that is said of the mail, and what it is called."""
    assert (BOUNCED,) == report.park(report.INITIAL, BOUNCED)
    state = after(BOUNCED, DELIVERED)

    assert ("m-1", (BOUNCED, DELIVERED), "parked") == (
        state.message_id,
        state.waiting,
        state.status,
    )


def test_the_same_report_is_kept_once() -> None:
    """A later copy of it adds nothing, whenever it comes."""
    later = attrs.evolve(BOUNCED, at=START.replace(hour=5))

    assert () == report.park(after(BOUNCED, DELIVERED), later)


def test_one_that_says_whose_mail_it_is_is_kept_all_the_same() -> None:
    """Whichever copy comes first, the mail is somebody else's in the end."""
    assert (FOREIGN,) == report.park(after(BOUNCED), FOREIGN)
    assert () == report.park(after(FOREIGN), BOUNCED)
    assert "foreign" == after(BOUNCED, FOREIGN).status == after(FOREIGN, DELIVERED).status


def test_what_is_kept_is_applied_once() -> None:
    """The send was recorded: nothing waits any more, and it is known which mail it was."""
    (applied,) = report.apply(after(BOUNCED), notification="n-1", at=START)
    state = after(BOUNCED, applied)

    assert APPLIED == applied
    assert ("applied", "n-1", ()) == (state.status, state.notification, state.waiting)
    assert () == report.apply(state, notification="n-1", at=START)


def test_nothing_that_is_kept_is_nothing_to_apply() -> None:
    """Most mails are known before anything is reported of them."""
    assert () == report.apply(report.INITIAL, notification="n-1", at=START)
    assert "none" == report.INITIAL.status


def test_a_stream_is_named_by_a_hash() -> None:
    """Whatever the service calls a mail, it is the name of a stream, and always the same one."""
    assert "report-a461b472cb41a9ec3dee5c90cf8e4a78" == report.stream("m-1")
    assert report.stream("a/b c") != report.stream("a-b-c")
