"""The platform's catalogue and groups in one JSON file under the home.

It stands in for the platform where there is none: organizations, feedback labels, published
feedback, stars, and who is in the managers' group. Changes are idempotent by the grant's id and
written whole (a new file that takes the old one's place) under a lock between processes.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import msgspec

from siutindei.adapters.files import refusal, sync_folder
from siutindei.adapters.locks import locked
from siutindei.app.ports import FeedbackLabel, GrantError, Organization, PortError, Unusable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence


# Fields that we do not know are refused: writing the file again would drop them.


class _Organization(msgspec.Struct, forbid_unknown_fields=True):
    name: str
    managers: list[str] = []


class _Label(msgspec.Struct, forbid_unknown_fields=True):
    id: str
    name: str
    name_translations: dict[str, str] = {}
    display_order: int = 0


class _Catalogue(msgspec.Struct, forbid_unknown_fields=True):
    organizations: dict[str, _Organization] = {}
    labels: list[_Label] = []
    feedback: dict[str, dict[str, Any]] = {}
    stars: dict[str, int] = {}
    managers: list[str] = []
    grants: list[str] = []


@attrs.frozen
class JsonDirectory:
    """See `ports.OrganizationDirectory` and `ports.IdentityProvider`."""

    path: Path

    def organization(self, id: str) -> Organization | None:
        """Find an organization."""
        found = self._read().organizations.get(id)
        return None if found is None else Organization(id=id, name=found.name)

    def search(self, text: str, *, limit: int) -> Sequence[Organization]:
        """Find organizations whose name contains a text, whatever its case."""
        wanted = text.strip().casefold()
        if not wanted:
            return []
        found = (
            Organization(id=id, name=entry.name)
            for id, entry in self._read().organizations.items()
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
            for label in self._read().labels
        )
        return sorted(labels, key=lambda label: (label.display_order, label.name))

    def managed_by(self, user: str) -> int:
        """Count the organizations that a user manages."""
        return sum(user in entry.managers for entry in self._read().organizations.values())

    def create(self, *, grant_id: str, id: str, name: str, manager: str) -> None:
        """Make an organization."""

        def change(catalogue: _Catalogue) -> None:
            catalogue.organizations[id] = _Organization(name=name, managers=[manager])

        self._change(grant_id, change)

    def add_manager(self, *, grant_id: str, id: str, manager: str) -> None:
        """Make a user manager of an organization.

        Raises:
            GrantError: there is no such organization (any more).
        """

        def change(catalogue: _Catalogue) -> None:
            found = catalogue.organizations.get(id)
            if found is None:
                msg = f"there is no organization {id}"
                raise GrantError(msg, permanent=True)
            if manager not in found.managers:
                found.managers.append(manager)

        self._change(grant_id, change)

    def publish_feedback(self, *, grant_id: str, id: str, feedback: Mapping[str, object]) -> None:
        """Publish feedback on an organization."""

        def change(catalogue: _Catalogue) -> None:
            catalogue.feedback[id] = dict(feedback)

        self._change(grant_id, change)

    def set_stars(self, *, grant_id: str, user: str, stars: int) -> None:
        """Set the number of stars that a user has; a late, smaller number does not win."""

        def change(catalogue: _Catalogue) -> None:
            catalogue.stars[user] = max(stars, catalogue.stars.get(user, 0))

        self._change(grant_id, change)

    def join_managers(self, *, grant_id: str, user: str) -> None:
        """Put a user into the managers' group."""

        def change(catalogue: _Catalogue) -> None:
            if user not in catalogue.managers:
                catalogue.managers.append(user)

        self._change(grant_id, change)

    def add_organization(self, *, id: str, name: str) -> None:
        """Put an organization into the catalogue by hand.

        Raises:
            Unavailable: the disk is full, or another process holds the file for too long.
            Unusable: the file cannot be read or written.
        """
        with self._changing() as catalogue:
            catalogue.organizations.setdefault(id, _Organization(name=name))

    def _read(self) -> _Catalogue:
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=_Catalogue)
        except FileNotFoundError:
            return _Catalogue()
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            msg = f"{self.path} is not a catalogue ({error}); mend it or put it back from a backup"
            raise Unusable(msg) from error
        except OSError as error:
            msg = f"{self.path} cannot be read: {error.strerror}"
            raise Unusable(msg) from error

    def _change(self, grant_id: str, change: Callable[[_Catalogue], None]) -> None:
        try:
            with self._changing() as catalogue:
                if grant_id not in catalogue.grants:
                    change(catalogue)
                    catalogue.grants.append(grant_id)
        except GrantError:
            raise
        except PortError as error:
            # Somebody mends the file or makes room: the grant is worth another try.
            raise GrantError(str(error), permanent=False) from error

    @contextmanager
    def _changing(self) -> Iterator[_Catalogue]:
        """Read the catalogue, and write it when the block has changed it; nobody else meanwhile."""
        with locked(self.path.with_name(f"{self.path.name}.lock")):
            catalogue = self._read()
            before = msgspec.json.encode(catalogue)
            yield catalogue
            if before != msgspec.json.encode(catalogue):
                try:
                    self._write(catalogue)
                except OSError as error:
                    raise refusal(f"{self.path} cannot be written", error) from error

    def _write(self, catalogue: _Catalogue) -> None:
        draft = self.path.with_name(f".{self.path.name}.draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(catalogue), indent=2))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(self.path)
        sync_folder(self.path.parent)
