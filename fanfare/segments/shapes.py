"""Objects with a closed set of keys, and the JSON pointers of what is wrong with them."""

from typing import TypeAlias

from fanfare.segments.errors import InvalidRules
from fanfare.segments.suggestions import suggest_key

Json: TypeAlias = dict[str, object]

# A longer key would make the pointer as large as the fault; the object that holds it is named then.
_MAX_KEY_LENGTH = 100


def child(path: str, key: str) -> str:
    """The pointer of `key` in the object at `path` (RFC 6901: ~ is ~0 and / is ~1)."""
    return f"{path}/{key.replace('~', '~0').replace('/', '~1')}"


def expect_object(raw: object, path: str) -> Json:
    """`raw` if it is a JSON object. Raises InvalidRules."""
    if not isinstance(raw, dict):
        raise InvalidRules(path, "A condition is an object: a group or a leaf.")
    for key in raw:
        if not isinstance(key, str):
            raise InvalidRules(path, "The keys of a condition are strings.")
    return raw


def expect_keys(
    raw: Json, path: str, *, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> None:
    """Hold the object to its keys, none unknown and none missing. Raises InvalidRules."""
    known = required + optional
    for key in raw:
        if key not in known:
            raise InvalidRules(
                _pointer_of_key(path, key),
                f"Unknown key; this condition takes {_listed(known)}.",
                suggest_key(key, known),
            )
    for key in required:
        if key not in raw:
            raise InvalidRules(path, f'"{key}" is missing.')


def _pointer_of_key(path: str, key: str) -> str:
    if len(key) > _MAX_KEY_LENGTH or not key.isprintable():
        return path
    return child(path, key)


def _listed(keys: tuple[str, ...]) -> str:
    return ", ".join(f'"{key}"' for key in keys)
