"""Bad input ends with exit code 2 and the field's name, and leaves nothing behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.entrypoints.commands import EMAIL, LABEL, ORGANIZATION, Cli, process

if TYPE_CHECKING:
    from pathlib import Path

NAME = {"organization_name": "Star Dance"}
FEEDBACK = {"organization_id": ORGANIZATION, "stars": 3}
URL = "https://a.example.com/"
UUIDS = [f"00000000-0000-4000-8000-{number:012d}" for number in range(21)]
SURROGATE = "a\ud800"
NO_NAMES: list[Any] = [
    *(None, "", " \n ", "a" * 201, "a\nb", "a\x00b", SURROGATE, 5, ["a"], {}, True)
]

#: kind, what is said besides what is needed, the field that is named
BODIES: list[tuple[str, dict[str, Any], str]] = [
    *(
        (kind, {"organization_name": value}, "organization_name")
        for kind in ("access-request", "suggestion")
        for value in NO_NAMES
    ),
    *(
        (kind, {field: value}, field)
        for kind, field, most in (
            ("access-request", "request_message", 5000),
            ("suggestion", "description", 5000),
            ("suggestion", "additional_notes", 5000),
            ("suggestion", "suggested_district", 100),
            ("suggestion", "suggested_address", 500),
            ("feedback", "description", 5000),
        )
        for value in ("a" * (most + 1), "\x1b[2J", "a\x7f", SURROGATE, 5, ["a"], False)
    ),
    *(
        ("suggestion", {field: value}, field)
        for field, most in (("suggested_lat", 90), ("suggested_lng", 180))
        for value in (
            *(most + 0.001, -most - 0.001, float("nan"), float("inf"), 10**400, -(10**4000)),
            *("1", True, [1]),
        )
    ),
    *(
        ("suggestion", {"media_urls": value}, "media_urls")
        for value in (
            [URL + str(number) for number in range(21)],
            ",".join(URL + str(number) for number in range(21)),
            ["ftp://a.example.com"],
            ["https://"],
            ["//a.example.com"],
            ["javascript:alert(1)"],
            ["https://a example.com"],
            [URL + "a" * 2048],
            [f"{URL}\n"[:-1] + "\r\nx"],
            [f"{URL}\ud800"],
            ["http://[::1"],
            [5],
            [None],
            [[URL]],
            {"a": 1},
            5,
        )
    ),
    *(
        ("feedback", {"organization_id": value}, "organization_id")
        for value in (None, "", "x", 5, "7b0e4f0e-6a53-4d0a-9a53-0f4f3a1d7c1", [ORGANIZATION])
    ),
    *(
        ("feedback", {"stars": value}, "stars")
        for value in (None, -1, 6, 10**400, 2.5, 3.0, "3", True, float("nan"), [3])
    ),
    *(
        ("feedback", {"label_ids": value}, "label_ids")
        for value in (UUIDS, ["x"], [5], [None], {"a": 1}, [UUIDS[0]], 5)
    ),
    *(
        (kind, {"email": value}, "email")
        for kind in ("access-request", "suggestion", "feedback")
        for value in (
            *(None, "", "a", "a@", "@example.com", "a@localhost", "a@b@example.com", 5, [EMAIL]),
            *("ä@example.com", f"{'a' * 250}@example.com", "a@example.com\r\nBcc: b@example.com"),
            *("a b@example.com", "Ann <a@example.com>", "a\x00@example.com", "a\ud800@example.com"),
            *("a@\u202eexample.com", "a@exa mple.com", "a@-example.com", "a@[127.0.0.1]"),
        )
    ),
    *(
        ("access-request", {"user": value}, "user")
        for value in (None, "", "a b", "a/b", "a\nb", "u" * 129, 5, SURROGATE, "a\x00")
    ),
    *(
        (kind, {field: "x"}, field)
        for kind, field in (
            ("access-request", "description"),
            ("access-request", "ticket_id"),
            ("suggestion", "stars"),
            ("feedback", "organization_name"),
            ("feedback", "status"),
        )
    ),
]


def whole(kind: str, given: dict[str, Any]) -> dict[str, Any]:
    """Give a body that lacks nothing, with what is given on top."""
    needed = FEEDBACK if kind == "feedback" else NAME
    return {"user": "u-1", "email": EMAIL} | needed | given


@pytest.mark.parametrize("kind", ["access-request", "suggestion", "feedback"])
def test_every_limit_and_type_is_checked_in_a_file(cli: Cli, tmp_path: Path, kind: str) -> None:
    """A body that breaks the contract in one place is refused for that place, and for no other."""
    cli.catalogue()
    path = tmp_path / "ticket.json"
    for for_kind, given, field in BODIES:
        if for_kind == kind:
            path.write_text(json.dumps(whole(kind, given)), encoding="utf-8")
            refused = cli("--json", "ticket", "submit", kind, "--input", str(path), code=2)
            assert field == refused.document["field"], given
            assert field in refused.err

    assert cli.events() == []


@pytest.mark.parametrize(
    ("kind", "option", "value", "field"),
    [
        ("access-request", "--organization-name", "a" * 201, "organization_name"),
        ("access-request", "--organization-name", "a\nb", "organization_name"),
        ("access-request", "--organization-name", SURROGATE, "organization_name"),
        ("access-request", "--request-message", "a" * 5001, "request_message"),
        ("access-request", "--request-message", "\x1b[2J", "request_message"),
        ("access-request", "--user", "a/b", "user"),
        ("access-request", "--email", "a@example.com\nBcc: b@example.com", "email"),
        ("access-request", "--email", "ä@example.com", "email"),
        ("access-request", "--email", SURROGATE, "email"),
        ("access-request", "--locale", SURROGATE, "locale"),
        ("suggestion", "--description", "a" * 10_000_000, "description"),
        ("suggestion", "--additional-notes", "a\x00", "additional_notes"),
        ("suggestion", "--suggested-district", "a" * 101, "suggested_district"),
        ("suggestion", "--suggested-address", "a" * 501, "suggested_address"),
        ("suggestion", "--suggested-lat", "90.5", "suggested_lat"),
        ("suggestion", "--suggested-lat", "north", "suggested_lat"),
        ("suggestion", "--suggested-lat", "nan", "suggested_lat"),
        ("suggestion", "--suggested-lng", "-inf", "suggested_lng"),
        ("suggestion", "--suggested-lng", "1e999", "suggested_lng"),
        ("suggestion", "--suggested-lng", "9" * 5000, "suggested_lng"),
        ("suggestion", "--media-url", "javascript:alert(1)", "media_urls"),
        ("suggestion", "--media-url", URL + "a" * 2048, "media_urls"),
        ("suggestion", "--media-url", SURROGATE, "media_urls"),
        ("feedback", "--organization-id", "1", "organization_id"),
        ("feedback", "--stars", "6", "stars"),
        ("feedback", "--stars", "3.0", "stars"),
        ("feedback", "--stars", "9" * 5000, "stars"),
        ("feedback", "--label-id", "x", "label_ids"),
        ("feedback", "--label-id", UUIDS[0], "label_ids"),
        ("feedback", "--description", "a" * 5001, "description"),
    ],
    ids=lambda value: value[:12].encode("ascii", "backslashreplace").decode(),
)
def test_every_limit_is_checked_in_an_option(
    cli: Cli, kind: str, option: str, value: str, field: str
) -> None:
    """What a file may not say an option may not say either, and the field is named."""
    cli.catalogue()
    given = {"--user": "u-1", "--email": EMAIL, option: value}
    if kind == "feedback":
        given = {"--organization-id": ORGANIZATION, "--stars": "3"} | given
    else:
        given = {"--organization-name": "a"} | given
    words = [word for pair in given.items() for word in pair]
    refused = cli("--json", "ticket", "submit", kind, *words, code=2)

    assert field == refused.document["field"]
    assert len(refused.err) < 450
    assert cli.events() == []


def test_the_limits_themselves_are_allowed(cli: Cli, tmp_path: Path) -> None:
    """What is exactly as long, as large or as many as the contract allows is taken."""
    cli.catalogue()
    body = whole("suggestion", {}) | {
        "organization_name": "名" * 200,
        "description": "\U0001f600" * 5000,
        "suggested_district": "a" * 100,
        "suggested_address": "a" * 500,
        "additional_notes": "a\r\n\tb",
        "suggested_lat": -90,
        "suggested_lng": 180.0,
        "media_urls": [URL + "a" * (2048 - len(URL) - 2) + f"{number:02}" for number in range(20)],
    }
    path = tmp_path / "ticket.json"
    path.write_text(json.dumps(body, ensure_ascii=False), encoding="utf-8")
    taken = cli.json("ticket", "submit", "suggestion", "--input", str(path))

    assert {name: taken[name] for name in body.keys() & taken.keys()} == {
        name: body[name] for name in body.keys() & taken.keys()
    }
    assert cli.json("ticket", "show", "S00001") == taken


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" ",
        b"{",
        b"null",
        b"[]",
        b'"text"',
        b"\xff\xfe",
        b'{"organization_name": "\xff"}',
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"organization_name": ' + b"9" * 5000 + b"}",
        b'{"organization_name": "' + b"a" * 10_000_000 + b'"}',
    ],
    ids=[
        *("empty", "blank", "torn", "null", "list", "text", "utf-16", "latin-1", "bom"),
        *("deep list", "deep object", "huge number", "10 MB"),
    ],
)
def test_what_is_no_object_is_refused(cli: Cli, data: bytes) -> None:
    """A file that is empty, torn, too large, too deep, no UTF-8 or no object names `input`."""
    refused = cli.json("ticket", "submit", "suggestion", "--input", "-", input=data, code=2)

    assert "input" == refused["field"]
    assert len(refused["error"]) < 450


def test_a_field_is_given_once(cli: Cli, tmp_path: Path) -> None:
    """Twice in a file, twice on the command line, or once in each: the field is named."""
    path = tmp_path / "ticket.json"
    path.write_text('{"organization_name": "a", "organization_name": "b"}', encoding="utf-8")
    submit = ("ticket", "submit", "suggestion", "--user", "u-1", "--email", EMAIL)
    named = ("--organization-name", "a")
    for words in (
        (*submit, "--input", str(path)),
        (*submit, *named, *named),
        (*submit, *named, "--input", str(path)),
    ):
        refused = cli.json(*words, code=2)
        assert "organization_name" == refused["field"]
        assert "more than once" in refused["error"] or "twice" in refused["error"]


def test_a_file_that_cannot_be_read_is_named(cli: Cli, tmp_path: Path) -> None:
    """A folder, a missing file and a name with a line break are said in one line."""
    for path in (tmp_path, tmp_path / "missing", tmp_path / "a\nb"):
        refused = cli("--json", "ticket", "submit", "suggestion", "--input", str(path), code=2)
        assert "input" == refused.document["field"]
        assert refused.err.count("\n") == 1


def test_an_address_is_mailed_to_in_its_ascii_form(cli: Cli) -> None:
    """An IDN domain works and is stored encoded; upper and lower case are the same person."""
    ticket = cli.json(
        *("ticket", "submit", "access-request", "--user", "u-1"),
        *("--email", " ann@bücher.example.com ", "--organization-name", "a"),
    )

    assert "ann@xn--bcher-kva.example.com" == ticket["submitter_email"]
    first = cli.json("sign-in", "start", "Ann@Example.com")
    assert first == cli.json("sign-in", "start", "ann@EXAMPLE.com")


def test_text_that_reorders_is_kept_and_not_shown(cli: Cli) -> None:
    """A right-to-left override stays what was typed for programs; people see the text without."""
    cli.submit("--organization-name", "Star\u202eecnaD", "--description", "a\u2066b")

    assert "Star\u202eecnaD" == cli.json("ticket", "show", "S00001")["organization_name"]
    for shown in (cli("ticket", "show", "S00001").out, cli("ticket", "list").out):
        assert "StarecnaD" in shown
        assert not set("\u202e\u2066") & set(shown)


@pytest.mark.parametrize(
    ("words", "field"),
    [
        (("ticket", "list", "--limit", "0"), "limit"),
        (("ticket", "list", "--limit", "201"), "limit"),
        (("ticket", "list", "--limit", "x"), "limit"),
        (("ticket", "list", "--limit", "9" * 30), "limit"),
        (("ticket", "list", "--cursor", "x"), "cursor"),
        (("ticket", "list", "--cursor", ""), "cursor"),
        (("ticket", "list", "--cursor", "9" * 5000), "cursor"),
        (("ticket", "list", "--status", "none"), "status"),
        (("ticket", "list", "--type", "R"), "ticket_type"),
        (("ticket", "approve", "R00001"), "by"),
        (("ticket", "approve", "R00001", "--by", ""), "by"),
        (("ticket", "approve", "R00001", "--by", "a b"), "by"),
        (("ticket", "approve", "R00001", "--by", "a@localhost"), "by"),
        (("ticket", "approve", "R00001", "--by", "a\x1b"), "by"),
        (("ticket", "approve", "R00001", "--by", "a", "--organization-id", "x"), "organization_id"),
        (("ticket", "decline", "R00001", "--by", "a", "--note", "n" * 5001), "admin_notes"),
        (("ticket", "decline", "R00001", "--by", "a", "--note", "\x07"), "admin_notes"),
        (("sign-in", "start", "ann"), "email"),
        (("sign-in", "start", ""), "email"),
        (("sign-in", "answer", "x"), "code"),
        (("sign-in", "answer", "x", "1" * 65), "code"),
        (("sign-in", "answer", "x", "1\x00"), "code"),
        (("notification", "list", "--status", "none"), "status"),
        (("notification", "list", "--kind", "newsletter"), "kind"),
        (("dead-letter", "discard", "x", "--by", "a", "--reason", " "), "reason"),
        (("dead-letter", "discard", "x", "--by", "a", "--reason", "r" * 501), "reason"),
        (("history", "tail", "--after", "-1"), "after"),
        (("history", "tail", "--after", str(2**63)), "after"),
        (("history", "tail", "--until", "soon"), "until"),
        (("history", "tail", "--until", "2026-01-31"), "until"),
        (("history", "tail", "--until", "9" * 19), "until"),
        (("history", "tail", "--type", "ticket"), "type"),
        (("history", "stream", "ticket-R00001", "--at", "x"), "at"),
        (("history", "replay", "--projection", "events"), "projection"),
        (("person", "erase", "u-1"), "reason"),
        (("person", "erase", "u-1", "--reason", "r" * 501), "reason"),
        (("person", "erase", "u 1", "--reason", "r"), "user"),
        (("--command-id", "", "sign-in", "start", EMAIL), "command_id"),
        (("--command-id", "a\nb", "sign-in", "start", EMAIL), "command_id"),
        (("--command-id", EMAIL, "sign-in", "start", EMAIL), "command_id"),
        (("--command-id", "c" * 129, "sign-in", "start", EMAIL), "command_id"),
    ],
    ids=lambda value: " ".join(value)[:60].replace("\x00", "0") if isinstance(value, tuple) else "",
)
def test_an_option_that_does_not_fit_is_named(cli: Cli, words: tuple[str, ...], field: str) -> None:
    """A number, an enum, a name or a text outside its limits is refused in one line of JSON."""
    cli.access()
    refused = cli("--json", *words, code=2)

    assert field == refused.document["field"]
    assert refused.err.count("\n") == 1
    assert len(refused.err) < 450


def test_a_moment_at_the_edge_of_time_is_a_moment(cli: Cli) -> None:
    """The first and the last moments that there are, in any offset, are understood."""
    cli.access()
    for at, count in (("9999-12-31T23:59:59-14:00", 2), ("0001-01-01T00:00:00+14:00", 0)):
        assert count == len(cli("--json", "history", "tail", "--until", at).lines)


def test_a_usage_error_is_one_document(cli: Cli) -> None:
    """What click itself refuses is one JSON document too, and says where help is."""
    for words, says in (
        (("bogus",), "No such command 'bogus'"),
        (("ticket",), "a command is missing"),
        (("ticket", "show"), "Missing"),
        (("ticket", "list", "--bogus"), "No such option"),
        (("ticket", "show", "a", "geheim"), "too many arguments"),
        (("ticket", "list", "--json"), "siutindei --json COMMAND"),
    ):
        refused = cli("--json", *words, code=2)
        assert says in refused.document["error"]
        assert "--help" in refused.document["error"]
        assert "geheim" not in refused.err
        person = cli(*words, code=2)
        assert "" == person.out or "--json" in words
        assert says in person.err or "Usage: " in person.err


def test_a_label_that_does_not_exist_is_named(cli: Cli) -> None:
    """Feedback with an unknown label is wrong input; on an unknown organization it is not found."""
    cli.catalogue()
    feedback = ("--stars", "3")
    given = ("--organization-id", ORGANIZATION, "--label-id", ORGANIZATION)

    refused = cli.submit(*feedback, *given, kind="feedback", code=2)
    assert "label_ids" == refused["field"]
    refused = cli.submit(*feedback, "--organization-id", LABEL, kind="feedback", code=3)
    assert f"there is no organization '{LABEL}'" == refused["error"]


@pytest.mark.slow
def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    """Invalid UTF-8 on the command line ends with exit code 2 and the option's name."""
    home = tmp_path / "home"
    for given, words, says in (
        (home, (b"ticket", b"show", b"\xff"), "REF"),
        (home, (b"ticket", b"decline", b"R1", b"--by", b"a", b"--note", b"\xed\xa0\x80"), "--note"),
        (home, (b"--command-id", b"\xff", b"ticket", b"list"), "--command-id"),
        (home, (b"\xff",), "No such command"),
        (home, (b"ticket", b"submit", b"suggestion", b"--input", b"\xff"), "input"),
        (tmp_path / "\udcff", (b"ticket", b"list"), "SIUTINDEI_HOME"),
    ):
        done = process(given, b"--json", *words)
        assert done.code == 2, done
        assert says in done.err
        assert "error" in done.document
        assert "Traceback" not in done.err

    assert not home.exists()
