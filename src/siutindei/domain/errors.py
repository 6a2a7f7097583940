"""The four ways in which the domain says no; each aggregate names its own cases."""


class DomainError(Exception):
    """Something the caller asked for was not done; the text says what was wrong and what to do.

    DomainError
    ├── Refused     a rule forbids it now (already decided, a second pending ticket, a limit)
    ├── Invalid     the input itself is wrong; names the field
    └── NotFound    what the caller named does not exist
    """


class Refused(DomainError):
    """A rule forbids it now."""


class Invalid(DomainError):
    """The input is wrong, whatever the state.

    Attributes:
        field: the name of the field, as the caller knows it.
        why: what is wrong with it.
    """

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field}: {why}")
        self.field = field
        self.why = why


class NotFound(DomainError):
    """Nothing has that name.

    Attributes:
        what: the kind of thing.
        name: the name that was looked for.
    """

    def __init__(self, what: str, name: str) -> None:
        super().__init__(f"there is no {what} {name!r}")
        self.what = what
        self.name = name
