"""What tests share: a clock that they set, names that they can foretell, and given/when/then."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest

from siutindei.adapters.keys import KeyRing
from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.sqlite import MEMORY, SqliteStore, prepare
from siutindei.app.ports import Context
from siutindei.bootstrap import Services, build
from siutindei.settings import read_settings

if TYPE_CHECKING:
    from pathlib import Path

START: Final = datetime(2026, 1, 31, 1, 30, tzinfo=UTC)
RING: Final = KeyRing(current="test", keys={"test": bytes(range(32))})


class VirtualClock:
    """A clock that stands until it is moved; sleeping moves it."""

    def __init__(self, at: datetime = START) -> None:
        self.at = at

    def now(self) -> datetime:
        """Give the time that it stands at."""
        return self.at

    def sleep(self, seconds: float) -> None:
        """Move on."""
        self.at += timedelta(seconds=seconds)

    def advance(self, **duration: float) -> None:
        """Move on by a `timedelta`, or back by a negative one."""
        self.at += timedelta(**duration)


class CountingIds:
    """Names that are the same at every run."""

    def __init__(self) -> None:
        self.count = 0

    def uuid(self) -> str:
        """Give the next UUID."""
        self.count += 1
        return f"00000000-0000-4000-8000-{self.count:012d}"

    def token(self) -> str:
        """Give the next token."""
        self.count += 1
        return f"token-{self.count:016d}"


_COMMANDS: Final = CountingIds()


def context(command_id: str | None = None, actor: str = "operator:test") -> Context:
    """Say who acts; every call is another command unless it is given an id."""
    name = command_id or f"command-{_COMMANDS.uuid()}"
    return Context(command_id=name, actor=actor, request_id=name, correlation_id=name)


def make_services(
    home: Path, *, on_disk: bool = False, environment: dict[str, str] | None = None, **seams: Any
) -> Services:
    """Build the application with a virtual clock, names in order, and mail in memory.

    Args:
        home: where files go.
        on_disk: whether the store is a file under the home instead of memory.
        environment: settings.
        **seams: other parts, by name.
    """
    settings = read_settings(environment or {}, home=home)
    clock = seams.setdefault("clock", VirtualClock())
    seams.setdefault("ids", CountingIds())
    seams.setdefault("mail", MemoryMail())
    for ring in ("vault_keys", "code_keys", "index_key"):
        seams.setdefault(ring, RING)
    if "store" not in seams:
        database = settings.sqlite_path if on_disk else MEMORY
        prepare(database)
        seams["store"] = SqliteStore(database, master=seams["vault_keys"], clock=clock)
    return build(settings, **seams)


def drain(services: Services) -> list[str]:
    """Work on what is due, and give the results in order."""
    results: list[str] = []
    services.delivery.drain(
        report=lambda outcome: (
            results.append(outcome.result) if outcome.result != "nothing_to_do" else None
        )
    )
    return results


# --- given / when / then --------------------------------------------------------------------------


@attrs.frozen
class Then:
    """What a decision gave, for a test to say what it should be."""

    events: tuple[Any, ...] | None
    error: Exception | None

    def then(self, *expected: object) -> None:
        """Expect exactly these events."""
        if self.error is not None:
            raise self.error

        assert expected == self.events

    def then_nothing(self) -> None:
        """Expect that it was already true."""
        self.then()

    def then_raises(self, kind: type[Exception]) -> Exception:
        """Expect a named refusal, and give it."""
        if self.error is None:
            pytest.fail(f"{kind.__name__} was not raised; it gave {self.events}")

        assert type(self.error) is kind
        return self.error


@attrs.frozen
class Given:
    """A history."""

    evolve: Callable[[Any, Any], Any]
    initial: Any
    history: Sequence[Any]

    @property
    def state(self) -> Any:
        """What the history amounts to."""
        return reduce(self.evolve, self.history, self.initial)

    def when(self, decide: Callable[..., tuple[Any, ...]], **arguments: Any) -> Then:
        """Decide."""
        try:
            return Then(tuple(decide(self.state, **arguments)), None)
        except Exception as error:  # noqa: BLE001  # the test says which it expects
            return Then(None, error)


def given(aggregate: Any, *history: Any) -> Given:
    """Start from what happened to an aggregate (its module) before."""
    return Given(aggregate.evolve, aggregate.INITIAL, history)
