"""Personal data in the files: never clear, and gone for good when it is erased."""

from __future__ import annotations

import base64
import json
import sqlite3
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from siutindei.adapters import vault
from siutindei.adapters.memory_mail import MemoryMail
from siutindei.adapters.sqlite import SqliteStore
from siutindei.app.ports import MailRefused, Unusable
from siutindei.domain.personal import Personal
from tests.contracts import ANN, append, email_of, signed_up
from tests.support import RING, VirtualClock, context, drain, make_services

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from siutindei.bootstrap import Services

ORGANIZATION: Final = "00000000-0000-4000-8000-00000000000a"
#: Everything that somebody types in this story; each value is found in nothing else.
PLANTED: Final = {
    "email": "zq-email@example.com",
    "reviewer": "zq-reviewer@example.com",
    "operator": "zq-operator@example.com",
    "organization_name": "Zq Kite Club 紙鳶",
    "request_message": "zq-message ünïcode",
    "description": "zq-description",
    "suggested_district": "zq-district",
    "suggested_address": "zq-address 7/F",
    "additional_notes": "zq-notes",
    "media_urls": "https://zq-media.example.com/1",
    "feedback": "zq-feedback",
    "note": "zq-note",
    "declined": "zq-declined",
    "discard": "zq-discard",
    "reason": "zq-reason",
    "lat": "22.3193111",
    "lng": "114.1694222",
}


@pytest.fixture
def services(tmp_path: Path) -> Iterator[Services]:
    """An installation with a story in which everything personal occurs."""
    mail = MemoryMail()
    services = make_services(tmp_path / "home", on_disk=True, mail=mail)
    user = services.sign_in.sign_up(context(), email=PLANTED["email"], locale="zh-HK")
    started = services.sign_in.start(context(), client="console", email=PLANTED["email"], user=user)
    code = services.codes.code(key_id="test", challenge=started.challenge)
    services.sign_in.answer(context(), challenge_id=started.challenge, code=code)
    services.directory.add_organization(id=ORGANIZATION, name="Public Club")
    bodies: dict[Any, dict[str, Any]] = {
        "access_request": {
            "organization_name": PLANTED["organization_name"],
            "request_message": PLANTED["request_message"],
        },
        "organization_suggestion": {
            "organization_name": PLANTED["organization_name"],
            "description": PLANTED["description"],
            "suggested_district": PLANTED["suggested_district"],
            "suggested_address": PLANTED["suggested_address"],
            "suggested_lat": float(PLANTED["lat"]),
            "suggested_lng": float(PLANTED["lng"]),
            "additional_notes": PLANTED["additional_notes"],
            "media_urls": [PLANTED["media_urls"]],
        },
        "organization_feedback": {
            "organization_id": ORGANIZATION,
            "stars": 5,
            "description": PLANTED["feedback"],
        },
    }
    for ticket_type, body in bodies.items():
        services.tickets.submit(
            context(), ticket_type=ticket_type, user=user, email=PLANTED["email"], body=body
        )
    services.tickets.approve(
        context(),
        "R00001",
        by=PLANTED["reviewer"],
        note=PLANTED["note"],
        create_organization=True,
    )
    services.tickets.decline(context(), "S00001", by=PLANTED["reviewer"], note=PLANTED["declined"])
    drain(services)
    # A mail that is refused for good is discarded with a reason that a person types.
    mail.then_raises(MailRefused("no such mailbox"))
    services.tickets.approve(context(), "F00001", by="eve")
    drain(services)
    (dead,) = services.dead_letters.all()
    services.dead_letters.discard(
        context(), [dead.id], by=PLANTED["operator"], reason=PLANTED["discard"]
    )
    yield services
    services.store.close()


def user_of(services: Services) -> str:
    """Give the user of the story."""
    submitted = services.tickets.show("R00001").submitted
    return "" if submitted is None else submitted.submitter


def files(services: Services) -> dict[str, bytes]:
    """Read every file that the store has."""
    folder = services.settings.home
    return {path.name: path.read_bytes() for path in folder.glob("siutindei.db*")}


def spellings(text: str) -> set[bytes]:
    """Give a text as it might stand in a file: in several encodings, as JSON, in base64."""
    clear = text.encode()
    shifted = (base64.b64encode(b"\0" * shift + clear) for shift in range(3))
    return {
        clear,
        text.encode("utf-16-le"),
        text.encode("utf-16-be"),
        json.dumps(text)[1:-1].encode(),
        clear.hex().encode(),
        # The ends depend on what stands beside it.
        *(encoded[4:-4] for encoded in shifted),
    }


def erase(services: Services) -> int:
    """Erase the user of the story, and give how many fields that took away."""
    return services.people.erase(
        context(), user_of(services), by=PLANTED["operator"], reason=PLANTED["reason"]
    ).erased_fields


def opened(services: Services) -> str:
    """Give all that can be read with the keys."""
    values = (
        getattr(entry.event, field.name)
        for entry in services.store.read()
        for field in attrs.fields(type(entry.event))
    )
    texts = [services.store.open(value).text for value in values if isinstance(value, Personal)]
    return "\n".join(texts)


def test_the_story_has_everything_in_it(services: Services) -> None:
    """What is searched for in the files can be read with the keys, and the user's part erased."""
    before = opened(services)
    erased = erase(services)
    after = opened(services)

    # An operator is kept as a fingerprint, and a reason is typed when somebody is erased.
    assert {"operator", "reason"} == {name for name, text in PLANTED.items() if text not in before}
    assert {"reviewer", "discard", "reason"} == {
        name for name, text in PLANTED.items() if text in after
    }
    assert erased > 20


@pytest.mark.parametrize("name", PLANTED)
def test_nothing_personal_is_clear_in_any_file(services: Services, name: str) -> None:
    """Database, write-ahead log and shared memory hold nothing that somebody typed."""
    while_open = files(services)
    services.store.scrub()
    scrubbed = files(services)
    services.store.close()
    closed = files(services)

    assert {"siutindei.db", "siutindei.db-wal", "siutindei.db-shm"} <= while_open.keys()
    assert while_open["siutindei.db-wal"]
    assert [] == [
        (file, spelling)
        for contents in (while_open, scrubbed, closed)
        for file, content in contents.items()
        for spelling in spellings(PLANTED[name])
        if spelling.lower() in content.lower()
    ]


def test_the_search_would_find_it(services: Services) -> None:
    """What is not personal is found by the same search: a user's id, a ticket's number."""
    content = b"".join(files(services).values()).lower()

    assert user_of(services).encode() in content
    assert b"r00001" in content


def test_no_key_is_clear_in_any_file(services: Services) -> None:
    """No plain key stands in any file of the store, nor the master key."""
    content = b"".join(files(services).values())
    keys = plain_keys(services)

    assert len(keys) > 5
    assert [] == [key for key in (*keys.values(), RING.key) if key in content]


def wrapped_keys(services: Services) -> dict[str, sqlite3.Row]:
    """Give every wrapped key, by its id."""
    with sqlite3.connect(services.settings.sqlite_path) as connection:
        connection.row_factory = sqlite3.Row
        rows = {row["key_id"]: row for row in connection.execute("SELECT * FROM vault_keys")}
    connection.close()
    return rows


def plain_keys(services: Services) -> dict[str, bytes]:
    """Unwrap every key."""
    return {
        key_id: AESGCM(RING.key).decrypt(
            row["wrapped"][:12],
            row["wrapped"][12:],
            f"{key_id}\n{row['owner']}\n{row['stream']}".encode(),
        )
        for key_id, row in wrapped_keys(services).items()
    }


def test_what_is_erased_is_in_no_file(services: Services) -> None:
    """After an erasure no byte of a key is left, wrapped or plain; what it sealed is erased."""
    user = user_of(services)
    wrapped, plain = wrapped_keys(services), plain_keys(services)
    theirs = {key_id for key_id, row in wrapped.items() if row["owner"] == user}
    before = b"".join(files(services).values())
    # Somebody else's connection, idle, is no hindrance.
    other = SqliteStore(services.settings.sqlite_path, master=RING, clock=VirtualClock())
    sealed = email_of(other, f"person-{user}")
    erase(services)
    while_open = b"".join(files(services).values())
    other_says = other.open(sealed)
    other.close()
    services.store.close()
    after = b"".join(
        path.read_bytes() for path in services.settings.home.rglob("*") if path.is_file()
    )

    assert len(theirs) > 5
    assert all(wrapped[key_id]["wrapped"] in before for key_id in theirs)
    for content in (while_open, after):
        assert [] == [key_id for key_id in theirs if wrapped[key_id]["wrapped"] in content]
        assert [] == [key_id for key_id in theirs if wrapped[key_id]["wrapped"][12:] in content]
        assert [] == [key_id for key_id in theirs if plain[key_id] in content]
        # Those of others are still there.
        assert all(wrapped[key_id]["wrapped"] in content for key_id in wrapped.keys() - theirs)
    assert other_says.is_erased


def test_deleting_alone_is_not_enough(services: Services) -> None:
    """Until the files are scrubbed the write-ahead log still holds what was destroyed."""
    user = user_of(services)
    theirs = [row["wrapped"] for row in wrapped_keys(services).values() if row["owner"] == user]
    with services.store.transaction(context()) as tx:
        tx.destroy_keys(user, forever=True)
    before = b"".join(files(services).values())
    services.store.scrub()
    after = b"".join(files(services).values())

    assert any(key in before for key in theirs)
    assert not any(key in after for key in theirs)


def test_the_erased_are_shown_as_erased(services: Services) -> None:
    """Every way to look at an erased person's data works, and shows nothing of it."""
    user = user_of(services)
    erase(services)
    tickets = [
        *services.tickets.list().items,
        *(services.tickets.show(reference) for reference in ("R00001", "S00001", "F00001")),
    ]
    shown = json.dumps(services.people.export(context(), user, by="op"), ensure_ascii=False)
    again = erase(services)

    assert 6 == len(tickets)
    assert {"[erased]"} == {
        item.submitted.submitter_email.text for item in tickets if item.submitted is not None
    }
    assert 0 == again
    assert [] == [
        name
        for name, text in PLANTED.items()
        if name not in {"reviewer", "operator", "reason", "discard"} and text in shown
    ]
    assert "[erased]" in shown


def test_an_export_has_everything(services: Services) -> None:
    """Before that, all that the user typed is theirs to get."""
    shown = json.dumps(
        services.people.export(context(), user_of(services), by="op"), ensure_ascii=False
    )

    assert [] == [
        name
        for name, text in PLANTED.items()
        if name not in {"operator", "reason", "discard"} and text not in shown
    ]


def test_a_ciphertext_is_bound_to_its_row(services: Services) -> None:
    """Who can write to the file cannot make one person's data appear as another's."""
    database = services.settings.sqlite_path
    append(services.store, ANN, signed_up())
    with sqlite3.connect(database) as connection:
        connection.execute(
            "UPDATE stored_events SET originator_id = 'person-eve' WHERE"
            " originator_id = 'person-ann'"
        )
    connection.close()
    with pytest.raises(Unusable, match="person-eve/1/email was altered or moved"):
        services.store.open(email_of(services.store, "person-eve"))


@pytest.mark.parametrize("column", ["owner", "stream", "key_id"])
def test_a_wrapped_key_is_bound_to_its_row(services: Services, column: str) -> None:
    """Who can write to the file cannot give a key to another owner or stream."""
    append(services.store, ANN, signed_up())
    with sqlite3.connect(services.settings.sqlite_path) as connection:
        connection.execute(f"UPDATE vault_keys SET {column} = 'other' WHERE owner = 'ann'")  # noqa: S608
    connection.close()
    sealed = email_of(services.store, ANN)
    if column == "key_id":
        sealed = Personal(token=f"other.{str(sealed.token).partition('.')[2]}", place=sealed.place)
    with pytest.raises(Unusable, match="is not the one that wrapped"):
        services.store.open(sealed)


def test_a_damaged_wrapped_key_is_named(services: Services) -> None:
    """A wrapped key that lost its bytes is a matter of the installation, and no crash."""
    append(services.store, ANN, signed_up())
    with sqlite3.connect(services.settings.sqlite_path) as connection:
        connection.execute("UPDATE vault_keys SET wrapped = x'00' WHERE owner = 'ann'")
    connection.close()
    with pytest.raises(Unusable, match="is not the one that wrapped"):
        services.store.open(email_of(services.store, ANN))


def test_a_page_of_tickets_looks_each_key_up_once(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Opening a ticket unwraps one key for each owner, not one for each field."""
    unwrapped: list[str] = []
    unwrap = vault.CursorVault._unwrap

    def count(self: Any, key_id: str, *rest: Any) -> bytes:
        unwrapped.append(key_id)
        return unwrap(self, key_id, *rest)

    monkeypatch.setattr(vault.CursorVault, "_unwrap", count)
    services.tickets.show("S00001")

    assert 2 == len(unwrapped)
