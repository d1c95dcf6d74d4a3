"""What can be wrong with a segment's rules. Errors point at the fault by JSON pointer (RFC 6901).

Neither knows HTTP; the API maps them to INVALID_SEGMENT_RULES and SEGMENT_RULES_TOO_DEEP.
"""


class InvalidRules(Exception):
    """The rules break the grammar. `message` is one sentence that never echoes a whole value.

    `path` is a JSON pointer into the rules ("" is the whole); `suggestion` is the word that was
    probably meant, where one is near.
    """

    def __init__(self, path: str, message: str, suggestion: str | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.message = message
        self.suggestion = suggestion


class RulesTooDeep(Exception):
    """Groups are nested deeper than allowed. `path` points at the first group too deep."""

    def __init__(self, path: str) -> None:
        super().__init__("Groups are nested too deep.")
        self.path = path
