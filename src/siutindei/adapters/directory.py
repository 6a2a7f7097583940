"""The platform's catalogue and groups in one JSON document: a file under the home, by default.

It stands in for the platform where there is none: organizations, feedback labels, published
feedback, stars, and who is in the managers' group. Changes are idempotent by the grant's id and
written whole; where the document is kept says how nobody else writes in between.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from siutindei.adapters.files import refusal, sync_folder
from siutindei.adapters.locks import locked
from siutindei.app.ports import FeedbackLabel, GrantError, Organization, PortError, Unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


# Fields that we do not know are refused: writing the file again would drop them.


class _Organization(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    managers: list[str] = []


class _Label(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    name: str
    name_translations: dict[str, str] = {}
    display_order: int = 0


class Catalogue(msgspec.Struct, forbid_unknown_fields=True):
    """The document."""

    organizations: dict[str, _Organization] = {}
    labels: list[_Label] = []
    feedback: dict[str, dict[str, Any]] = {}
    stars: dict[str, int] = {}
    managers: list[str] = []
    grants: list[str] = []


def decode(data: bytes, name: str) -> Catalogue:
    """Read a document.

    Raises:
        Unusable: it is none, or has what we do not know.
    """
    try:
        return msgspec.json.decode(data, type=Catalogue)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        msg = f"{name} is not a catalogue ({error}); mend it or put it back from a backup"
        raise Unusable(msg) from error


def encode(catalogue: Catalogue) -> bytes:
    """Write a document, as a person reads it."""
    return msgspec.json.format(msgspec.json.encode(catalogue), indent=2)


class CatalogueDirectory(ABC):
    """See `ports.OrganizationDirectory` and `ports.IdentityProvider`."""

    @abstractmethod
    def read(self) -> Catalogue:
        """Give the document, an empty one when there is none.

        Raises:
            Unavailable: it is out of reach, now.
            Unusable: it cannot be read.
        """

    @abstractmethod
    def update(self, change: Callable[[Catalogue], None]) -> None:
        """Let `change` change the document, with nobody else meanwhile, and keep it.

        Raises:
            Unavailable: not now; nothing was changed, or nobody can tell.
            Unusable: it cannot be read or written.
        """

    def organization(self, id: str) -> Organization | None:
        """Find an organization."""
        found = self.read().organizations.get(id)
        return None if found is None else Organization(id=id, name=found.name)

    def search(self, text: str, *, limit: int) -> Sequence[Organization]:
        """Find organizations whose name contains a text, whatever its case."""
        wanted = text.strip().casefold()
        if not wanted:
            return []
        found = (
            Organization(id=id, name=entry.name)
            for id, entry in self.read().organizations.items()
            if wanted in entry.name.casefold()
        )
        return sorted(found, key=lambda entry: (entry.name.casefold(), entry.id))[:limit]

    def labels(self) -> Sequence[FeedbackLabel]:
        """List the labels, in display order."""
        labels = (
            FeedbackLabel(
                id=label.id,
                name=label.name,
                name_translations=label.name_translations,
                display_order=label.display_order,
            )
            for label in self.read().labels
        )
        return sorted(labels, key=lambda label: (label.display_order, label.name))

    def managed_by(self, user: str) -> int:
        """Count the organizations that a user manages."""
        return sum(user in entry.managers for entry in self.read().organizations.values())

    def create(self, *, grant_id: str, id: str, name: str, manager: str) -> None:
        """Make an organization."""

        def change(catalogue: Catalogue) -> None:
            catalogue.organizations[id] = _Organization(name=name, managers=[manager])

        self._change(grant_id, change)

    def add_manager(self, *, grant_id: str, id: str, manager: str) -> None:
        """Make a user manager of an organization.

        Raises:
            GrantError: there is no such organization (any more).
        """

        def change(catalogue: Catalogue) -> None:
            found = catalogue.organizations.get(id)
            if found is None:
                msg = f"there is no organization {id}"
                raise GrantError(msg, permanent=True)
            if manager not in found.managers:
                found.managers.append(manager)

        self._change(grant_id, change)

    def publish_feedback(self, *, grant_id: str, id: str, feedback: Mapping[str, object]) -> None:
        """Publish feedback on an organization."""

        def change(catalogue: Catalogue) -> None:
            catalogue.feedback[id] = dict(feedback)

        self._change(grant_id, change)

    def set_stars(self, *, grant_id: str, user: str, stars: int) -> None:
        """Set the number of stars that a user has; a late, smaller number does not win."""

        def change(catalogue: Catalogue) -> None:
            catalogue.stars[user] = max(stars, catalogue.stars.get(user, 0))

        self._change(grant_id, change)

    def join_managers(self, *, grant_id: str, user: str) -> None:
        """Put a user into the managers' group."""

        def change(catalogue: Catalogue) -> None:
            if user not in catalogue.managers:
                catalogue.managers.append(user)

        self._change(grant_id, change)

    def add_organization(self, *, id: str, name: str) -> None:
        """Put an organization into the catalogue by hand.

        Raises:
            Unavailable: the disk is full, or another process holds the document for too long.
            Unusable: the document cannot be read or written.
        """

        def change(catalogue: Catalogue) -> None:
            catalogue.organizations.setdefault(id, _Organization(name=name))

        self.update(change)

    def _change(self, grant_id: str, change: Callable[[Catalogue], None]) -> None:
        def once(catalogue: Catalogue) -> None:
            if grant_id not in catalogue.grants:
                change(catalogue)
                catalogue.grants.append(grant_id)

        try:
            self.update(once)
        except GrantError:
            raise
        except PortError as error:
            # Somebody mends the file or makes room: the grant is worth another try.
            raise GrantError(str(error), permanent=False) from error


@attrs.frozen
class JsonDirectory(CatalogueDirectory):
    """The document is a file: a new one takes the old one's place, under a lock."""

    path: Path

    def read(self) -> Catalogue:
        """Read the file."""
        try:
            return decode(self.path.read_bytes(), str(self.path))
        except FileNotFoundError:
            return Catalogue()
        except OSError as error:
            msg = f"{self.path} cannot be read: {error.strerror}"
            raise Unusable(msg) from error

    def update(self, change: Callable[[Catalogue], None]) -> None:
        """Read the file, and write it when it was changed; nobody else meanwhile."""
        with locked(self.path.with_name(f"{self.path.name}.lock")):
            catalogue = self.read()
            before = encode(catalogue)
            change(catalogue)
            after = encode(catalogue)
            if before != after:
                try:
                    self._write(after)
                except OSError as error:
                    raise refusal(f"{self.path} cannot be written", error) from error

    def _write(self, data: bytes) -> None:
        draft = self.path.with_name(f".{self.path.name}.draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
        sync_folder(self.path.parent)
