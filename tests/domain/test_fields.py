"""Checks of single fields, and how text is made fit to be shown."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Final, TypeVar

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from siutindei.domain import fields
from siutindei.domain.errors import DomainError, Invalid, NotFound, Refused

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

#: Any string that Python can hold, surrogates included.
anything: Final = st.text(st.characters(exclude_categories=()), max_size=30)
BIDI: Final = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def tried(check: Callable[..., T], name: str, value: object, **limits: int) -> T | None:
    """Check a field; None when it was refused by its name, and a fault when by another one."""
    try:
        return check(name, value, **limits)
    except Invalid as error:
        if error.field != name:
            raise
        return None


# --- refusals ------------------------------------------------------------------------------------


def test_a_refusal_names_the_field_and_says_why() -> None:
    """Both parts can be had, and the text has both."""
    error = Invalid("stars", "must be a whole number")

    assert ("stars", "must be a whole number") == (error.field, error.why)
    assert "stars: must be a whole number" == str(error)


def test_what_is_not_found_is_named() -> None:
    """The text says what kind of thing was looked for, and under which name."""
    error = NotFound("ticket", "R00001")

    assert ("ticket", "R00001", "there is no ticket 'R00001'") == (
        error.what,
        error.name,
        str(error),
    )


def test_every_refusal_is_one_of_three() -> None:
    """A caller that knows the three sorts knows them all."""
    assert {Refused, Invalid, NotFound} == set(DomainError.__subclasses__())


# --- web addresses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "https://example.com/",
        "HTTPS://EXAMPLE.COM/A",
        "https://example.com:8443/a?b=c&d=%20#e",
        "https://[2001:db8::1]/a",
        "https://192.0.2.1/a",
        "https://bücher.example.com/牛",
        "https://user@example.com/",
        "https://user:secret@example.com/",
        "https://example.com?next=javascript:alert(1)",
    ],
)
def test_a_web_address_has_a_host(url: str) -> None:
    """Addresses of http and https with a host are taken as they are, and trimmed."""
    assert url == fields.url("media_urls", f" {url}\n")


@pytest.mark.parametrize(
    "url",
    [
        *("javascript:alert(1)", "JavaScript://example.com/%0aalert(1)", "data:text/html,x"),
        *("ftp://example.com", "file:///etc/passwd", "mailto:ann@example.com", "ws://example.com"),
        *("example.com", "//example.com", "/a", "http", "http:", "http:/", "http://", "https:///a"),
        *("http:example.com", "http:/example.com", "https://?a", "https://#a", "http:///a@b"),
        *("http://user@", "http://user@/a", "http://@", "http://user:pass@:80/", "http://:80/"),
        "http://?user@example.com",
        "http://#@example.com",
        "ht tp://example.com",
        "://example.com",
    ],
)
def test_what_has_no_host_or_another_scheme_is_no_web_address(url: str) -> None:
    """Nothing but http and https, and only with a host."""
    with pytest.raises(Invalid, match="media_urls: must be a web address"):
        fields.url("media_urls", url)


@pytest.mark.parametrize("url", ["http://[::1", "http://[example.com]/", "http://exam℀ple.com"])
def test_what_cannot_be_read_is_no_web_address(url: str) -> None:
    """An address that Python refuses to take apart is refused like any other, without its text."""
    with pytest.raises(Invalid, match="media_urls: is not a web address") as caught:
        fields.url("media_urls", url)

    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    "url",
    [
        # A browser goes to evil.example.com, whatever the part after the @ says.
        "https://evil.example.com\\@example.com/",
        "https://example.com\\.evil.example.com",
        "https://example.com/\u202egpj.exe",
        "https://\u2066example.com",
        "https://example.com/a b",
        "https://example.com/a\u00a0b",
        "https://exam\u3000ple.com",
    ],
    ids=ascii,
)
def test_what_hides_where_it_leads_is_no_web_address(url: str) -> None:
    """Blanks, backslashes and marks that reorder text are refused anywhere in it."""
    with pytest.raises(Invalid, match="media_urls: has a blank, a backslash or a mark"):
        fields.url("media_urls", url)


@pytest.mark.parametrize("char", ["\0", "\n", "\r", "\t", "\x1f", "\x7f", "\u2028"], ids=ascii)
def test_a_web_address_is_one_line(char: str) -> None:
    """Python's reader would take line breaks out: they are refused before it sees them."""
    with pytest.raises(Invalid, match="has a control character"):
        fields.url("media_urls", f"https://exam{char}ple.com")


def test_a_web_address_may_be_2048_characters_long() -> None:
    """2048 characters pass, 2049 do not."""
    longest = "https://example.com/".ljust(2048, "a")

    assert longest == fields.url("media_urls", longest)
    with pytest.raises(Invalid, match="is longer than 2048 characters"):
        fields.url("media_urls", longest + "a")


@given(value=anything | anything.map("https://{}".format) | anything.map("https://a{}b/".format))
@example(value="http://[")
@example(value="https://\u2100")
def test_a_web_address_is_checked_or_refused(value: str) -> None:
    """Whatever is given, it is refused by name, or it is a trimmed line that starts with http."""
    checked = tried(fields.url, "url", value)
    if checked is None:
        return

    assert value.strip() == checked
    assert checked.lower().startswith(("http://", "https://"))
    assert not any(char.isspace() or unicodedata.category(char) == "Cc" for char in checked)


# --- other fields --------------------------------------------------------------------------------


@pytest.mark.parametrize(("value", "expected"), [(True, True), (False, False), (None, False)])
def test_a_flag_is_true_or_false(value: object, expected: bool) -> None:
    """Nothing is false."""
    assert expected is fields.flag("create_organization", value)


@pytest.mark.parametrize("value", ["true", "", 0, 1, [], {}], ids=repr)
def test_what_is_neither_true_nor_false_is_no_flag(value: object) -> None:
    """Neither text nor 1 is a truth value."""
    with pytest.raises(Invalid, match="create_organization: must be true or false"):
        fields.flag("create_organization", value)


@given(value=st.none() | anything | st.integers() | st.floats() | st.booleans() | st.binary())
def test_a_text_is_checked_or_refused(value: object) -> None:
    """Whatever is given, it is refused by name, or it is trimmed, within its limit and storable."""
    for check in (fields.line, fields.text):
        checked = tried(check, "note", value, most=20)
        if checked is None:
            continue

        assert isinstance(value, str)
        assert value.strip() == checked
        assert 0 < len(checked) <= 20
        assert "\0" not in checked
        assert checked.encode()


@given(value=anything)
def test_a_line_stays_one_line(value: str) -> None:
    """What passes as one line is not split by anything that splits lines."""
    checked = tried(fields.line, "name", value, most=100)

    assert checked is None or len(checked.splitlines()) == 1


@given(value=st.none() | st.integers() | st.floats() | st.booleans() | anything)
def test_a_number_is_checked_or_refused(value: object) -> None:
    """Whatever is given, it is refused by name or within its limits."""
    checked = tried(fields.number, "suggested_lat", value, least=-90, most=90)

    assert checked is None or (checked == value and -90 <= checked <= 90)


# --- text that is shown --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("", ""),
        ("  a  b\t\nc ", "a b c"),
        ("a\r\nBcc: b@example.com", "a Bcc: b@example.com"),
        ("a\u2028b\u2029c\u3000d", "a b c d"),
        ("a\x0bb\x0cc\x85d\x1be", "abcde"),
        (f"a{BIDI}b", "ab"),
        ("a\ud800b\0c", "abc"),
        ("牛 👩‍👧", "牛 👩‍👧"),
    ],
    ids=ascii,
)
def test_text_in_a_header_is_one_line(value: str, expected: str) -> None:
    """Line breaks are blanks, blanks are one, and what steers a terminal or a reader is gone."""
    assert expected == fields.one_line(value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a\r\nb\tc\u2028d", "a\r\nb\tc\u2028d"),
        ("a\x1b[31mb\x7fc\x85d\0e", "a[31mbcde"),
        (f"a{BIDI}b\udfffc", "abc"),
    ],
    ids=ascii,
)
def test_printable_text_keeps_its_lines(value: str, expected: str) -> None:
    """Lines and tabs stay; controls, marks that reorder text and surrogates do not."""
    assert expected == fields.printable(value)


@given(value=anything)
def test_text_that_was_made_fit_is_fit(value: str) -> None:
    """Making a text fit twice changes nothing, and nothing dangerous is left."""
    line, text = fields.one_line(value), fields.printable(value)

    assert (line, text) == (fields.one_line(line), fields.printable(text))
    assert len(line.splitlines()) <= 1
    assert not set(line + text) & set(BIDI)
    assert line.encode() is not None
    assert text.encode() is not None
    assert "\x1b" not in text
