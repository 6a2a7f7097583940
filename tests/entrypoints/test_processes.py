"""Commands as processes: closed pipes, signals, terminals, and what is loaded for what."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from siutindei.adapters import maildir
from tests.entrypoints.commands import EMAIL, Cli, command, environment, process

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow
SECONDS = 30


@pytest.fixture
def lived(cli: Cli) -> Cli:
    """Give a home with some events in it."""
    for user in range(12):
        words = ("ticket", "submit", "access-request", "--user", f"u-{user}", "--email", EMAIL)
        cli("--json", *words, "--organization-name", "Star Dance 星星")
    return cli


class Running:
    """A command that runs, and whose lines can be waited for."""

    def __init__(self, home: Path, *words: str) -> None:
        self.process = subprocess.Popen(
            [*command(home), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            env=environment(),
            bufsize=0,  # what was read and not given yet would not be waited for
        )

    def line(self) -> Any:
        """Wait for the next line of standard output."""
        stream = self.process.stdout
        assert stream is not None
        ready, _, _ = select.select([stream], [], [], SECONDS)
        assert ready, "nothing was printed"
        return json.loads(stream.readline())

    def end(self) -> tuple[int, str]:
        """Wait for its end; give its exit code and what it wrote to standard error."""
        _, errors = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, errors.decode()


@pytest.fixture
def followed(lived: Cli) -> Iterator[Running]:
    """Give somebody who follows the log and has read all of it."""
    running = Running(lived.home, "--json", "history", "tail", "--follow")
    try:
        for _ in range(24):
            running.line()
        yield running
    finally:
        running.process.kill()
        running.process.wait()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_follows_can_be_stopped(followed: Running, number: int) -> None:
    """Ctrl-C and SIGTERM end `--follow` with exit code 0 and without a word."""
    followed.process.send_signal(number)

    assert followed.end() == (0, "")


def test_whoever_follows_sees_what_comes_once(followed: Running, lived: Cli) -> None:
    """What is appended meanwhile is printed when it comes, each event once, in order."""
    lived.submit("--organization-name", "Harbour Chess")
    news = [followed.line(), followed.line()]

    assert [25, 26] == [event["position"] for event in news]
    assert ["ticket.submitted.v1", "notification.requested.v1"] == [e["name"] for e in news]
    followed.process.send_signal(signal.SIGTERM)
    assert followed.end() == (0, "")


def test_whoever_follows_ends_when_nobody_reads(followed: Running) -> None:
    """A reader who goes away ends `--follow`, although nothing happens that could be printed."""
    assert followed.process.stdout is not None
    followed.process.stdout.close()
    followed.process.stdout = None

    assert followed.end() == (0, "")


@pytest.mark.parametrize(
    "words", [("history", "tail"), ("--json", "history", "tail"), ("ticket", "list"), ("--help",)]
)
def test_a_closed_pipe_is_silent(lived: Cli, words: tuple[str, ...]) -> None:
    """Whoever reads only the beginning of the output sees no complaint about the rest."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [*command(lived.home), *words],
        stdout=write,
        stderr=subprocess.PIPE,
        env=environment(),
        check=False,
        timeout=SECONDS,
    )
    os.close(write)

    assert done.stderr == b""


def test_output_that_cannot_be_written_is_said(lived: Cli) -> None:
    """A full disk under standard output ends with exit code 2 and a line, not with a traceback."""
    with open("/dev/full", "wb") as full:  # noqa: PTH123  # a device
        done = subprocess.run(
            [*command(lived.home), "ticket", "list"],
            stdout=full,
            stderr=subprocess.PIPE,
            env=environment(),
            check=False,
            timeout=SECONDS,
        )

    assert done.returncode == 2
    assert done.stderr.startswith(b"siutindei: standard output cannot be written")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_ends_cleanly(lived: Cli, number: int) -> None:
    """A worker sends until it is told to stop; then it prints its counts and ends with 0."""
    running = Running(lived.home, "--json", "worker")
    assert running.process.stderr is not None
    for _ in range(12):
        assert json.loads(running.process.stderr.readline())["event"] == "notification sent"
    running.process.send_signal(number)
    counts = running.line()

    assert counts["sent"] == 12
    assert running.end() == (0, "")


def test_a_terminal_without_the_characters_is_no_reason_to_fail(lived: Cli) -> None:
    """In Latin-1 people read escapes; programs read UTF-8 whatever the terminal is."""
    for words in (("ticket", "show", "R00001"), ("ticket", "list"), ("demo",)):
        done = subprocess.run(
            [*command(lived.home), *words],
            capture_output=True,
            env=environment(PYTHONIOENCODING="latin-1"),
            check=True,
            timeout=SECONDS,
        )
        assert b"\\u661f" in done.stdout
    shown = subprocess.run(
        [*command(lived.home), "--json", "ticket", "show", "R00001"],
        capture_output=True,
        env=environment(PYTHONIOENCODING="latin-1"),
        check=True,
        timeout=SECONDS,
    )
    assert json.loads(shown.stdout.decode("utf-8"))["organization_name"] == "Star Dance 星星"


def in_terminal(home: Path, *words: str, **more: str) -> str:
    """Run a command in a terminal of 80 columns, and give all that it shows there."""
    leader, follower = pty.openpty()
    running = subprocess.Popen(
        [*command(home), *words],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        env=environment(TERM="xterm", COLUMNS="80", **more),
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            read = os.read(leader, 65536)
        except OSError:
            break
        if not read:
            break
        shown += read
    os.close(leader)
    assert running.wait(SECONDS) == 0
    return shown.decode().replace("\r\n", "\n")


def test_a_terminal_shows_whole_ids(lived: Cli) -> None:
    """In 80 columns every id can be copied; the header is bright unless NO_COLOR is set."""
    ids = [item["id"] for item in lived.json("notification", "list")["items"]]
    bright = in_terminal(lived.home, "notification", "list")
    plain = in_terminal(lived.home, "notification", "list", NO_COLOR="1")

    assert all(id in plain for id in ids)
    assert max(map(len, plain.splitlines())) <= 80
    assert "\x1b[1m" in bright
    assert "\x1b" not in plain


def test_a_terminal_gets_logs_for_people(lived: Cli) -> None:
    """On a terminal the worker logs lines, coloured unless NO_COLOR is set; elsewhere JSON."""
    plain = in_terminal(lived.home, "worker", "--once", NO_COLOR="1")

    assert plain.count("notification sent") == 12
    assert "\x1b" not in plain
    assert plain.endswith("12 sent\n")


def test_a_terminal_shows_how_far_a_replay_is(lived: Cli) -> None:
    """On a terminal a replay shows its progress, and takes it away at the end."""
    shown = in_terminal(lived.home, "history", "replay")

    assert "24/24" in shown
    assert shown.rstrip().endswith("accesses")


def test_a_terminal_shows_how_far_a_check_is(lived: Cli) -> None:
    """On a terminal a check shows its progress, and takes it away at the end."""
    shown = in_terminal(lived.home, "history", "check")

    assert "24/24" in shown
    assert "every event can be read, and is read the same" in shown


def test_a_terminal_shows_how_far_a_rebuild_is(lived: Cli) -> None:
    """On a terminal a rebuild shows its progress, and takes it away at the end."""
    shown = in_terminal(lived.home, "projection", "rebuild", "notifications")

    assert "making notifications" in shown
    assert "24/24" in shown
    assert "every row is as it was" in shown


LOADED = """
import sys
from siutindei.entrypoints.cli import main
try:
    main(sys.argv[1:])
finally:
    sys.stdout.flush()
    print(json_of(), file=sys.stderr)
""".replace("json_of()", "' '.join(sys.modules)")


def loaded(home: Path, *words: str, **settings: str) -> set[str]:
    """Run a command, and say which modules its process has loaded at the end."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED, "--home", str(home), *words],
        capture_output=True,
        check=True,
        env=environment(**settings),
        timeout=SECONDS,
    )
    return set(done.stderr.decode().split())


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    """Help needs no database, no cryptography, no table and no log."""
    heavy = {
        *("rich", "structlog", "cryptography", "sqlite3", "eventsourcing", "email_validator"),
        *("asyncio", "mailbox", "platformdirs", "smtplib", "logging"),
    }

    assert set() == heavy & loaded(tmp_path, "--help")


SES: Final = {
    "SIUTINDEI_MAIL": "ses",
    "SIUTINDEI_NUDGE": "sns",
    "MANAGER_REQUEST_TOPIC_ARN": "arn:aws:sns:ap-southeast-1:123456789012:requests",
    "SIUTINDEI_QUEUE_URL": "https://sqs.ap-southeast-1.amazonaws.com/123456789012/q",
    "SIUTINDEI_DEAD_LETTER_QUEUE_URL": "https://sqs.ap-southeast-1.amazonaws.com/123456789012/d",
    "AWS_REGION": "ap-southeast-1",
}


@pytest.mark.parametrize(
    "sends", [{}, {"SIUTINDEI_MAIL": "smtp://127.0.0.1:1"}, SES], ids=["maildir", "smtp", "ses"]
)
def test_a_replay_has_nothing_that_could_send(lived: Cli, sends: dict[str, str]) -> None:
    """What reads the history loads no adapter of mail, queues, users or the catalogue, and nothing
    that opens a connection, wherever the installation's mail goes.
    """
    adapters = {path.stem for path in Path(maildir.__file__).parent.glob("*.py")}
    sending = {
        f"siutindei.adapters.{name}"
        for name in adapters
        if re.match("maildir|memory_|mime|smtp|ses|sns|cognito|aws|.*directory", name)
    }
    assert len(sending) > 12

    for words in (
        ("history", "replay"),
        ("history", "tail"),
        ("history", "stream", "ticket-R00001"),
        ("history", "check"),
    ):
        modules = loaded(lived.home, *words, **sends)
        assert "siutindei.adapters.sqlite" in modules
        assert set() == sending & modules
        assert set() == {"smtplib", "mailbox", "boto3", "botocore", "urllib3", "http"} & modules


def test_the_program_is_installed(tmp_path: Path) -> None:
    """`siutindei` is on the path of its environment, and says its version."""
    program = os.path.join(os.path.dirname(sys.executable), "siutindei")  # noqa: PTH118, PTH120
    done = subprocess.run(
        [program, "--version"], capture_output=True, check=True, env=environment()
    )

    assert done.stdout.startswith(b"siutindei, version ")
    assert process(tmp_path, "--version").out.encode() == done.stdout
