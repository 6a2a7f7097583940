"""A process that submits tickets and sends their mails until it is told to stop.

It stops when its standard input is closed, and prints how many tickets it submitted, and how long
the slowest command took.
"""

from __future__ import annotations

import json
import os
import select
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from subprocess import PIPE, Popen
from typing import TYPE_CHECKING, Any, Final

from siutindei.adapters.memory_mail import MemoryMail
from siutindei.bootstrap import build
from siutindei.settings import read_settings
from tests.support import context, drain

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[2]


@contextmanager
def busy(home: Path, *, database: str, writers: int = 2) -> Iterator[list[dict[str, Any]]]:
    """Let some processes write for as long as the block lasts; what each did is there after it."""
    processes = [
        Popen(
            [sys.executable, "-m", "tests.adapters.busy", home, str(number)],
            cwd=ROOT,
            env={**os.environ, "SIUTINDEI_DATABASE": database},
            stdin=PIPE,
            stdout=PIPE,
            text=True,
        )
        for number in range(writers)
    ]
    done: list[dict[str, Any]] = []
    try:
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "writing\n"
        yield done
    finally:
        for process in processes:
            out, _ = process.communicate(timeout=60)
            done.append(json.loads(out) if process.returncode == 0 else {"error": out})


def main(home: Path, writer: str) -> None:
    """Write until somebody closes the standard input."""
    services = build(read_settings(os.environ, home=home), mail=MemoryMail())
    tickets, slowest = 0, 0.0
    while not select.select([sys.stdin], [], [], 0)[0]:
        started = time.monotonic()
        user = f"busy-{writer}-{tickets}"
        services.tickets.submit(
            context(f"{user}-submits"),
            ticket_type="access_request",
            user=user,
            email=f"{user}@example.com",
            body={"organization_name": "Club"},
            vouched=True,
        )
        slowest = max(slowest, time.monotonic() - started)
        drain(services)
        if not tickets:
            print("writing", flush=True)
        tickets += 1
    services.store.close()
    print(json.dumps({"tickets": tickets, "slowest": slowest}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
