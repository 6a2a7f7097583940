"""Erasing again: a backup that was restored brings nobody back who was erased."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import pytest

from siutindei.adapters.sqlite import prepare
from siutindei.app.erasing import erase_again, scrub_what_is_owed
from siutindei.app.ports import ListedErasure, Unavailable, Unusable
from siutindei.domain.person import PersonErased
from tests.app.test_people import busy, erase, personal
from tests.app.world import ANN, BOB, FlakyStore, World, make_world
from tests.support import START, VirtualClock

if TYPE_CHECKING:
    from pathlib import Path

EVE: Final = "eve@example.com"


def again(world: World, store: Any = None) -> list[str]:
    """Erase again whom the list names."""
    services = world.services
    return list(
        erase_again(store or world.store, services.erasures, clock=world.clock, ids=services.ids)
    )


def listed(world: World, *users: str) -> None:
    """Let the list name them: it is newer than the store."""
    for user in users:
        world.services.erasures.add(ListedErasure(user), at=START)


def readable(world: World) -> str:
    """Give all that can be read with the keys."""
    return "\n".join(world.store.open(value).text for value in personal(world))


def test_whoever_is_listed_and_has_keys_is_erased_again(world: World) -> None:
    """Nothing of them can be read afterwards, the history says so, and others stay."""
    ann = busy(world)
    before = readable(world)
    listed(world, ann)
    done = again(world)
    after = readable(world)
    (event,) = [entry for entry in world.store.read() if entry.name == "person.erased.v1"]

    assert [ann] == done
    assert ANN in before
    assert ANN not in after
    assert "Welcome, Ann." not in after
    assert BOB in after
    assert ("erasures", f"person-{ann}") == (event.context.actor, event.stream)
    assert "the list of erasures" in after
    assert world.store.views.person_by_address(world.services.addresses.fingerprint(ANN)) is None


def test_it_is_done_once(world: World) -> None:
    """Who was erased, here or by an earlier start, costs a look and changes nothing."""
    ann = busy(world)
    listed(world, ann, ann)
    done = [again(world) for _ in range(3)]
    last = world.store.last_position()
    erase(world, ann)

    assert [[ann], [], []] == done
    assert last == world.store.last_position()


def test_nobody_is_erased_where_nothing_happened(world: World) -> None:
    """An empty database stays empty, whoever is listed: an import fills no other."""
    listed(world, *(f"u-{number}" for number in range(1200)))

    assert [] == again(world)
    assert 0 == world.store.last_position()


def test_who_came_after_the_backup_keeps_nothing_here(world: World) -> None:
    """A person whom a restored database does not know is erased in it: nobody is kept as them."""
    busy(world)
    users = [f"u-{number}" for number in range(1200)]
    listed(world, *users)

    assert users == again(world)
    assert [] == again(world)
    with pytest.raises(PersonErased):
        world.submit(user="u-7", email="u-7@example.com")


def test_an_address_that_the_backup_does_not_know_of_is_reached(world: World) -> None:
    """An address that they proved after the backup, and decided under, is erased with them."""
    ann = busy(world)
    mine, others = (world.services.addresses.fingerprint(email) for email in (EVE, BOB))
    world.decline(world.submit(user="user-9"), by=EVE)
    before = readable(world)
    world.services.erasures.add(ListedErasure(ann, (mine, others)), at=START)
    again(world)
    after = readable(world)
    world.decline(world.submit(user="user-8"), by=EVE)
    again(world)

    assert EVE in before
    assert EVE not in after
    # Bob has the other one here; and who has an address afterwards is somebody else.
    assert BOB in after
    assert EVE in readable(world)


def test_what_an_erasure_reached_is_on_the_list(world: World) -> None:
    """The addresses that a person proved are listed with them."""
    ann = busy(world)
    erase(world, ann)

    assert [ListedErasure(ann, (world.services.addresses.fingerprint(ANN),))] == list(
        world.services.erasures.all()
    )


def test_who_is_recorded_as_erased_is_not_recorded_twice(world: World) -> None:
    """Keys that came back without the events going back are destroyed, and nothing is appended."""
    ann = busy(world)
    with world.store.reading() as cursor:
        cursor.execute("SELECT * FROM vault_keys WHERE owner = ?", (ann,))
        rows = [tuple(row) for row in cursor.fetchall()]
    erase(world, ann)
    last = world.store.last_position()
    with world.store.writing() as cursor:
        for row in rows:
            cursor.execute("INSERT INTO vault_keys VALUES (?, ?, ?, ?, ?)", row)

    assert ANN in readable(world)
    assert [ann] == again(world)
    assert ANN not in readable(world)
    assert last == world.store.last_position()


def test_of_two_processes_one_erases(world: World) -> None:
    """Who finds under the lock that another was first does nothing more."""
    ann = busy(world)
    listed(world, ann)

    class Late(FlakyStore):
        """A store that looked before the other was done."""

        def not_erased(self, owners: Any) -> Any:
            return [ann]

    again(world)
    last = world.store.last_position()
    world.store.__class__ = Late

    assert [] == again(world)
    assert last == world.store.last_position()


def test_who_may_not_erase_may_not_read(world: World) -> None:
    """A role that cannot write is told why it is turned away; a locked store is another matter."""
    ann = busy(world)
    listed(world, ann)
    world.store.then_fails(Unusable("this role may not do this"), Unavailable("locked"))

    with pytest.raises(Unusable, match=r"erased is back.*may not do this"):
        again(world)
    with pytest.raises(Unavailable, match=r"^locked$"):
        again(world)
    assert ANN in readable(world)
    assert [ann] == again(world)


def test_a_file_is_rewritten_without_the_keys(tmp_path: Path) -> None:
    """What was destroyed again is in no file of the store."""
    database = str(tmp_path / "events.db")
    prepare(database)
    clock = VirtualClock()
    world = make_world(tmp_path / "home", store=FlakyStore(clock, database), clock=clock)
    ann = busy(world)
    with world.store.reading() as cursor:
        cursor.execute("SELECT wrapped FROM vault_keys WHERE owner = ?", (ann,))
        wrapped = [row["wrapped"] for row in cursor.fetchall()]
    listed(world, ann)
    before = b"".join(path.read_bytes() for path in tmp_path.glob("events.db*"))
    again(world)
    after = b"".join(path.read_bytes() for path in tmp_path.glob("events.db*"))
    world.store.close()

    assert all(key in before for key in wrapped)
    assert not any(key in after for key in wrapped)


def test_a_scrub_that_failed_is_done_later(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that others kept open are cleaned by whoever comes next, and then it is enough."""
    tries: list[str] = []

    def rewrite() -> None:
        tries.append("try")
        if len(tries) < 3:
            raise Unavailable("erased, but others read")

    ann = busy(world)
    monkeypatch.setattr(world.store, "rewrite", rewrite)
    with pytest.raises(Unavailable):
        erase(world, ann)

    assert [False, True, True] == [scrub_what_is_owed(world.store) for _ in range(3)]
    assert 3 == len(tries)
