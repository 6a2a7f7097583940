"""The house: what may import what, what an import may do, and whose code we build on."""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import inspect
import json
import pkgutil
import re
import subprocess
import sys
import types
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from packaging.requirements import Requirement

import siutindei

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(__file__).parents[1]
SOURCE: Final = ROOT / "src" / "siutindei"
MODULES: Final = sorted(
    module.name
    for module in pkgutil.walk_packages(siutindei.__path__, "siutindei.")
    if not module.name.endswith("__main__")
)


def imports(path: Path) -> set[str]:
    """Give every module that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def outside(layer: str) -> set[str]:
    """Give the top names that a layer imports, ours and the standard library's left out."""
    return {
        name.partition(".")[0] for path in (SOURCE / layer).rglob("*.py") for name in imports(path)
    } - {*sys.stdlib_module_names, "siutindei"}


def ours(layer: str) -> set[str]:
    """Give the layers of ours that a layer imports."""
    return {
        name.split(".")[1]
        for path in (SOURCE / layer).rglob("*.py")
        for name in imports(path)
        if name.startswith("siutindei.")
    } - {layer}


def test_the_domain_uses_the_standard_library_and_attrs() -> None:
    """The rules import nothing else, of ours neither."""
    assert outside("domain") == {"attrs"}
    assert ours("domain") == set()


def test_the_domain_reaches_for_nothing_outside() -> None:
    """The rules use no file, network, clock, chance or process of the standard library."""
    reaching = {
        *("os", "io", "pathlib", "socket", "ssl", "urllib.request", "http", "smtplib", "sqlite3"),
        *("time", "random", "secrets", "subprocess", "threading", "asyncio", "logging", "sys"),
        *("uuid.uuid4", "uuid.uuid1", "tempfile", "shutil", "multiprocessing", "signal"),
    }
    for path in (SOURCE / "domain").glob("*.py"):
        assert reaching & imports(path) == set(), path
        source = path.read_text(encoding="utf-8")
        assert not re.search(r"\.(?:now|utcnow|today)\(", source), path


def test_the_application_knows_ports_and_no_technology() -> None:
    """The use cases import the domain and attrs; what is outside is reached through ports."""
    assert outside("app") == {"attrs"}
    assert ours("app") == {"domain"}
    for path in (SOURCE / "app").glob("*.py"):
        reaching = {"sqlite3", "os", "pathlib", "socket", "random", "secrets", "time", "logging"}
        assert reaching & imports(path) == set(), path
        assert not re.search(r"\.(?:utcnow|today)\(|datetime\.now\(", path.read_text("utf-8")), path


def test_the_command_line_knows_no_adapter() -> None:
    """An entrypoint reaches adapters through bootstrap, and click is its own affair."""
    assert "adapters" not in ours("entrypoints")
    assert outside("entrypoints") == {"attrs", "click", "msgspec", "rich", "structlog"}
    assert outside("adapters").isdisjoint({"click", "rich", "structlog"})
    for layer in ("domain", "app", "adapters"):
        assert ours(layer).isdisjoint({"entrypoints", "bootstrap"})


def test_only_bootstrap_chooses_adapters() -> None:
    """No module but bootstrap, and the adapters among themselves, imports an adapter."""
    for path in SOURCE.rglob("*.py"):
        if path.parent.name != "adapters" and path.name != "bootstrap.py":
            assert not any(name.startswith("siutindei.adapters") for name in imports(path)), path


# --- what an import does --------------------------------------------------------------------------

IMPORT_ALL: Final = """
import importlib, json, os, random, sys, threading
import %(eager)s
opened = []
def watch(event, arguments):
    if event == "open":
        path, mode, flags = arguments
        writes = isinstance(mode, str) and set(mode) & set("wax+") or (flags or 0) & (
            os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if writes and "__pycache__" not in str(path):
            opened.append(f"{event} {path}")
    elif event.partition(".")[0] in ("socket", "sqlite3", "subprocess", "smtplib", "tempfile") or (
            event in ("os.mkdir", "os.putenv", "os.system", "os.fork", "os.rename", "os.remove")):
        if event != "socket.__new__" or "has_ipv6" not in str(arguments):
            opened.append(f"{event} {arguments}")
random.seed(1)
state = random.getstate()
files, threads = set(os.listdir("/proc/self/fd")), threading.active_count()
sys.addaudithook(watch)
for name in %(modules)r:
    importlib.import_module(name)
print(json.dumps({
    "opened": opened,
    "files": sorted(set(os.listdir("/proc/self/fd")) - files),
    "threads": threading.active_count() - threads,
    "random": random.getstate() == state,
}))
"""
#: What our packages import is theirs to open; it is loaded before anybody watches.
EAGER: Final = (
    "attrs, click, msgspec, eventsourcing.postgres, psycopg, psycopg_pool,"
    "boto3, botocore.config, botocore.exceptions,"
    "rich.progress, structlog, email_validator, platformdirs, sqlite3,"
    "eventsourcing.sqlite, cryptography.hazmat.primitives.twofactor.hotp, mailbox, http.client,"
    "cryptography.hazmat.primitives.ciphers.aead, tempfile, getpass"
)


def importing(folder: Path, modules: list[str]) -> Any:
    """Import modules in a process of their own, and give what that did besides."""
    done = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL % {"modules": modules, "eager": EAGER}],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
        env={"HOME": str(folder), "PATH": "", "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return json.loads(done.stdout)


@pytest.mark.slow
def test_an_import_opens_nothing(tmp_path: Path) -> None:
    """Importing every module opens no file, socket or database, starts nothing, uses no chance."""
    nothing = {"opened": [], "files": [], "threads": 0, "random": True}

    assert nothing == importing(tmp_path, MODULES)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_import_that_opens_something_is_found(tmp_path: Path) -> None:
    """A module that does what is forbidden at import is seen doing it: the watch is awake."""
    module = tmp_path / "wrong.py"
    module.write_text(
        "import random, socket, sqlite3\n"
        "number, connection = random.random(), sqlite3.connect('wrong.db')\n"
        "file, wire = open('wrong.txt', 'w'), socket.create_server(('127.0.0.1', 0))\n",
        encoding="utf-8",
    )
    found = importing(tmp_path, ["wrong"])

    assert {"sqlite3.connect", "open", "socket.bind"} <= {
        entry.partition(" ")[0] for entry in found["opened"]
    }
    assert (3, False) == (len(found["files"]), found["random"])


@pytest.mark.parametrize("name", MODULES)
def test_a_module_holds_nothing_that_changes(name: str) -> None:
    """No global of ours is a connection, a file, a lock, a clock's reading or a random state."""
    import datetime as dt
    import io
    import random
    import socket
    import sqlite3
    import threading

    forbidden = (
        *(sqlite3.Connection, io.IOBase, socket.socket, random.Random, threading.Thread),
        *(type(threading.Lock()), type(threading.RLock()), bytearray),
    )
    module = importlib.import_module(name)
    for key, value in vars(module).items():
        if key.startswith("__"):
            continue
        assert not isinstance(value, forbidden), key
        if isinstance(value, dt.datetime):
            assert value == dt.datetime(1970, 1, 1, tzinfo=dt.UTC), key
        if isinstance(value, list | set) and not key.startswith("_"):
            pytest.fail(f"{key} could be changed by whoever imports it")


# --- whose code we build on -----------------------------------------------------------------------


def requirements(name: str, extras: frozenset[str] = frozenset()) -> Iterator[tuple[str, Any]]:
    """Walk through the distributions that one needs at run time."""
    for line in importlib.metadata.requires(name) or []:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in {"", *extras}):
            yield requirement.name, frozenset(requirement.extras)


ALL: Final = frozenset({"aws", "postgres"})


def runtime() -> set[str]:
    """Give every distribution that is installed because we need it at run time."""
    found: set[str] = set()
    waiting = list(requirements("siutindei", ALL))
    while waiting:
        name, extras = waiting.pop()
        normal = name.lower().replace("_", "-")
        if normal not in found:
            found.add(normal)
            waiting += requirements(name, extras)
    return found


def licence(name: str) -> str:
    """Give what a distribution says of its licence, in all the places where it may say it."""
    metadata = importlib.metadata.metadata(name)
    classifiers = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License")
    ]
    said = [
        (metadata.get_all(field) or [""])[0].partition("\n")[0]
        for field in ("License-Expression", "License")
    ]
    return " ".join([*said, *classifiers])


ALLOWED: Final = re.compile(
    r"\b(?:Apache|BSD|MIT|ISC|PSF|Python Software|MPL|Unlicense|CC0)", re.IGNORECASE
)
COPYLEFT: Final = re.compile(
    r"\b(?:A?GPL|LGPL|GNU|Affero|EUPL|SSPL|BUSL|Commons Clause)", re.IGNORECASE
)


#: The PostgreSQL driver: an extra, imported and never changed.
LIBRARIES: Final = {"psycopg", "psycopg-binary", "psycopg-pool"}


def test_what_we_build_on_may_be_built_on() -> None:
    """Every package that we need at run time has a permissive licence; the one that is under the
    LGPL is an extra, and none is copyleft beyond that.
    """
    needed = runtime()

    assert {"attrs", "click", "cryptography", "eventsourcing", "msgspec", "rich"} <= needed
    for name in needed - LIBRARIES:
        assert ALLOWED.search(licence(name)), f"{name}: {licence(name)!r}"
        assert not COPYLEFT.search(licence(name)), f"{name}: {licence(name)!r}"
    for name in LIBRARIES:
        assert licence(name).startswith("LGPL-3.0-only"), f"{name}: {licence(name)!r}"
    assert LIBRARIES.isdisjoint(name for name, _ in requirements("siutindei"))


def test_every_import_is_a_declared_dependency() -> None:
    """What src/ imports from outside is named in pyproject.toml, and what is named is used."""
    declared = {name.lower().replace("-", "_") for name, _ in requirements("siutindei", ALL)}
    used = {
        name
        for layer in ("domain", "app", "adapters", "entrypoints", ".")
        for name in outside(layer)
    }

    assert used == declared


def test_the_lock_names_no_address_and_hashes_everything() -> None:
    """The lock works with any index: it has versions and hashes, and no place to get them from."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pinned = re.findall(r"^([a-z0-9._-]+)==\S+", lock, re.MULTILINE | re.IGNORECASE)

    assert "://" not in lock
    assert not re.search(r"^-", lock, re.MULTILINE)
    for block in re.split(r"\n(?=[a-z0-9])", lock.split("\n", 1)[1] if lock[0] == "#" else lock):
        if "==" in block:
            assert "--hash=sha256:" in block
    assert runtime() - {name.lower() for name in pinned} == set()


# --- words ----------------------------------------------------------------------------------------


def public(module: types.ModuleType) -> Iterator[tuple[str, object]]:
    """Give the public classes and functions that a module defines, and their public methods."""
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != module.__name__:
            continue
        if inspect.isfunction(value):
            yield name, value
        elif inspect.isclass(value):
            yield name, value
            for method, function in vars(value).items():
                if not method.startswith("_") and isinstance(
                    function, types.FunctionType | property | classmethod
                ):
                    yield f"{name}.{method}", inspect.getattr_static(value, method)


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_says_what_it_is(name: str) -> None:
    """Each public module, class and function has a docstring; its port speaks for an adapter."""
    module = importlib.import_module(name)
    assert module.__doc__
    assert module.__doc__.strip().splitlines()[0].endswith((".", ":", "?"))
    for key, value in public(module):
        in_adapter = "." in key and name.startswith("siutindei.adapters")
        assert value.__doc__ or in_adapter, f"{name}.{key}"


def test_every_adapter_has_the_signature_of_its_port() -> None:
    """What the ports promise can be called on the adapters, by the same names."""
    from siutindei.adapters import (
        addresses,
        checkpoints,
        codes,
        directory,
        erasures,
        leaves,
        maildir,
        memory_mail,
        memory_queue,
        postgres,
        replayed,
        s3_checkpoints,
        ses,
        ses_account,
        ses_events,
        ses_suppressions,
        signing,
        simulated,
        smtp,
        sns_sqs,
        sqlite,
        system,
        transfer,
    )
    from siutindei.app import ports

    for port, adapter in (
        (ports.Clock, system.SystemClock),
        (ports.Ids, system.RandomIds),
        (ports.AddressBook, addresses.HashedAddressBook),
        (ports.Codes, codes.HotpCodes),
        (ports.MailPort, maildir.Maildir),
        (ports.MailPort, memory_mail.MemoryMail),
        (ports.MailPort, ses.SesMail),
        (ports.MailPort, smtp.SmtpMail),
        (ports.SesSettings, ses_account.SesAccountSettings),
        (ports.SesSuppressions, ses_suppressions.SesAccountSuppressions),
        (ports.OrganizationDirectory, directory.JsonDirectory),
        (ports.IdentityProvider, directory.JsonDirectory),
        (ports.ErasureList, erasures.ErasureFile),
        (ports.Nudges, sns_sqs.SnsSqs),
        (ports.Nudges, sns_sqs.NoNudges),
        (ports.Nudges, memory_queue.MemoryQueue),
        (ports.DeadLetterQueue, sns_sqs.SnsSqs),
        (ports.DeadLetterQueue, sns_sqs.NoNudges),
        (ports.DeadLetterQueue, memory_queue.MemoryQueue),
        (ports.ReportReader, ses_events.SesEvents),
        (ports.Schema, sqlite.SqliteSchema),
        (ports.Schema, postgres.PostgresSchema),
        (ports.EventStore, sqlite.SqliteStore),
        (ports.EventStore, postgres.PostgresStore),
        (ports.ReplayStore, replayed.Replayed),
        (ports.EventLog, leaves.SqlEventLog),
        (ports.Checkpoints, checkpoints.CheckpointFolder),
        (ports.Checkpoints, s3_checkpoints.S3Checkpoints),
        (ports.Notary, signing.NoteNotary),
        (ports.Transfer, transfer.FileTransfer),
        (ports.StageClock, simulated.SimulatedClock),
        (ports.StageIds, simulated.SimulatedIds),
        (ports.StageMail, simulated.SimulatedMail),
        (ports.AddressBook, simulated.MadeUpAddresses),
        (ports.Codes, simulated.OneCode),
        (ports.ErasureList, simulated.NoErasureList),
    ):
        for name, function in vars(port).items():
            if name.startswith("_") or not inspect.isfunction(function):
                continue
            expected = list(inspect.signature(function).parameters.values())
            given = list(inspect.signature(getattr(adapter, name)).parameters.values())
            assert [(p.name, p.kind) for p in expected] == [(p.name, p.kind) for p in given], (
                f"{adapter.__qualname__}.{name}"
            )
