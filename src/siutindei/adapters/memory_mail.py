"""Mail into a list: for tests and dry runs."""

from __future__ import annotations

import threading
from collections import deque
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from siutindei.app import ports

if TYPE_CHECKING:
    from collections.abc import Callable

    from siutindei.domain.mail import Mail


class MemoryMail:
    """A MailPort that keeps mails in memory; it implements `siutindei.app.ports.MailPort`.

    As long as it can tell what it took, it takes a notification once, as a Maildir does. When it
    cannot (`can_tell` False), it is like a service without idempotency, as SES is: every call is a
    mail with an id of its own, and `lookup` knows nothing.

    Args:
        can_tell: whether `lookup` knows, and a repeated notification is recognised.
        has_feedback: whether deliveries and bounces are said to be reported back.
        time_out: how long one call is said to take at the most.
        journal: is told `before` a delivery and `after` one that succeeded, with the notification.

    Attributes:
        sent: every mail that it took, in order.
    """

    def __init__(
        self,
        *,
        can_tell: bool = True,
        has_feedback: bool = False,
        time_out: timedelta = timedelta(seconds=5),
        journal: Callable[[str, str], None] | None = None,
    ) -> None:
        self.can_tell: bool = can_tell
        self.has_feedback: bool = has_feedback
        self.time_out: timedelta = time_out
        self.sent: list[Mail] = []
        self._ids: dict[str, str] = {}
        self._script: Final[deque[tuple[ports.MailError | None, bool]]] = deque()
        self._journal = journal
        self._lock: Final = threading.Lock()
        self._calls = 0

    def __repr__(self) -> str:
        return f"<MemoryMail {len(self.sent)} sent>"

    def then_raises(self, error: ports.MailError, *, takes_it: bool = False) -> None:
        """Let the next call that has no answer yet raise an error.

        Args:
            error: what is raised.
            takes_it: whether the mail is taken all the same: an answer that got lost.
        """
        self._script.append((error, takes_it))

    def then_takes(self) -> None:
        """Let the next call that has no answer yet succeed, before a later one raises an error."""
        self._script.append((None, True))

    def send(self, mail: Mail) -> str:
        if self._journal is not None:
            self._journal("before", mail.notification_id)
        with self._lock:
            error, takes_it = self._script.popleft() if self._script else (None, True)
            message_id = self._take(mail) if takes_it else ""
        if error is not None:
            raise error
        if self._journal is not None:
            self._journal("after", mail.notification_id)
        return message_id

    def lookup(self, notification_id: str) -> ports.Found:
        if not self.can_tell:
            return ports.Found(answer="cannot_tell")
        message_id = self._ids.get(notification_id)
        if message_id is None:
            return ports.Found(answer="not_accepted")
        return ports.Found(answer="accepted", message_id=message_id)

    def forget(self, notification_id: str) -> None:
        with self._lock:
            self.sent = [mail for mail in self.sent if mail.notification_id != notification_id]
            self._ids.pop(notification_id, None)

    def _take(self, mail: Mail) -> str:
        self._calls += 1
        if not self.can_tell:
            self.sent.append(mail)
            return f"memory-{mail.notification_id}-{self._calls}"
        if mail.notification_id not in self._ids:
            self.sent.append(mail)
            self._ids[mail.notification_id] = f"memory-{mail.notification_id}"
        return self._ids[mail.notification_id]
