"""What each mail says, to whom, and from whom.

There are three mails and no fourth. Each is a template: what it says in two languages, as data. One
renderer makes the text part and the HTML part from the same blocks, so that they cannot say
different things. A template's hash covers all of its wording and the layout around it; whoever
asks for a mail stores name, version and hash.

Nothing that a user typed gets into a subject or another header: SES's feedback repeats the subject
of a mail, and that travels through topics, queues and logs.
"""

from __future__ import annotations

import hashlib
import html
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, Final, Literal, assert_never
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import attrs

from siutindei.domain import fields, notification
from siutindei.domain.errors import Invalid

if TYPE_CHECKING:
    from collections.abc import Callable

    from siutindei.domain import ticket
    from siutindei.domain.personal import Personal

# --- names ---------------------------------------------------------------------------------------

#: The name that a mail's sender is shown with.
SENDER_NAME: Final = "Siu Tin Dei"
PRIVACY_PAGE: Final = "https://siutindei-www.lx-software.com/privacy"
#: The link's only parameter. Sign-in pages take one that is named `code` for OAuth's.
LINK_PARAMETER: Final = "otp"

#: What each lane's mails are sent under at SES: its delivery limit, and where its feedback goes.
CONFIGURATION_SETS: Final[Mapping[notification.Lane, str]] = {
    "codes": "siutindei-codes",
    "tickets": "siutindei-tickets",
}

Language = Literal["en", "zh-HK"]
#: Hong Kong has had one offset all year round since 1979.
HONG_KONG: Final = timezone(timedelta(hours=8))

# An RFC 5322 dot-atom before the @ and labels behind it, in the lengths of RFC 5321 section 4.5.3.1.
# What begins like an encoded word has no place in an address (RFC 2047 section 5).
_ATOM: Final = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_ADDRESS: Final = re.compile(
    rf"(?=.{{1,254}}\Z)(?=[^@]{{1,64}}@)(?!.*=\?){_ATOM}(?:\.{_ATOM})*@{_LABEL}(?:\.{_LABEL})*"
)
_ID: Final = re.compile(r"[A-Za-z0-9_-]{1,40}")
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,126}")


def languages(locale: str | None) -> tuple[Language, ...]:
    """Say what languages a mail is written in: both, unless the locale is one of the two."""
    match locale:
        case "en":
            return ("en",)
        case "zh-HK":
            return ("zh-HK",)
        case _:
            return ("zh-HK", "en")


# --- from whom, to whom --------------------------------------------------------------------------

#: Which function of the deployment sends the mails of a lane; no other one sends any. Its role is
#: held against this table.
DISPATCHERS: Final[Mapping[str, notification.Lane]] = {
    "create_auth_challenge": "codes",
    "processor": "tickets",
}


@attrs.frozen(kw_only=True)
class Senders:
    """The addresses that mails come from, and the mailbox of the team: configuration, not personal.

    Attributes:
        codes_from: the sender of sign-in codes.
        tickets_from: the sender of ticket mails.
        support: who gets the notices about new tickets, and nobody else does.
        login_link_base_url: where the link in a code mail leads; empty for no link.

    Raises:
        Invalid: names the attribute that is no address, or the link that is none.
    """

    codes_from: str = "hello@lx-software.com"
    tickets_from: str = "no-reply@lx-software.com"
    support: str = "support@lx-software.com"
    login_link_base_url: str = ""

    def __attrs_post_init__(self) -> None:
        for name in ("codes_from", "tickets_from", "support"):
            address(name, getattr(self, name))
        base = self.login_link_base_url
        if not base:
            return
        name = "login_link_base_url"
        if not base.isascii() or fields.url(name, base) != base:
            raise Invalid(name, "must be a web address in ASCII, without blanks around it")
        if {"code", LINK_PARAMETER} & dict(parse_qsl(urlsplit(base).query)).keys():
            raise Invalid(name, f"may have no parameter named code or {LINK_PARAMETER}")

    def route(self, kind: notification.Kind, recipient: str | None) -> tuple[str, str]:
        """Say who sends a mail to whom: the one rule that every mail is built by.

        Args:
            kind: the kind of mail.
            recipient: the person whom it is for; None for the mailbox of the team.

        Raises:
            Invalid: a notice about a new ticket is for a person, or another mail is for nobody, or
                the recipient is no address that mail can be sent to.
        """
        sender = self.codes_from if notification.LANES[kind] == "codes" else self.tickets_from
        if kind == "ticket_received":
            if recipient is not None:
                raise Invalid("recipient", "notices about new tickets go to support alone")
            return sender, self.support
        if recipient is None:
            raise Invalid("recipient", f"a {kind} mail is for one person: name the address")
        return sender, address("recipient", recipient)

    def link(self, code: str) -> str | None:
        """Make the link that fills in a code and does nothing else; None when there is to be none.

        It names nobody: an address has no place in a URL.
        """
        if not self.login_link_base_url:
            return None
        parts = urlsplit(self.login_link_base_url)
        own = urlencode({LINK_PARAMETER: code})
        return urlunsplit(parts._replace(query=f"{parts.query}&{own}" if parts.query else own))


def address(name: str, value: str) -> str:
    """Check an address, and give it back.

    Raises:
        Invalid: mail cannot be sent to it; the error names the field and does not repeat the text.
    """
    if not _ADDRESS.fullmatch(value):
        raise Invalid(
            name, "is not an address that mail can be sent to (7-bit ASCII, local@domain)"
        )
    return value


# --- a mail --------------------------------------------------------------------------------------


@attrs.frozen(kw_only=True, repr=False)
class Mail:
    """A mail, ready to be handed over; its `repr` shows ids only.

    Attributes:
        notification_id: the notification whose mail it is.
        kind: what mail it is.
        sender: the address that it comes from.
        recipient: the one address that it goes to.
        subject: one line; holds nothing secret and nothing that a user typed.
        text: the plain text part; its lines end in a line feed.
        html: the HTML part, which says the same.
        headers: further headers: Auto-Submitted (RFC 3834), Message-ID and, for ticket mails,
            References (RFC 5322), by which a mailbox keeps the mails of one ticket together.

    Raises:
        Invalid: names what would not be a header or an address.
    """

    notification_id: str
    kind: notification.Kind
    sender: str
    recipient: str
    subject: str
    text: str
    html: str
    headers: tuple[tuple[str, str], ...] = ()

    def __attrs_post_init__(self) -> None:
        if not _ID.fullmatch(self.notification_id):
            raise Invalid("notification_id", "must be at most 40 letters, digits, - and _")
        address("sender", self.sender)
        address("recipient", self.recipient)
        for name, value in (("Subject", self.subject), *self.headers):
            if not _HEADER_NAME.fullmatch(name):
                raise Invalid("headers", "a name must be letters, digits and -")
            if not value or fields.one_line(value) != value:
                raise Invalid(name, "must be one line without control characters")
            if name != "Subject" and not value.isascii():
                raise Invalid(name, "must be ASCII")

    @property
    def lane(self) -> notification.Lane:
        """The lane that it goes in: one sender's mail."""
        return notification.LANES[self.kind]

    def __repr__(self) -> str:
        return f"<Mail {self.kind} {self.notification_id}>"


# --- what a mail is made of ----------------------------------------------------------------------


@attrs.frozen
class Heading:
    """What the mail is about."""

    text: str


@attrs.frozen
class Paragraph:
    """Some sentences."""

    text: str


@attrs.frozen
class Code:
    """A code to be typed in elsewhere."""

    slot: str


@attrs.frozen
class Link:
    """A web address of ours, and what it does; left out when there is none."""

    text: str
    slot: str


@attrs.frozen
class Facts:
    """Labels and values; a row without a value is left out."""

    rows: tuple[tuple[str, str], ...]


@attrs.frozen
class Quote:
    """What a person wrote, marked as theirs; left out when they wrote nothing."""

    label: str
    slot: str


Block = Heading | Paragraph | Code | Link | Facts | Quote


@attrs.frozen(kw_only=True)
class Wording:
    """What a mail says in one language; `{name}` stands for a value, a slot names one.

    Attributes:
        subject: what follows the template's prefix.
        blocks: the mail, from top to bottom.
        reason: why the recipient gets it.
        words: how single words that a value is made of are said.
    """

    subject: str
    blocks: tuple[Block, ...]
    reason: str
    words: Mapping[str, str]


def _hash(template: Template) -> str:
    source = _plain((template.prefix, template.wordings, COMMON, LAYOUT))
    return hashlib.sha256(json.dumps(source, sort_keys=True).encode()).hexdigest()


@attrs.frozen(kw_only=True)
class Template:
    """One of the mails that exist.

    Attributes:
        name: the kind of mail that it is for.
        version: rises with every change of what the mail says or how it looks.
        prefix: what the subject begins with in every language.
        wordings: what it says, by language.
        hash: SHA-256 (FIPS 180-4) of wording and layout, in hex.
    """

    name: notification.Kind
    version: int
    prefix: str = ""
    wordings: Mapping[Language, Wording]
    hash: str = attrs.field(init=False, default=attrs.Factory(_hash, takes_self=True))


def _plain(value: Any) -> Any:
    """Turn wording into what JSON knows, class names included."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, str):
        return value
    entries = [_plain(getattr(value, field.name)) for field in attrs.fields(type(value))]
    return [type(value).__name__, *entries]


# --- how it looks --------------------------------------------------------------------------------
# Yellow #f5c51b, ink #2e1d12, leaf green #8bc152. Green and yellow only ever lie around or under
# ink. No colour is written in six decimal digits, so that whoever looks for a code finds the code.

_FONT: Final = (
    "font-family:-apple-system,'Segoe UI',Roboto,'Helvetica Neue',Arial,"
    "'PingFang HK','PingFang TC','Microsoft JhengHei','Noto Sans CJK TC',sans-serif"
)
_BREAK: Final = "overflow-wrap:anywhere;word-break:break-word"

LAYOUT: Final[Mapping[str, str]] = {
    "text.page": "Siu Tin Dei\n\n{sections}\n\n{footer}\n",
    "text.between_sections": "\n\n" + "-" * 40 + "\n\n",
    "text.between_blocks": "\n\n",
    "text.heading": "{text}",
    "text.paragraph": "{text}",
    "text.code": "{text}",
    "text.link": "{text}\n{url}",
    "text.fact": "{label}{colon}{text}",
    "text.long_fact": "{label}{colon}\n{text}",
    "text.fact_line": "  {text}",
    "text.quote": "{label}{colon}\n{text}",
    "text.quote_line": "> {text}",
    "text.footer": "-" * 40 + "\n{reasons}\n\n{company}\n{privacy}{colon}{url}",
    "html.page": (
        "<!DOCTYPE html>\n"
        '<html lang="{lang}" dir="ltr">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light">\n'
        '<meta name="supported-color-schemes" content="light">\n'
        "<title>{subject}</title>\n</head>\n"
        '<body style="margin:0;padding:0;background-color:#fdf6e0;color:#2e1d12">\n'
        '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"'
        ' style="width:100%;background-color:#fdf6e0">\n'
        '<tr><td align="center" style="padding:16px 8px">\n'
        '<table role="presentation" width="100%" cellpadding="0" cellspacing="0" border="0"'
        ' style="width:100%;max-width:600px;table-layout:fixed;background-color:#ffffff;'
        f'text-align:left;color:#2e1d12;font-size:16px;line-height:1.5;{_FONT}">\n'
        '<tr><td style="padding:16px 24px;background-color:#f5c51b;color:#2e1d12;'
        f'font-size:18px;font-weight:bold;{_FONT}">Siu Tin Dei</td></tr>\n'
        f'<tr><td style="padding:24px;color:#2e1d12;{_FONT}">\n{{sections}}\n</td></tr>\n'
        '<tr><td style="padding:16px 24px;border-top:4px solid #8bc152;color:#2e1d12;'
        f'font-size:13px;line-height:1.5;{_FONT}">\n{{footer}}\n</td></tr>\n'
        "</table>\n</td></tr>\n</table>\n</body>\n</html>\n"
    ),
    "html.section": '<div lang="{lang}">\n{blocks}\n</div>',
    "html.between_sections": (
        '\n<hr style="margin:24px 0;border:0;border-top:1px solid #2e1d12">\n'
    ),
    "html.between_blocks": "\n",
    "html.heading": (
        '<h1 style="margin:0 0 16px;font-size:22px;line-height:1.3;color:#2e1d12">{text}</h1>'
    ),
    "html.paragraph": f'<p style="margin:0 0 16px;{_BREAK}">{{text}}</p>',
    "html.code": (
        '<p style="margin:0 0 16px;padding:12px;border:2px solid #8bc152;color:#2e1d12;'
        "background-color:#fdf6e0;text-align:center;font-family:Menlo,Consolas,monospace;"
        'font-size:32px;line-height:1.3;font-weight:bold;letter-spacing:4px">{text}</p>'
    ),
    "html.link": (
        f'<p style="margin:0 0 16px;{_BREAK}">{{text}}<br>\n'
        '<a href="{url}" style="color:#2e1d12;text-decoration:underline">{url}</a></p>'
    ),
    "html.facts": (
        '<table cellpadding="0" cellspacing="0" border="0" style="width:100%;margin:0 0 16px;'
        'border-collapse:collapse;font-size:15px;line-height:1.5">\n{rows}\n</table>'
    ),
    "html.fact": (
        '<tr><th scope="row" align="left" valign="top" style="width:34%;padding:6px 12px 6px 0;'
        'border-bottom:1px solid #f5e3a1;font-weight:bold;text-align:left">{label}</th>'
        '<td valign="top" style="padding:6px 0;border-bottom:1px solid #f5e3a1;'
        f'{_BREAK}">{{text}}</td></tr>'
    ),
    "html.quote": (
        '<p style="margin:0 0 4px;font-weight:bold">{label}</p>\n'
        '<blockquote style="margin:0 0 16px;padding:4px 0 4px 12px;border-left:4px solid #8bc152;'
        f'{_BREAK}">{{text}}</blockquote>'
    ),
    "html.line_break": "<br>\n",
    "html.reason": '<p lang="{lang}" style="margin:0 0 8px">{text}</p>',
    "html.company": (
        '<p lang="{lang}" style="margin:0 0 12px">{company}<br>\n'
        '{privacy}{colon}<a href="{url}" style="color:#2e1d12;text-decoration:underline">'
        "{url}</a></p>"
    ),
}

#: What every mail says, by language.
COMMON: Final[dict[Language, dict[str, str]]] = {
    "en": {
        "colon": ": ",
        "company": "LX Software Limited, Hong Kong",
        "privacy": "Privacy",
        "moment": "{day} {month} {year}, {time} (Hong Kong time, UTC+08:00)",
        "months": "January February March April May June July August September October November December",
        "second": "1 second",
        "seconds": "{count} seconds",
        "minute": "1 minute",
        "minutes": "{count} minutes",
    },
    "zh-HK": {
        "colon": "：",
        "company": "LX Software Limited，香港",
        "privacy": "私隱政策",
        "moment": "{year}年{month}月{day}日 {time}（香港時間，UTC+08:00）",
        "months": "1 2 3 4 5 6 7 8 9 10 11 12",
        "second": "1 秒",
        "seconds": "{count} 秒",
        "minute": "1 分鐘",
        "minutes": "{count} 分鐘",
    },
}

# --- what it says --------------------------------------------------------------------------------
# A change of anything here or above that a recipient can see needs a new version below.

_SIGN_IN_CODE: Final = Template(
    name="sign_in_code",
    version=1,
    wordings={
        "en": Wording(
            subject="Your Siu Tin Dei sign-in code",
            blocks=(
                Heading("Your sign-in code"),
                Paragraph("Enter this code where you started to sign in:"),
                Code("code"),
                Paragraph(
                    "It works for {lifetime}, and only once. If you have asked for more than one code, only the newest works."
                ),
                Link(
                    "Or open this link: it fills in the code, and you finish signing in yourself.",
                    "link",
                ),
                Paragraph(
                    "If you did not try to sign in, please ignore this mail. Do not share the code with anyone: we will never ask you for it."
                ),
            ),
            reason="You are getting this mail because a sign-in to Siu Tin Dei was started with your email address.",
            words={},
        ),
        "zh-HK": Wording(
            subject="您的 Siu Tin Dei 登入驗證碼",
            blocks=(
                Heading("您的登入驗證碼"),
                Paragraph("請在登入畫面輸入以下驗證碼："),
                Code("code"),
                Paragraph(
                    "驗證碼於 {lifetime}內有效，並只可使用一次。如您曾多次索取驗證碼，只有最新的一個有效。"
                ),
                Link("您亦可開啟以下連結，驗證碼會自動填上，再由您自行完成登入。", "link"),
                Paragraph(
                    "如您並無嘗試登入，請不必理會此電郵。請勿向任何人透露驗證碼；我們絕不會向您索取。"
                ),
            ),
            reason="您收到此電郵，是因為有人以您的電郵地址要求登入 Siu Tin Dei。",
            words={},
        ),
    },
)

_TICKET_RECEIVED: Final = Template(
    name="ticket_received",
    version=1,
    prefix="[Siu Tin Dei] [{reference}] ",
    wordings={
        "en": Wording(
            subject="New {type}",
            blocks=(
                Heading("New {type}"),
                Paragraph("A ticket was submitted and is waiting for a decision."),
                Facts(
                    (
                        ("Ticket", "reference"),
                        ("Type", "type"),
                        ("Number it came with", "claimed_reference"),
                        ("Submitted by", "submitter_email"),
                        ("Address vouched for", "assurance"),
                        ("Submitted at", "submitted_at"),
                        ("Organization", "organization"),
                        ("Organization id", "organization_id"),
                        ("District", "district"),
                        ("Address", "address"),
                        ("Latitude", "latitude"),
                        ("Longitude", "longitude"),
                        ("Media", "media_urls"),
                        ("Stars", "stars"),
                        ("Label ids", "labels"),
                    )
                ),
                Quote("Message", "message"),
                Quote("Description", "description"),
                Quote("Additional notes", "notes"),
                Quote("Feedback", "feedback"),
            ),
            reason="You are getting this mail because this mailbox handles the tickets of Siu Tin Dei. It is internal: please do not pass it on.",
            words={
                "access_request": "access request",
                "organization_suggestion": "organization suggestion",
                "organization_feedback": "organization feedback",
                "code": "yes, the submitter answered a code that was mailed to it",
                "token": "yes, by the identity provider's token",
                "none": "no, the ticket was entered by hand",
                "stars": "{count} of 5",
                "moment": "{local} +08:00 (Hong Kong), {utc} UTC",
            },
        ),
    },
)

_TICKET_DECIDED: Final = Template(
    name="ticket_decided",
    version=1,
    prefix="[Siu Tin Dei] [{reference}] ",
    wordings={
        "en": Wording(
            subject="Your {type} was {result}",
            blocks=(
                Heading("Your {type} was {result}"),
                Paragraph("An administrator has reviewed what you sent us. The result:"),
                Facts(
                    (
                        ("Ticket", "reference"),
                        ("Type", "type"),
                        ("Result", "result"),
                        ("Organization", "organization"),
                        ("Reviewed at", "reviewed_at"),
                    )
                ),
                Quote("Message from the administrator", "note"),
            ),
            reason="You are getting this mail because you submitted ticket {reference} to Siu Tin Dei and it was reviewed. Replies to this address are not read.",
            words={
                "access_request": "access request",
                "organization_suggestion": "organization suggestion",
                "organization_feedback": "organization feedback",
                "approved": "approved",
                "declined": "declined",
            },
        ),
        "zh-HK": Wording(
            subject="您的{type}{result}",
            blocks=(
                Heading("您的{type}{result}"),
                Paragraph("管理員已審閱您提交的資料，結果如下："),
                Facts(
                    (
                        ("個案編號", "reference"),
                        ("類別", "type"),
                        ("結果", "result"),
                        ("機構", "organization"),
                        ("審閱時間", "reviewed_at"),
                    )
                ),
                Quote("管理員留言", "note"),
            ),
            reason="您收到此電郵，是因為您向 Siu Tin Dei 提交的個案 {reference} 已完成審閱。此電郵由系統自動發出，請勿回覆。",
            words={
                "access_request": "機構管理權限申請",
                "organization_suggestion": "機構建議",
                "organization_feedback": "機構意見",
                "approved": "已獲批准",
                "declined": "未獲批准",
            },
        ),
    },
)

TEMPLATES: Final[Mapping[notification.Kind, Template]] = {
    template.name: template for template in (_SIGN_IN_CODE, _TICKET_RECEIVED, _TICKET_DECIDED)
}

# --- the three mails -----------------------------------------------------------------------------

Values = dict[str, str | None]


def sign_in_code(
    senders: Senders,
    *,
    notification_id: str,
    recipient: str,
    locale: str | None,
    code: str,
    lifetime: timedelta,
) -> Mail:
    """Write the mail with a sign-in code, to the user who starts to sign in.

    The code is not in the subject. Subjects show on lock screens whatever a person chose for the
    body, and SES repeats them in its feedback, which would put codes into queues and logs. It
    stands at the top of the body, where previews and the autofill of phones find it.

    Args:
        senders: who sends.
        notification_id: the notification whose mail it is.
        recipient: the user's address.
        locale: the language that they read.
        code: the code, in digits.
        lifetime: how long it works.

    Raises:
        Invalid: the recipient is no address, the code has no digits alone, or it does not live.
    """
    if not code.isascii() or not code.isdigit():
        raise Invalid("code", "must be digits")
    if lifetime < timedelta(seconds=1):
        raise Invalid("lifetime", "must be a second or more")

    def values(language: Language) -> Values:
        return {
            "code": code,
            "lifetime": _lifetime(language, lifetime),
            "link": senders.link(code),
        }

    return _write(
        _SIGN_IN_CODE,
        senders.route("sign_in_code", recipient),
        notification_id=notification_id,
        languages=languages(locale),
        values=values,
    )


def ticket_received(senders: Senders, *, notification_id: str, ticket: ticket.Ticket) -> Mail:
    """Write the notice about a new ticket, to support and to nobody else, in English.

    Args:
        senders: who sends, and who support is.
        notification_id: the notification whose mail it is.
        ticket: the ticket; what is personal in it is clear or erased.

    Raises:
        ValueError: the ticket was never submitted.
    """
    submitted = ticket.submitted
    if submitted is None:
        msg = "a notice needs a ticket that was submitted"
        raise ValueError(msg)
    words = _TICKET_RECEIVED.wordings["en"].words
    at = _aware(submitted.at)
    is_access_request = submitted.ticket_type == "access_request"
    stars = submitted.feedback_stars
    values: Values = {
        "reference": submitted.reference,
        "type": words[submitted.ticket_type],
        "claimed_reference": _line(submitted.claimed_reference),
        "submitter_email": _line(submitted.submitter_email),
        "assurance": words[submitted.assurance],
        "submitted_at": words["moment"].format(
            local=f"{at.astimezone(HONG_KONG):%Y-%m-%d %H:%M:%S}",
            utc=f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}",
        ),
        "organization": _line(submitted.organization_name),
        "organization_id": _line(submitted.organization_id),
        "district": _line(submitted.suggested_district),
        "address": _lines(submitted.suggested_address),
        "latitude": _line(submitted.suggested_lat),
        "longitude": _line(submitted.suggested_lng),
        "media_urls": _lines(submitted.media_urls),
        "stars": None if stars is None else words["stars"].format(count=stars),
        "labels": _lines("\n".join(submitted.feedback_label_ids) or None),
        "message": _lines(submitted.message) if is_access_request else None,
        "description": _lines(submitted.description),
        "notes": None if is_access_request else _lines(submitted.message),
        "feedback": _lines(submitted.feedback_text),
    }
    return _write(
        _TICKET_RECEIVED,
        senders.route("ticket_received", None),
        notification_id=notification_id,
        languages=("en",),
        values=lambda _: values,
        thread=submitted.reference,
    )


def ticket_decided(
    senders: Senders,
    *,
    notification_id: str,
    recipient: str,
    locale: str | None,
    ticket: ticket.Ticket,
) -> Mail:
    """Write the mail about a decision, to the one who submitted the ticket.

    Args:
        senders: who sends.
        notification_id: the notification whose mail it is.
        recipient: the address that submitted.
        locale: the language that they read.
        ticket: the ticket; what is personal in it is clear or erased.

    Raises:
        Invalid: the recipient is no address.
        ValueError: the ticket was never decided.
    """
    submitted, decision = ticket.submitted, ticket.decision
    if submitted is None or decision is None:
        msg = "a mail about a decision needs a ticket that was decided"
        raise ValueError(msg)

    def values(language: Language) -> Values:
        words = _TICKET_DECIDED.wordings[language].words
        return {
            "reference": submitted.reference,
            "type": words[submitted.ticket_type],
            "result": words[ticket.status],
            "organization": _line(submitted.organization_name),
            "reviewed_at": _moment(language, decision.at),
            "note": _lines(decision.note),
        }

    return _write(
        _TICKET_DECIDED,
        senders.route("ticket_decided", recipient),
        notification_id=notification_id,
        languages=languages(locale),
        values=values,
        thread=submitted.reference,
    )


# --- values --------------------------------------------------------------------------------------


def _line(value: Personal | str | None) -> str | None:
    """Bring what is one line, and may not pass for more."""
    text = _text(value)
    return None if text is None else fields.one_line(text)


def _lines(value: Personal | str | None) -> str | None:
    """Bring what may be any number of lines, with one kind of line break."""
    text = _text(value)
    return None if text is None else "\n".join(fields.printable(text).splitlines())


def _text(value: Personal | str | None) -> str | None:
    return value if value is None or isinstance(value, str) else value.text


def _lifetime(language: Language, lifetime: timedelta) -> str:
    """Say how long, in minutes; in seconds when it is not whole minutes."""
    seconds = int(lifetime.total_seconds())
    count, unit = (seconds, "second") if seconds % 60 else (seconds // 60, "minute")
    return COMMON[language][unit if count == 1 else f"{unit}s"].format(count=count)


def _moment(language: Language, at: datetime) -> str:
    local = _aware(at).astimezone(HONG_KONG)
    words = COMMON[language]
    return words["moment"].format(
        year=local.year,
        month=words["months"].split()[local.month - 1],
        day=local.day,
        time=f"{local:%H:%M}",
    )


def _aware(at: datetime) -> datetime:
    if at.utcoffset() is None:
        msg = "a time needs an offset"
        raise ValueError(msg)
    return at


# --- the renderer --------------------------------------------------------------------------------


def _write(
    template: Template,
    route: tuple[str, str],
    *,
    notification_id: str,
    languages: tuple[Language, ...],
    values: Callable[[Language], Values],
    thread: str | None = None,
) -> Mail:
    """Make a mail from a template: the only place where one is built."""
    sender, recipient = route
    domain = sender.rpartition("@")[2]
    parts = [(language, template.wordings[language], values(language)) for language in languages]
    subject = template.prefix.format_map(parts[0][2]) + " / ".join(
        wording.subject.format_map(filled) for _, wording, filled in parts
    )
    headers = [
        ("Auto-Submitted", "auto-generated"),
        ("Message-ID", f"<{notification_id}@{domain}>"),
    ]
    if thread is not None:
        headers.append(("References", f"<{thread}@{domain}>"))
    return Mail(
        notification_id=notification_id,
        kind=template.name,
        sender=sender,
        recipient=recipient,
        subject=subject,
        text=_text_page(parts),
        html=_html_page(parts, subject),
        headers=tuple(headers),
    )


Part = tuple[Language, Wording, Values]


def _text_page(parts: list[Part]) -> str:
    sections = [
        LAYOUT["text.between_blocks"].join(
            shown
            for shown in (_as_text(language, block, values) for block in wording.blocks)
            if shown
        )
        for language, wording, values in parts
    ]
    footers = [
        LAYOUT["text.footer"].format(
            reasons=wording.reason.format_map(values), url=PRIVACY_PAGE, **COMMON[language]
        )
        for language, wording, values in parts
    ]
    return LAYOUT["text.page"].format(
        sections=LAYOUT["text.between_sections"].join(sections),
        footer=LAYOUT["text.between_blocks"].join(footers),
    )


def _html_page(parts: list[Part], subject: str) -> str:
    sections = [
        LAYOUT["html.section"].format(
            lang=language,
            blocks=LAYOUT["html.between_blocks"].join(
                shown for shown in (_as_html(block, values) for block in wording.blocks) if shown
            ),
        )
        for language, wording, values in parts
    ]
    footers = [
        LAYOUT["html.reason"].format(lang=language, text=_escape(wording.reason, values))
        + LAYOUT["html.company"].format(lang=language, url=PRIVACY_PAGE, **COMMON[language])
        for language, wording, values in parts
    ]
    return LAYOUT["html.page"].format(
        lang=parts[0][0],
        subject=html.escape(subject),
        sections=LAYOUT["html.between_sections"].join(sections),
        footer=LAYOUT["html.between_blocks"].join(footers),
    )


def _as_text(language: Language, block: Block, values: Values) -> str | None:
    """Show a block in the text part.

    What a person typed never begins at the left margin, where only we write: their lines are
    indented or marked, and nobody can add a fact of their own.
    """
    colon = COMMON[language]["colon"]
    match block:
        case Heading(text):
            return LAYOUT["text.heading"].format(text=text.format_map(values))
        case Paragraph(text):
            return LAYOUT["text.paragraph"].format(text=text.format_map(values))
        case Code(slot):
            return LAYOUT["text.code"].format(text=values[slot])
        case Link(text, slot):
            url = values[slot]
            return None if url is None else LAYOUT["text.link"].format(text=text, url=url)
        case Facts(rows):
            return "\n".join(
                _text_fact(label, value, colon)
                for label, value in ((label, values[slot]) for label, slot in rows)
                if value is not None
            )
        case Quote(label, slot):
            quoted = values[slot]
            if quoted is None:
                return None
            marked = _each_line("text.quote_line", quoted)
            return LAYOUT["text.quote"].format(label=label, colon=colon.rstrip(), text=marked)
        case _:
            assert_never(block)


def _text_fact(label: str, value: str, colon: str) -> str:
    if "\n" not in value:
        return LAYOUT["text.fact"].format(label=label, colon=colon, text=value).rstrip()
    lines = _each_line("text.fact_line", value)
    return LAYOUT["text.long_fact"].format(label=label, colon=colon.rstrip(), text=lines)


def _each_line(layout: str, value: str) -> str:
    return "\n".join(LAYOUT[layout].format(text=line).rstrip() for line in value.split("\n"))


def _as_html(block: Block, values: Values) -> str | None:
    """Show a block in the HTML part; whatever it is filled with is escaped here."""
    match block:
        case Heading(text):
            return LAYOUT["html.heading"].format(text=_escape(text, values))
        case Paragraph(text):
            return LAYOUT["html.paragraph"].format(text=_escape(text, values))
        case Code(slot):
            return LAYOUT["html.code"].format(text=_escape(f"{{{slot}}}", values))
        case Link(text, slot):
            url = values[slot]
            if url is None:
                return None
            return LAYOUT["html.link"].format(text=_escape(text, values), url=html.escape(url))
        case Facts(rows):
            return LAYOUT["html.facts"].format(
                rows="\n".join(
                    LAYOUT["html.fact"].format(label=html.escape(label), text=_html_lines(value))
                    for label, value in ((label, values[slot]) for label, slot in rows)
                    if value is not None
                )
            )
        case Quote(label, slot):
            quoted = values[slot]
            if quoted is None:
                return None
            return LAYOUT["html.quote"].format(label=html.escape(label), text=_html_lines(quoted))
        case _:
            assert_never(block)


def _escape(text: str, values: Values) -> str:
    return html.escape(text.format_map(values))


def _html_lines(value: str) -> str:
    return LAYOUT["html.line_break"].join(html.escape(line) for line in value.split("\n"))
