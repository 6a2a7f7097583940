"""What every HTML page of ours is: one file that loads nothing, without a script."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import TYPE_CHECKING

from siutindei.domain import fields

if TYPE_CHECKING:
    from collections.abc import Iterable


def html(title: str, *, style: str, body: Iterable[str]) -> str:
    """Make a page; its policy allows its own style, and nothing else.

    Args:
        title: the title, as plain text.
        style: the style sheet.
        body: what stands in it, as HTML.
    """
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return "\n".join(
        (
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
            f"style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'\">",
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="referrer" content="no-referrer">',
            f"<title>{text(title)}</title>",
            f"<style>{style}</style>",
            "</head>",
            "<body>",
            *body,
            "</body>",
            "</html>",
            "",
        )
    )


def text(value: object) -> str:
    """Write a value so that it is text, on one line, and nothing else."""
    return escape(fields.one_line(str(value)))
