"""apns-id: a UUID that the sender gives a message, or else APNs does."""

import uuid

LENGTH = 36
HEX_DIGITS = b"0123456789abcdefABCDEF"


def is_valid(text: bytes) -> bool:
    """Whether it is a UUID with dashes: four in their places, and else hex digits."""
    return (
        len(text) == LENGTH
        and text[8:24:5] == b"----"
        and text.translate(None, HEX_DIGITS) == b"----"
    )


def make() -> bytes:
    """A new one."""
    return str(uuid.uuid4()).encode()
