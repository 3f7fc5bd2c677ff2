"""What is wrong with content that somebody sent."""


class ContentError(ValueError):
    """Content could not be read: `field` names it, `expected` and `found` say why."""

    def __init__(self, field: str, *, expected: str, found: str) -> None:
        super().__init__(f"{field}: expected {expected}, found {found}")
        self.field = field
        self.expected = expected
        self.found = found
