"""Many processes that do one thing at the same moment: `run` starts them and gives what each said.

A launcher with a single thread imports everything, forks, and lets all of its children go at once.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT: Final = Path(__file__).parents[2]
SECONDS: Final = 120
DATABASE: Final = "SIUTINDEI_DATABASE"


def run(work: str, home: Path, *, processes: int, database: str | None = None) -> list[Any]:
    """Let every process do the same work, and give their answers in no order.

    Args:
        work: one of `WORKS`.
        home: where they do it.
        processes: how many.
        database: the database, when it is another one than the home's.
    """
    chosen = {} if database is None else {DATABASE: database}
    done = subprocess.run(
        [sys.executable, "-m", "tests.adapters.fleet", work, str(home), str(processes)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}", **chosen},
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    return [json.loads(line) for line in done.stdout.splitlines()]


# --- what they do ---------------------------------------------------------------------------------


def prepare(home: Path, number: int) -> object:
    """Make the database ready."""
    from siutindei.adapters import sqlite

    return sqlite.prepare(str(home / "siutindei.db"))


def submit(home: Path, number: int) -> object:
    """Submit a ticket by a user of one's own."""
    return _submit(home, user=f"user-{number}", command_id=f"command-{number}")


def repeat(home: Path, number: int) -> object:
    """Submit one and the same ticket by one and the same command."""
    return _submit(home, user="user", command_id="command")


def _submit(home: Path, *, user: str, command_id: str) -> object:
    from siutindei.app.ports import Context
    from siutindei.bootstrap import build
    from siutindei.settings import read_settings

    environment = {name: os.environ[name] for name in (DATABASE,) if name in os.environ}
    services = build(read_settings(environment, home=home))
    submitted = services.tickets.submit(
        Context(
            command_id=command_id,
            actor=f"user:{user}",
            request_id=command_id,
            correlation_id=command_id,
        ),
        ticket_type="access_request",
        user=user,
        email=f"{user}@example.com",
        body={"organization_name": f"Organization of {user}"},
        vouched=True,
    ).submitted
    services.store.close()
    return None if submitted is None else submitted.reference


def ring(home: Path, number: int) -> object:
    """Open the ring of keys, or make it."""
    from siutindei.adapters.keys import open_ring

    opened = open_ring(home / "keys" / "ring.json", may_make=True)
    return [opened.current, opened.key.hex()]


def erase(home: Path, number: int) -> object:
    """Write an erasure down."""
    from datetime import UTC, datetime

    from siutindei.adapters.erasures import ErasureFile
    from siutindei.app.ports import ListedErasure

    ErasureFile(home / "erasures.jsonl").add(
        ListedErasure(f"user-{number}"), at=datetime(2026, 1, 31, tzinfo=UTC)
    )
    return None


def grant(home: Path, number: int) -> object:
    """Make an organization and take somebody into another one."""
    from siutindei.adapters.directory import JsonDirectory

    directory = JsonDirectory(home / "directory.json")
    directory.create(grant_id=f"R{number}-organization", id=f"o{number}", name="O", manager="ann")
    directory.create(grant_id="R0-shared", id="shared", name="Shared", manager="ann")
    return directory.managed_by("ann")


WORKS: Final[dict[str, Callable[[Path, int], object]]] = {
    "prepare": prepare,
    "submit": submit,
    "repeat": repeat,
    "ring": ring,
    "erase": erase,
    "grant": grant,
}


# --- the launcher ---------------------------------------------------------------------------------


def _load() -> None:
    """Import what the works import, before there are many of us."""
    for name in (
        *("adapters.addresses", "adapters.codes", "adapters.directory", "adapters.erasures"),
        *("adapters.system", "app.tickets", "bootstrap"),
        *(["adapters.postgres"] if DATABASE in os.environ else []),
    ):
        importlib.import_module(f"siutindei.{name}")
    importlib.import_module("email_validator")


def _child(work: str, home: Path, number: int, gate: int, out: int) -> None:
    os.read(gate, 1)  # nothing is ever written: it ends when the launcher closes its side
    try:
        answer = WORKS[work](home, number)
    except BaseException:  # noqa: BLE001  # whoever reads the answers wants to see it
        answer = {"error": traceback.format_exc()}
    # Less than PIPE_BUF is written whole.
    os.write(out, json.dumps(answer).encode()[:4000] + b"\n")


def main(work: str, home: Path, processes: int) -> int:
    """Fork, open the gate, and wait for everybody."""
    _load()
    gate, opener = os.pipe()
    children = []
    for number in range(processes):
        child = os.fork()
        if child == 0:
            os.close(opener)
            _child(work, home, number, gate, sys.stdout.fileno())
            os._exit(0)
        children.append(child)
    os.close(opener)
    return max(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])))
