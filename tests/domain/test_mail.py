"""What each mail says, to whom, and from whom."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from typing import Any, Final

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from siutindei.domain import mail, notification, ticket
from siutindei.domain.errors import Invalid
from siutindei.domain.mail import Mail, Senders
from siutindei.domain.personal import ERASED, Personal, of

AT: Final = datetime(2025, 11, 24, 16, 5, 9, tzinfo=UTC)
ID: Final = "0123456789abcdef0123456789abcdef"
SENDERS: Final = Senders()
ANN: Final = "ann@example.com"
LINKED: Final = Senders(login_link_base_url="https://www.example.com/sign-in?from=mail#top")

#: What each version of each template is: the hash that the history stores, and a hash of what it
#: looks like. A change of wording or looks needs a new version and a new line; no line changes.
PINNED: Final = {
    ("sign_in_code", 1): (
        "5a23491aa8a35914b511c1799bfb76dfdb6d911ca56ddf89a2dfb3f4fdb03899",
        "3ad2b5de3ec25d4fffb2fda3d66be1014c8d6f74b81b3f54326016230ab2ae97",
    ),
    ("ticket_received", 1): (
        "408436efc712017b976438dcfbc907b70d764929dd3a6a4f3ae2023d403f0bbf",
        "bed95ae50473a2876868f65642ad73ae2ce9289092a1a57ca6a66be6db0bff14",
    ),
    ("ticket_decided", 1): (
        "486ce4f057f8d979fbfae2eda51afbc3a36ebdb6188e2c3fb01bae451b6b9c9c",
        "eb2f4509e43a4bb9ffefe52c27c0de9008a771ed9c54d4c03a0bcf951ecb01b1",
    ),
}

nasty = st.one_of(
    st.text(st.characters(exclude_categories=()), max_size=60),
    st.lists(
        st.sampled_from(
            [
                "<script>alert(1)</script>",
                "</td></tr></table>",
                '" onmouseover="x',
                "<!--",
                "]]>",
                "&lt;",
                "{reference}",
                "{0}",
                "%s",
                "Ticket: R99999",
                "\r\n",
                "\n",
                "\r\nBcc: eve@example.com\r\n\r\n",
                "\u202e",
                "\u2066",
                "\u2028",
                "\x00",
                "\x1b[31m",
                "\ud800",
                "=?utf-8?q?=0A?=",
                "https://evil.example.com/?a=1&b=2",
                "--=_" + ID,
                "快樂",
                "👨‍👩‍👧",
                ".",
                " ",
            ]
        ),
        max_size=12,
    ).map("".join),
)


def own(text: str) -> Personal:
    """Make what a user typed."""
    return of("user-1", text)


def submitted(ticket_type: ticket.Type = "access_request", **said: Any) -> ticket.Ticket:
    """Make a pending ticket, an access request unless told otherwise."""
    reference = ticket.reference(ticket_type, 1)
    facts: dict[str, Any] = {
        "id": "00000000-0000-4000-8000-000000000001",
        "reference": reference,
        "ticket_type": ticket_type,
        "submitter": "user-1",
        "submitter_email": own(ANN),
        "fingerprint": "f" * 32,
        "assurance": "code",
        "organization_name": own("Little Steps"),
        "at": AT,
    }
    return ticket.Ticket(status="pending", submitted=ticket.Submitted(**(facts | said)))


def suggestion(**said: Any) -> ticket.Ticket:
    """Make a pending suggestion with every field."""
    facts: dict[str, Any] = {
        "message": own("Call first."),
        "description": own("Clay for toddlers."),
        "suggested_district": own("Sha Tin"),
        "suggested_address": own("Shop 1\n1 Example Road"),
        "suggested_lat": own("0.0"),
        "suggested_lng": own("-0.0"),
        "media_urls": own("https://example.com/a.jpg\nhttps://example.com/b.jpg?x=1&y=2"),
    }
    return submitted("organization_suggestion", **(facts | said))


def feedback(**said: Any) -> ticket.Ticket:
    """Make pending feedback with every field."""
    facts: dict[str, Any] = {
        "organization_id": "00000000-0000-4000-8000-000000000002",
        "feedback_stars": 0,
        "feedback_label_ids": ("label-one", "label-two"),
        "feedback_text": own("Too loud."),
    }
    return submitted("organization_feedback", **(facts | said))


def approved(about: ticket.Ticket, note: Personal | None = None) -> ticket.Ticket:
    """Say yes to a ticket."""
    event = ticket.Approved(by=of("boss", "Bo"), reviewer="boss", note=note, at=AT)
    return ticket.evolve(about, event)


def declined(about: ticket.Ticket, note: Personal | None = None) -> ticket.Ticket:
    """Say no to a ticket."""
    event = ticket.Declined(by=of("boss", "Bo"), reviewer="boss", note=note, at=AT)
    return ticket.evolve(about, event)


def code_mail(
    locale: str | None = "en",
    *,
    senders: Senders = SENDERS,
    recipient: str = ANN,
    code: str = "012345",
    lifetime: timedelta = timedelta(minutes=5),
) -> Mail:
    """Write the mail with a code."""
    return mail.sign_in_code(
        senders,
        notification_id=ID,
        recipient=recipient,
        locale=locale,
        code=code,
        lifetime=lifetime,
    )


def received_mail(about: ticket.Ticket, *, senders: Senders = SENDERS) -> Mail:
    """Write the notice about a ticket."""
    return mail.ticket_received(senders, notification_id=ID, ticket=about)


def decided_mail(
    about: ticket.Ticket, locale: str | None = "en", *, senders: Senders = SENDERS
) -> Mail:
    """Write the mail about a decision."""
    return mail.ticket_decided(
        senders, notification_id=ID, recipient=ANN, locale=locale, ticket=about
    )


def every_mail() -> list[Mail]:
    """Write every mail that exists, in each of its forms."""
    return [
        *(code_mail(locale, senders=LINKED) for locale in ("en", "zh-HK", None)),
        *(
            received_mail(about)
            for about in (submitted(message=own("Me.")), suggestion(), feedback())
        ),
        *(
            decided_mail(decide(about, own("Because.")), locale)
            for locale in ("en", "zh-HK", None)
            for decide in (approved, declined)
            for about in (submitted(), suggestion(), feedback())
        ),
    ]


class Page(HTMLParser):
    """What a mail client makes of an HTML part."""

    def __init__(self, source: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = []
        self.open: list[str] = []
        self.others: list[str] = []
        self.shown = ""
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Keep a tag with its attributes."""
        self.tags.append((tag, tuple(attrs)))
        if tag == "br":
            self.shown += "\n"
        elif tag not in {"meta", "hr"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        """Check that the tag was open."""
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        """Keep what is shown."""
        self.shown += data

    def handle_comment(self, data: str) -> None:
        """Keep what should not be there."""
        self.others.append(data)

    unknown_decl = handle_pi = handle_comment


def values_of(page: Page, name: str) -> set[str]:
    """Give every value of an attribute."""
    return {value or "" for _, attributes in page.tags for key, value in attributes if key == name}


# --- to whom, from whom --------------------------------------------------------------------------


def test_pairs() -> None:
    """Codes go from hello@ to users, from no-reply@ notices to support and decisions to users."""
    mails = (code_mail(), received_mail(submitted()), decided_mail(approved(submitted())))

    assert [(m.kind, m.lane, m.sender, m.recipient) for m in mails] == [
        ("sign_in_code", "codes", "hello@lx-software.com", ANN),
        ("ticket_received", "tickets", "no-reply@lx-software.com", "support@lx-software.com"),
        ("ticket_decided", "tickets", "no-reply@lx-software.com", ANN),
    ]


def test_configured_pairs() -> None:
    """The three addresses are configuration."""
    senders = Senders(
        codes_from="codes@example.org", tickets_from="t@example.org", support="team@example.org"
    )

    mails = (
        code_mail(senders=senders),
        received_mail(submitted(), senders=senders),
        decided_mail(declined(submitted()), senders=senders),
    )

    assert [(m.sender, m.recipient) for m in mails] == [
        ("codes@example.org", ANN),
        ("t@example.org", "team@example.org"),
        ("t@example.org", ANN),
    ]


def test_notices_are_internal() -> None:
    """A notice about a new ticket can be sent to no person."""
    with pytest.raises(Invalid, match="recipient: notices about new tickets go to support alone"):
        SENDERS.route("ticket_received", ANN)


@pytest.mark.parametrize("kind", ["sign_in_code", "ticket_decided"])
def test_personal_mails_need_a_person(kind: notification.Kind) -> None:
    """A code or a decision never falls back to the mailbox of the team."""
    with pytest.raises(Invalid, match="recipient"):
        SENDERS.route(kind, None)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "ann",
        "@example.com",
        "ann@",
        "ann@example.com\r\nBcc: eve@example.com",
        "ann@example.com\n",
        "ann@example.com, eve@example.com",
        "Ann <ann@example.com>",
        "安@example.com",
        "ann@例子.com",
        "ann @example.com",
        ".ann@example.com",
        "a..n@example.com",
        "ann@-example.com",
        "ann@example..com",
        "=?utf-8?q?=0ABcc?=@example.com",
        "a" * 65 + "@example.com",
        "ann@" + "a." * 130 + "com",
        "[erased]",
    ],
)
def test_only_addresses(address: str) -> None:
    """What is no 7-bit ASCII address is no recipient, and the error does not repeat it."""
    with pytest.raises(Invalid) as refusal:
        code_mail(recipient=address)

    assert refusal.value.field == "recipient"
    assert not address or address not in str(refusal.value)


@pytest.mark.parametrize(
    "address", ["o'neil+kids@example.com", "a=b?@xn--fsq.com", "x@localhost", "a" * 64 + "@b.hk"]
)
def test_odd_addresses(address: str) -> None:
    """Unusual addresses that are addresses are mailed."""
    assert address == code_mail(recipient=address).recipient


@pytest.mark.parametrize("name", ["codes_from", "tickets_from", "support"])
def test_configured_addresses_are_checked(name: str) -> None:
    """A sender that is no address is refused by the name of the setting."""
    with pytest.raises(Invalid) as refusal:
        Senders(**{name: "nobody"})

    assert name == refusal.value.field


# --- headers -------------------------------------------------------------------------------------


def test_headers() -> None:
    """Every mail says that a machine wrote it, and has an id of its own."""
    for one in every_mail():
        assert dict(one.headers)["Auto-Submitted"] == "auto-generated"
        assert f"<{ID}@lx-software.com>" == dict(one.headers)["Message-ID"]


def test_threads() -> None:
    """The mails of one ticket refer to the same thing, so that a mailbox keeps them together."""
    about = submitted()

    assert {"<R00001@lx-software.com>"} == {
        dict(one.headers)["References"]
        for one in (received_mail(about), decided_mail(approved(about)))
    }
    assert "References" not in dict(code_mail().headers)


def test_subjects() -> None:
    """Subjects of ticket mails begin with product and number; no subject holds a code."""
    assert code_mail().subject == "Your Siu Tin Dei sign-in code"
    assert code_mail("zh-HK").subject == "您的 Siu Tin Dei 登入驗證碼"
    assert code_mail(None).subject == "您的 Siu Tin Dei 登入驗證碼 / Your Siu Tin Dei sign-in code"
    assert received_mail(submitted()).subject == "[Siu Tin Dei] [R00001] New access request"
    assert (
        decided_mail(declined(suggestion())).subject
        == "[Siu Tin Dei] [S00001] Your organization suggestion was declined"
    )
    assert (
        decided_mail(approved(feedback()), None).subject
        == "[Siu Tin Dei] [F00001] 您的機構意見已獲批准 / Your organization feedback was approved"
    )


@given(nasty)
def test_no_header_is_typed_by_a_user(text: str) -> None:
    """Whatever a user types, subject and headers stay the same."""
    plain, typed = submitted(), submitted(organization_name=own(text), message=own(text))

    for one, other in (
        (received_mail(plain), received_mail(typed)),
        (decided_mail(approved(plain), None), decided_mail(approved(typed, own(text)), None)),
    ):
        assert (one.subject, one.headers) == (other.subject, other.headers)


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": "Hello\r\nBcc: eve@example.com"},
        {"subject": "Hello\nthere"},
        {"subject": "Hello \u202eereht"},
        {"subject": "Hello\u2028there"},
        {"subject": ""},
        {"recipient": "ann@example.com\nBcc: eve@example.com"},
        {"sender": "hello"},
        {"notification_id": "../x"},
        {"notification_id": "x" * 41},
        {"headers": (("X-A", "b\r\nBcc: eve@example.com"),)},
        {"headers": (("X-A", "快樂"),)},
        {"headers": (("X A", "b"),)},
        {"headers": (("X-A:\r\nBcc", "b"),)},
    ],
)
def test_no_mail_with_broken_headers(wrong: dict[str, Any]) -> None:
    """A mail whose headers would break, or end early, cannot be made, not even by hand."""
    with pytest.raises(Invalid):
        attrs.evolve(code_mail(), **wrong)


def test_repr() -> None:
    """A mail's repr shows its kind and its notification, and nothing of what it says or to whom."""
    assert f"<Mail sign_in_code {ID}>" == repr(code_mail())


# --- the sign-in code ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("locale", "facts"),
    [
        ("en", ["It works for 5 minutes", "please ignore this mail"]),
        ("zh-HK", ["驗證碼於 5 分鐘內有效", "請不必理會此電郵"]),
    ],
)
def test_code(locale: str, facts: list[str]) -> None:
    """A code mail shows the code, how long it works, and that others may ignore it."""
    one = code_mail(locale)

    assert "012345" in one.text.splitlines()
    for fact in facts:
        assert fact in one.text
        assert fact in Page(one.html).shown


@pytest.mark.parametrize(
    ("seconds", "english", "chinese"),
    [
        (1, "1 second", "1 秒"),
        (90, "90 seconds", "90 秒"),
        (60, "1 minute", "1 分鐘"),
        (300, "5 minutes", "5 分鐘"),
        (3600, "60 minutes", "60 分鐘"),
    ],
)
def test_lifetimes(seconds: int, english: str, chinese: str) -> None:
    """A lifetime is said in minutes, and in seconds when it is not whole minutes."""
    one = code_mail(None, lifetime=timedelta(seconds=seconds))

    assert f"It works for {english}, and only once." in one.text
    assert f"驗證碼於 {chinese}內有效" in one.text


def test_only_the_code_looks_like_one() -> None:
    """The only six digits in a code mail are the code, in every language and in both parts."""
    for locale in ("en", "zh-HK", None):
        one = code_mail(locale, senders=LINKED)
        everything = f"{one.subject} {one.text} {one.html} {one.headers}"

        assert {"012345"} == set(re.findall(r"\b\d{6}\b", everything))


@pytest.mark.parametrize("code", ["", "12345x", "１２３４５６", "<b>1</b>", " 12345"])
def test_codes_are_digits(code: str) -> None:
    """What is not digits is no code, and the error does not repeat it."""
    with pytest.raises(Invalid, match=r"^code: must be digits$"):
        code_mail(code=code)


def test_codes_live() -> None:
    """A code that is over before it is mailed is not mailed."""
    with pytest.raises(Invalid, match="lifetime"):
        code_mail(lifetime=timedelta(0))


def test_no_link() -> None:
    """Without a base URL there is no link but the privacy page's."""
    assert {mail.PRIVACY_PAGE} == values_of(Page(code_mail(None).html), "href")
    assert re.findall(r"https?://\S+", code_mail().text) == [mail.PRIVACY_PAGE]


@pytest.mark.parametrize(
    ("base", "link"),
    [
        ("https://www.example.com", "https://www.example.com?otp=012345"),
        ("https://www.example.com/in", "https://www.example.com/in?otp=012345"),
        ("https://www.example.com/in?a=b%20c", "https://www.example.com/in?a=b%20c&otp=012345"),
        ("https://www.example.com/#/in", "https://www.example.com/?otp=012345#/in"),
        ("http://localhost:3000/in", "http://localhost:3000/in?otp=012345"),
    ],
)
def test_link(base: str, link: str) -> None:
    """The link keeps what the base URL holds and adds the code under a name of its own."""
    one = code_mail(senders=Senders(login_link_base_url=base))

    assert link in one.text.splitlines()
    assert {link, mail.PRIVACY_PAGE} == values_of(Page(one.html), "href")


def test_link_names_nobody() -> None:
    """The link holds the code and no address."""
    link = LINKED.link("012345") or ""

    assert link == "https://www.example.com/sign-in?from=mail&otp=012345#top"


@pytest.mark.parametrize(
    "base",
    [
        "www.example.com",
        "javascript:alert(1)",
        "https://",
        "https://www.example.com/登入",
        " https://www.example.com",
        "https://www.example.com/\nx",
        "https://www.example.com/?code=1",
        "https://www.example.com/?otp=1",
    ],
)
def test_links_are_checked(base: str) -> None:
    """A base URL that is none, or that takes the code's place, is refused by its name."""
    with pytest.raises(Invalid) as refusal:
        Senders(login_link_base_url=base)

    assert refusal.value.field == "login_link_base_url"


# --- the notice about a new ticket ---------------------------------------------------------------


def facts_of(one: Mail) -> tuple[list[str], list[str]]:
    """Give what the text part says between its heading and its footer, and what the HTML shows."""
    said = one.text.partition("for a decision.\n\n")[2].partition("\n\n---")[0]
    return said.splitlines(), Page(one.html).shown.splitlines()


def test_access_request() -> None:
    """A notice about an access request shows all of it."""
    said, _ = facts_of(received_mail(submitted(message=own("I run it.\nReally."))))

    assert said == [
        "Ticket: R00001",
        "Type: access request",
        "Submitted by: ann@example.com",
        "Address vouched for: yes, the submitter answered a code that was mailed to it",
        "Submitted at: 2025-11-25 00:05:09 +08:00 (Hong Kong), 2025-11-24 16:05:09 UTC",
        "Organization: Little Steps",
        "",
        "Message:",
        "> I run it.",
        "> Really.",
    ]


def test_suggestion() -> None:
    """A notice about a suggestion shows all of it, coordinates of 0 too."""
    said, _ = facts_of(received_mail(suggestion(assurance="token")))

    assert said == [
        "Ticket: S00001",
        "Type: organization suggestion",
        "Submitted by: ann@example.com",
        "Address vouched for: yes, by the identity provider's token",
        "Submitted at: 2025-11-25 00:05:09 +08:00 (Hong Kong), 2025-11-24 16:05:09 UTC",
        "Organization: Little Steps",
        "District: Sha Tin",
        "Address:",
        "  Shop 1",
        "  1 Example Road",
        "Latitude: 0.0",
        "Longitude: -0.0",
        "Media:",
        "  https://example.com/a.jpg",
        "  https://example.com/b.jpg?x=1&y=2",
        "",
        "Description:",
        "> Clay for toddlers.",
        "",
        "Additional notes:",
        "> Call first.",
    ]


def test_feedback() -> None:
    """A notice about feedback shows all of it, no stars too."""
    said, _ = facts_of(received_mail(feedback(assurance="none", claimed_reference="F00042")))

    assert said == [
        "Ticket: F00001",
        "Type: organization feedback",
        "Number it came with: F00042",
        "Submitted by: ann@example.com",
        "Address vouched for: no, the ticket was entered by hand",
        "Submitted at: 2025-11-25 00:05:09 +08:00 (Hong Kong), 2025-11-24 16:05:09 UTC",
        "Organization: Little Steps",
        "Organization id: 00000000-0000-4000-8000-000000000002",
        "Stars: 0 of 5",
        "Label ids:",
        "  label-one",
        "  label-two",
        "",
        "Feedback:",
        "> Too loud.",
    ]


def test_both_parts_say_the_same() -> None:
    """Every value in the text part of a notice is in the HTML part."""
    for about in (submitted(message=own("I run it.")), suggestion(), feedback()):
        said, shown = facts_of(received_mail(about))
        page = "\n".join(shown)

        for line in filter(None, said):
            value = line.removeprefix("> ").strip().partition(": ")
            assert value[2] or value[0].removesuffix(":") in page
            assert value[2] in page


def test_nothing_about_the_unsubmitted() -> None:
    """There is no notice about a ticket that was never submitted."""
    with pytest.raises(ValueError, match="submitted"):
        received_mail(ticket.INITIAL)


def test_erased() -> None:
    """What was erased shows as such, in every field."""
    about = suggestion(
        submitter_email=ERASED, organization_name=ERASED, message=ERASED, suggested_lat=ERASED
    )

    said, _ = facts_of(received_mail(about))

    assert {
        "Submitted by: [erased]",
        "Organization: [erased]",
        "Latitude: [erased]",
        "> [erased]",
    } <= set(said)


def test_sealed() -> None:
    """What is still sealed cannot be mailed by mistake."""
    about = submitted(organization_name=Personal(token="k.x", place="p"))

    with pytest.raises(TypeError, match="sealed"):
        received_mail(about)


# --- the mail about a decision -------------------------------------------------------------------


def test_approved() -> None:
    """A decision mail shows number, result, organization, time, and the administrator's note."""
    one = decided_mail(approved(submitted(), own("Welcome!\nBo")))

    assert (
        "Your access request was approved\n\n"
        "An administrator has reviewed what you sent us. The result:\n\n"
        "Ticket: R00001\n"
        "Type: access request\n"
        "Result: approved\n"
        "Organization: Little Steps\n"
        "Reviewed at: 25 November 2025, 00:05 (Hong Kong time, UTC+08:00)\n\n"
        "Message from the administrator:\n"
        "> Welcome!\n"
        "> Bo\n\n"
        "-----"
    ) in one.text


def test_declined_in_chinese() -> None:
    """The same in Chinese; without a note nothing is said about one."""
    one = decided_mail(declined(suggestion()), "zh-HK")

    assert (
        "您的機構建議未獲批准\n\n"
        "管理員已審閱您提交的資料，結果如下：\n\n"
        "個案編號：S00001\n"
        "類別：機構建議\n"
        "結果：未獲批准\n"
        "機構：Little Steps\n"
        "審閱時間：2025年11月25日 00:05（香港時間，UTC+08:00）\n\n"
        "-----"
    ) in one.text
    assert "留言" not in one.text


def test_nobody_is_rejected() -> None:
    """The word for people is declined."""
    for one in every_mail():
        assert "reject" not in f"{one.subject}{one.text}{one.html}".lower()


def test_nothing_about_the_undecided() -> None:
    """There is no decision mail about a ticket that is pending, or was never submitted."""
    for about in (submitted(), ticket.INITIAL):
        with pytest.raises(ValueError, match="decided"):
            decided_mail(about)


def test_times_have_an_offset() -> None:
    """A time without an offset is not guessed at."""
    with pytest.raises(ValueError, match="offset"):
        received_mail(submitted(at=AT.replace(tzinfo=None)))


# --- every mail ----------------------------------------------------------------------------------


def test_languages() -> None:
    """English, Chinese, or both when the reader's language is not known."""
    assert mail.languages("en") == ("en",)
    assert mail.languages("zh-HK") == ("zh-HK",)
    assert {("zh-HK", "en")} == {mail.languages(locale) for locale in (None, "", "fr", "zh")}

    assert not re.search("[\u3400-\u9fff]", code_mail("en").text)
    assert "Your sign-in code" not in code_mail("zh-HK").text
    assert {"Your sign-in code", "您的登入驗證碼"} <= set(code_mail(None).text.splitlines())


def test_language_is_marked() -> None:
    """Pages, their sections and their footers name their language."""
    for locale, said in (("en", ["en"]), ("zh-HK", ["zh-HK"]), (None, ["zh-HK", "en"])):
        tags = Page(code_mail(locale).html).tags
        marked = [(tag, dict(given)["lang"]) for tag, given in tags if "lang" in dict(given)]

        assert ("html", said[0]) == marked[0]
        assert said == [lang for tag, lang in marked if tag == "div"]
        assert set(said) == {lang for tag, lang in marked if tag == "p"}


def test_traditional_chinese() -> None:
    """The Chinese is Traditional: all of it can be written in Big5."""
    for template in mail.TEMPLATES.values():
        for wording in template.wordings.values():
            assert repr(wording).encode("big5")
    assert repr(mail.COMMON).encode("big5")


def test_footer() -> None:
    """Every mail names the company and where it is, why it was sent, and the privacy page."""
    for one in every_mail():
        for part in (one.text, Page(one.html).shown):
            assert "LX Software Limited" in part
            assert "Hong Kong" in part or "香港" in part
            assert "You are getting this mail because" in part or "您收到此電郵，是因為" in part
            assert mail.PRIVACY_PAGE in part


def test_nothing_is_loaded_or_tracked() -> None:
    """No mail has an image, a script, a style sheet, a form, or a link that is not ours."""
    for one in every_mail():
        page = Page(one.html)
        link = LINKED.link("012345")

        assert set() == {tag for tag, _ in page.tags} - {
            *("html", "head", "meta", "title", "body", "table", "tr", "td", "th", "div"),
            *("h1", "p", "br", "hr", "a", "blockquote"),
        }
        assert set() == values_of(page, "src") | values_of(page, "background")
        assert values_of(page, "href") <= {mail.PRIVACY_PAGE, link}
        assert not re.search(r"url\(|@import|expression", one.html)
        assert page.open == []


def test_contrast() -> None:
    """Text has at least the contrast of WCAG 2.2, 1.4.6 (7:1), on every background."""

    def luminance(colour: str) -> float:
        channels = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
        red, green, blue = (
            c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels
        )
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    layout = " ".join(mail.LAYOUT.values())
    inks = re.findall(r"[;\"]color:(#\w+)", layout)
    papers = set(re.findall(r"background-color:(#\w+)", layout))

    assert {"#2e1d12"} == set(inks)
    assert {"#f5c51b", "#fdf6e0", "#ffffff"} == papers
    for paper in papers:
        assert (luminance(paper) + 0.05) / (luminance("#2e1d12") + 0.05) >= 7


@given(nasty, nasty)
def test_what_users_type_is_text(one: str, other: str) -> None:
    """Nothing that a user types becomes a tag, an attribute or a comment; it is shown as text."""
    plain = Page(received_mail(suggestion()).html)
    typed = suggestion(
        organization_name=own(one),
        message=own(other),
        description=own(one),
        suggested_district=own(other),
        suggested_address=own(one),
        suggested_lat=own(other),
        media_urls=own(one),
    )

    made = received_mail(typed)
    page = Page(made.html)

    assert set(plain.tags) >= set(page.tags)
    assert page.others == []
    assert page.open == []
    for part in (made.text, made.html):
        assert not re.search(
            "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]",
            part,
        )


@given(nasty, nasty)
def test_nobody_adds_a_fact(one: str, other: str) -> None:
    """In the text part, lines of users are indented or marked: they cannot add a fact of ours."""

    def ours(about: ticket.Ticket) -> set[str]:
        lines = received_mail(about).text.splitlines()
        return {line.partition(":")[0] for line in lines if not line.startswith((" ", ">"))}

    typed = suggestion(
        organization_name=own(one),
        message=own(other),
        description=own(one),
        suggested_district=own(other),
        suggested_address=own(one),
        media_urls=own(other),
    )

    assert ours(suggestion()) == ours(typed)


# --- templates -----------------------------------------------------------------------------------


def test_three_templates() -> None:
    """There is a template for each kind of mail that exists, and no other."""
    assert list(notification.KINDS) == list(mail.TEMPLATES)
    assert [*notification.KINDS] == [template.name for template in mail.TEMPLATES.values()]


@pytest.mark.parametrize("kind", notification.KINDS)
def test_pinned(kind: notification.Kind) -> None:
    """What a version of a template says and looks like never changes: a change is a new version."""
    look = hashlib.sha256()
    for one in every_mail():
        if one.kind == kind:
            look.update(f"{one.subject}\0{one.text}\0{one.html}\0".encode())
    template = mail.TEMPLATES[kind]

    assert (template.hash, look.hexdigest()) == PINNED[kind, template.version]


def test_hash() -> None:
    """A template's hash follows its wording in every language, and its layout."""
    template = mail.TEMPLATES["sign_in_code"]
    wording = template.wordings["zh-HK"]
    changed = attrs.evolve(
        template,
        wordings={**template.wordings, "zh-HK": attrs.evolve(wording, reason="因為。")},
    )
    other_blocks = attrs.evolve(
        template,
        wordings={**template.wordings, "zh-HK": attrs.evolve(wording, blocks=wording.blocks[1:])},
    )

    assert len(template.hash) == 64
    assert template.hash == attrs.evolve(template, version=2).hash
    assert len({template.hash, changed.hash, other_blocks.hash}) == 3


def test_hash_of_the_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A changed layout changes every hash."""
    monkeypatch.setattr(mail, "LAYOUT", {**mail.LAYOUT, "html.code": "{text}"})

    for template in mail.TEMPLATES.values():
        assert template.hash != attrs.evolve(template).hash


def test_words_fill_every_slot() -> None:
    """Both languages of a template have the same blocks, slots and words."""

    def shape(wording: mail.Wording) -> list[object]:
        shapes: list[object] = [sorted(wording.words)]
        for block in wording.blocks:
            match block:
                case mail.Facts(rows):
                    shapes.append([slot for _, slot in rows])
                case mail.Code(slot) | mail.Link(_, slot) | mail.Quote(_, slot):
                    shapes.append((type(block), slot))
                case mail.Heading(text) | mail.Paragraph(text):
                    shapes.append((type(block), sorted(re.findall(r"{\w+}", text))))
        return shapes

    for kind in ("sign_in_code", "ticket_decided"):
        wordings = mail.TEMPLATES[kind].wordings
        assert shape(wordings["en"]) == shape(wordings["zh-HK"])


def test_each_lane_has_a_configuration_set_of_its_own() -> None:
    """What feedback and delivery limit a mail has at SES is a matter of its lane."""
    assert mail.CONFIGURATION_SETS == {"codes": "siutindei-codes", "tickets": "siutindei-tickets"}
    assert mail.CONFIGURATION_SETS.keys() == set(notification.LANES.values())
