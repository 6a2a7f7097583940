"""The verifier of receipts stands alone, and checks whatever was ever given out."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from siutindei import verify_receipt
from siutindei.domain import merkle
from siutindei.verify_receipt import (
    NotProved,
    check,
    checkpoint_body,
    event_hash,
    key_line,
    open_checkpoint,
    parse_key,
    signature_line,
)

#: Receipts that were given out once; they never change.
RECEIPTS: Final = sorted((Path(__file__).parent / "receipts").glob("*.json"))
SIGNER: Final = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
PUBLIC: Final = SIGNER.public_key().public_bytes_raw()
NAME: Final = "example.com/log"
KEY: Final = key_line(NAME, PUBLIC)


def alone(folder: Path, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a copy of the one file in a process that finds nothing else of ours."""
    program = shutil.copy(verify_receipt.__file__, folder / "verify_receipt.py")
    # Only what `cryptography` needs is on the path.
    site = folder / "site"
    site.mkdir(exist_ok=True)
    packages = Path(sys.modules["cryptography"].__file__ or "").parents[1]
    for name in ("cryptography", "cffi", "_cffi_backend", "pycparser"):
        for found in packages.glob(f"{name}*"):
            if not (site / found.name).exists():
                (site / found.name).symlink_to(found)
    return subprocess.run(
        [sys.executable, "-S", program, *words],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={"PYTHONPATH": str(site), "PYTHONDONTWRITEBYTECODE": "1"},
    )


# --- alone ----------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("receipt", RECEIPTS, ids=lambda path: path.stem)
def test_a_receipt_of_any_version_is_checked_by_the_file_alone(
    tmp_path: Path, receipt: Path
) -> None:
    """With nothing but Python and `cryptography`; the program itself cannot be imported there."""
    key = json.loads(receipt.read_text("utf-8"))["key"]
    known, unknown = alone(tmp_path, receipt, "--key", key), alone(tmp_path, receipt)
    there = subprocess.run(
        [sys.executable, "-S", "-c", "import siutindei"],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path / "site")},
    )

    assert (0, 0, 1) == (known.returncode, unknown.returncode, there.returncode), known.stderr
    assert known.stdout.startswith("proved: ticket-R00001/2 (ticket.approved.v1) is event ")
    assert "the receipt's own word" in unknown.stdout
    assert "the receipt's own word" not in known.stdout


@pytest.mark.slow
def test_the_file_alone_says_why_something_is_not_proved(tmp_path: Path) -> None:
    """Exit code 4 and a line; 2 when there is nothing to check."""
    bad = tmp_path / "bad.json"
    bad.write_text(RECEIPTS[0].read_text("utf-8").replace('"position":', '"position":1'), "utf-8")
    done, missing = alone(tmp_path, bad), alone(tmp_path, "none.json")

    assert (4, "") == (done.returncode, done.stdout)
    assert done.stderr.startswith("not proved: the event is not in the log that was signed")
    assert (2, "none.json cannot be read: No such file or directory\n") == (
        *(missing.returncode, missing.stderr),
    )


def test_the_file_imports_nothing_of_ours() -> None:
    """Whoever has it needs nothing else."""
    source = Path(verify_receipt.__file__).read_text("utf-8")

    assert "siutindei" not in "".join(
        line for line in source.splitlines() if line.strip().startswith(("import", "from"))
    )


def test_the_verifier_hashes_as_the_log_does() -> None:
    """The same lines stand in two places, and give the same."""
    data = merkle.event_bytes(7, -2, "棋".encode(), b"x.v1", b"\x00\xff")

    assert merkle.leaf_hash(data) == event_hash(7, -2, "棋", "x.v1", b"\x00\xff")


# --- receipts -------------------------------------------------------------------------------------


def made(state: bytes = b"{}", *, key: str = KEY, stream: str = "ticket-R00001") -> dict[str, Any]:
    """Make a receipt for a log of one event."""
    leaf = event_hash(1, 2, stream, "x.v1", state)
    body = checkpoint_body(NAME, 1, leaf)
    return {
        "format": "siutindei receipt",
        "version": 1,
        "event": {
            "position": 1,
            "stream": stream,
            "version": 2,
            "name": "x.v1",
            "state_base64": base64.b64encode(state).decode(),
        },
        "leaf_index": 0,
        "proof": [],
        "checkpoint": f"{body}\n{signature_line(NAME, PUBLIC, SIGNER.sign(body.encode()))}",
        "key": key,
    }


def checked(receipt: object, *keys: str) -> verify_receipt.Proved:
    """Check a receipt."""
    return check(json.dumps(receipt).encode(), keys)


@pytest.mark.parametrize("state", [b"{}", b"[1]", b"\xff", b"[" * 100_000, b'{"actor":7}'])
def test_an_event_that_says_nothing_is_proved_all_the_same(state: bytes) -> None:
    """What is stored is proved, whatever it is."""
    proved = checked(made(state), KEY)

    assert (None, None) == (proved.actor, proved.recorded_at)
    assert "recorded: ?, by ?" in verify_receipt.lines(proved)


def test_what_is_shown_cannot_steer_a_terminal() -> None:
    """A receipt comes from outside."""
    shown = verify_receipt.lines(checked(made(b'{"actor":"\\u001b[2Jme"}')))

    assert "recorded: ?, by ?[2Jme" in shown


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"format": "other"}, "its format is another one"),
        ({"version": 2}, "use a newer verify_receipt.py"),
        ({"version": True}, "use a newer verify_receipt.py"),
        ({"more": 1}, "lacks fields, or has others: more"),
        ({"event": []}, "event is no object"),
        ({"event": {}}, "lacks fields, or has others: name, position, state_base64"),
        ({"leaf_index": 0.0}, "leaf_index is no number"),
        ({"leaf_index": 2**63}, "leaf_index is no number"),
        ({"leaf_index": -1}, "not in the log that was signed"),
        ({"leaf_index": 1}, "not in the log that was signed"),
        ({"proof": ["x"]}, "proof is not Base64"),
        ({"proof": ["AAAA"]}, "proof is not of 32 bytes"),
        ({"proof": [base64.b64encode(bytes(32)).decode()]}, "not in the log that was signed"),
        ({"proof": "x"}, "proof is no list"),
        ({"proof": [1]}, "proof is no list"),
        ({"key": 1}, "key is no text"),
        ({"key": "x"}, "key is no line of a key"),
        ({"key": KEY.replace("example", "sample")}, "was altered: its id is not"),
        ({"key": "\ud800" + KEY}, "a text that is none"),
        ({"key": key_line("a b", PUBLIC)}, "was altered"),
        ({"key": key_line(NAME, bytes(32))}, "not signed with a key that is known"),
    ],
)
def test_what_is_no_receipt_is_refused(change: dict[str, object], words: str) -> None:
    """It is said what is wrong with it."""
    with pytest.raises(NotProved, match=words):
        checked(made() | change)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b'{"format":"siutindei receipt","format":"siutindei receipt"}', "not JSON"),
        (b"[]", "its format is another one"),
    ],
)
def test_what_is_no_json_is_refused(data: bytes, words: str) -> None:
    """A field that stands there twice could be read in two ways."""
    with pytest.raises(NotProved, match=words):
        check(data)


def test_another_key_than_the_known_one_is_refused() -> None:
    """Whoever names keys trusts no other."""
    other = key_line("example.org/log", PUBLIC)
    with pytest.raises(NotProved, match=r"another key than the one that is known: example\.com"):
        checked(made(), other)

    assert checked(made(), other, KEY).known
    assert not checked(made()).known


# --- signed notes ---------------------------------------------------------------------------------

#: From the tests of golang.org/x/mod/sumdb/note.
PETER: Final = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
PETERS_SEED: Final = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
TEXT: Final = (
    "If you think cryptography is the answer to your problem,\n"
    "then you don't know what your problem is.\n"
)
SIGNATURE: Final = (
    "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdng"
    "otpRZb6KE6RyyBwJnAM=\n"
)


def test_a_note_of_the_reference_is_written_and_read() -> None:
    """Go's key, Go's text, Go's signature."""
    name, public = parse_key(PETER)
    seed = base64.b64decode(PETERS_SEED)[1:]
    signer = Ed25519PrivateKey.from_private_bytes(seed)

    assert PETER == key_line(name, signer.public_key().public_bytes_raw())
    assert SIGNATURE == signature_line(name, public, signer.sign(TEXT.encode()))
    with pytest.raises(NotProved, match="what was signed is no checkpoint"):
        # The signature is good; it is no checkpoint that was signed.
        open_checkpoint(f"{TEXT}\n{SIGNATURE}", [PETER])
    with pytest.raises(NotProved, match="the signature of PeterNeumann does not fit"):
        open_checkpoint(f"{TEXT.upper()}\n{SIGNATURE}", [PETER])


def signed(body: str, *more: str) -> str:
    """Sign a text, whatever it is."""
    return f"{body}\n{signature_line(NAME, PUBLIC, SIGNER.sign(body.encode()))}{''.join(more)}"


ROOT: Final = base64.b64encode(bytes(32)).decode()


def test_what_others_sign_too_is_left_alone() -> None:
    """Signatures of unknown keys are ignored, and so are lines that extend a checkpoint."""
    note = signed(f"{NAME}\n8\n{ROOT}\nmore\n", signature_line("w", PUBLIC, b"x"))

    assert 8 == open_checkpoint(note, [KEY]).size


@pytest.mark.parametrize(
    ("note", "words"),
    [
        ("", "no signed note"),
        (f"{NAME}\n8\n{ROOT}\n", "no signed note"),
        (signed(f"{NAME}\n8\n{ROOT}\n")[:-1], "no signed note"),
        (signed(f"{NAME}\n8\n{ROOT}\n", *["— a b\n"] * 100), "no signed note"),
        (signed(f"{NAME}\r\n8\n{ROOT}\n"), "no signed note"),
        (signed(f"{NAME}\n8\n{ROOT}\n", "x\n"), "a line that is no signature"),
        (signed(f"{NAME}\n8\n{ROOT}\n", "— \n"), "a line that is no signature"),
        (signed(f"{NAME}\n8\n{ROOT}\n", "— a !\n"), "signature is not Base64"),
        (signed(f"{NAME}\n8\n"), "is no checkpoint"),
        (signed(f"{NAME}\n\n{ROOT}\n"), "is no checkpoint"),
        (signed(f"{NAME}\n08\n{ROOT}\n"), "size is no number"),
        (signed(f"{NAME}\n-8\n{ROOT}\n"), "size is no number"),
        (signed(f"{NAME}\n{'9' * 5000}\n{ROOT}\n"), "size is no number"),
        (signed(f"{NAME}\n8\nAAAA\n"), "root is not of 32 bytes"),
        (signed(f"example.org/log\n8\n{ROOT}\n"), "is of the log example.org/log"),
    ],
)
def test_what_is_no_checkpoint_is_refused(note: str, words: str) -> None:
    """Also when it is signed."""
    with pytest.raises(NotProved, match=words):
        open_checkpoint(note, [KEY])


def test_the_command_can_be_called(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """As the file alone does it."""
    file = tmp_path / "receipt.json"
    file.write_text(json.dumps(made()), "utf-8")
    codes = [
        verify_receipt.main([str(file), "--key", KEY]),
        verify_receipt.main([str(file), "--key", PETER]),
        verify_receipt.main([str(tmp_path / "none")]),
    ]

    assert [0, 4, 2] == codes
    assert capsys.readouterr().out.startswith("proved: ticket-R00001/2 (x.v1) is event 1 of 1\n")
