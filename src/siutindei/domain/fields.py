"""Checks of single fields, with the words that every caller gets to read.

Sizes are counted in characters (code points), after trimming.
"""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from uuid import UUID

from siutindei.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable

#: What several lines may have and one may not: U+2028 and U+2029 break lines as a newline does.
_LINE_BREAKS: Final = frozenset("\n\r\t\u2028\u2029")
#: Characters that reorder text; harmless in a page, misleading in a header or a terminal.
_BIDI: Final = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
#: With hyphens or without; Python's own reading takes underscores and digits of any script too.
_UUID: Final = re.compile("[0-9a-f]{8}(-?[0-9a-f]{4}){3}-?[0-9a-f]{12}", re.IGNORECASE)


def line(name: str, value: object, *, most: int) -> str | None:
    """Check a text of one line; blank is None."""
    return _text(name, value, most=most, allowed=frozenset())


def text(name: str, value: object, *, most: int) -> str | None:
    """Check a text of any number of lines; blank is None."""
    return _text(name, value, most=most, allowed=_LINE_BREAKS)


def required_line(name: str, value: object, *, most: int) -> str:
    """Check a text of one line that may not be blank."""
    checked = line(name, value, most=most)
    if checked is None:
        raise Invalid(name, "is required")
    return checked


def _text(name: str, value: object, *, most: int, allowed: frozenset[str]) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise Invalid(name, "must be text")
    trimmed = value.strip()
    if len(trimmed) > most:
        raise Invalid(name, f"is longer than {most} characters")
    if all(_is_invisible(char) for char in trimmed):
        return None
    for char in trimmed:
        category = unicodedata.category(char)
        if category == "Cs":
            raise Invalid(name, "is not valid text (a lone surrogate)")
        if (category == "Cc" or char in _LINE_BREAKS) and char not in allowed:
            raise Invalid(name, f"has a control character (U+{ord(char):04X})")
    return trimmed


def _is_invisible(char: str) -> bool:
    return char.isspace() or unicodedata.category(char) == "Cf"


def number(name: str, value: object, *, least: float, most: float) -> float | None:
    """Check a number; None stays None, 0 is a number, a text or a truth value is not."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Invalid(name, "must be a number")
    # NaN is not between anything, and a whole number of any size can be compared.
    if not least <= value <= most:
        raise Invalid(name, f"must be between {least:g} and {most:g}")
    return float(value)


def whole(name: str, value: object, *, least: int, most: int) -> int:
    """Check a whole number; a text, a truth value or a fraction is none."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise Invalid(name, "must be a whole number")
    if not least <= value <= most:
        raise Invalid(name, f"must be between {least} and {most}")
    return value


def flag(name: str, value: object) -> bool:
    """Check a truth value; None is false."""
    if value is None:
        return False
    if not isinstance(value, bool):
        raise Invalid(name, "must be true or false")
    return value


def uuid(name: str, value: object) -> str:
    """Check a UUID and give it in its usual form."""
    if not isinstance(value, str) or not _UUID.fullmatch(value.strip()):
        raise Invalid(name, "must be a UUID")
    return str(UUID(value.strip()))


def some(name: str, value: object, *, most: int, each: Callable[[str, object], str]) -> list[str]:
    """Check a list of at most `most` entries; duplicates are dropped, the order is kept."""
    if value is None:
        return []
    if not isinstance(value, (list, tuple)):
        raise Invalid(name, "must be a list")
    checked = list(dict.fromkeys(each(name, entry) for entry in value[: most + 1]))
    if len(value) > most:
        raise Invalid(name, f"has more than {most} entries")
    return checked


def url(name: str, value: object) -> str:
    """Check a web address: http or https, with a host, at most 2048 characters.

    What makes a reader or a browser see another host than the one that is checked has no place in
    it: blanks, backslashes (a browser takes them for slashes), and marks that reorder text.
    """
    checked = required_line(name, value, most=2048)
    try:
        parts = urlsplit(checked)
        host = parts.hostname
    except ValueError:
        raise Invalid(name, "is not a web address") from None
    if parts.scheme not in {"http", "https"} or not host:
        raise Invalid(name, "must be a web address that starts with http:// or https://")
    if "\\" in checked or _BIDI.search(checked) or any(c.isspace() for c in checked):
        raise Invalid(name, "has a blank, a backslash or a mark that reorders text")
    return checked


def one_line(value: str) -> str:
    """Strip what has no place in a header or a single line: controls, line breaks, bidi marks."""
    flat = "".join(" " if c in _LINE_BREAKS else c for c in printable(value))
    return " ".join(flat.split())


def printable(value: str) -> str:
    """Strip controls other than line breaks and tabs, marks that reorder text, and surrogates."""
    return _BIDI.sub(
        "",
        "".join(
            c for c in value if c in _LINE_BREAKS or unicodedata.category(c) not in {"Cc", "Cs"}
        ),
    )
