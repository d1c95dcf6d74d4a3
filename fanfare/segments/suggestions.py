"""What was probably meant, for a word that is nearly right. Each answer is a word that is valid."""

from collections.abc import Iterable, Mapping
from difflib import get_close_matches

from fanfare.segments.fields import COLUMN_FIELDS, find_field
from fanfare.segments.operators import Operator

# difflib is quadratic; nobody mistypes a word this long.
_MAX_LENGTH = 64

_OTHER_WORDS: Mapping[str, Operator] = {
    "=": Operator.EQ,
    "==": Operator.EQ,
    "equals": Operator.EQ,
    "is": Operator.EQ,
    "!=": Operator.NEQ,
    "<>": Operator.NEQ,
    "ne": Operator.NEQ,
    "is_not": Operator.NEQ,
    "not_equals": Operator.NEQ,
    ">": Operator.GT,
    ">=": Operator.GTE,
    "ge": Operator.GTE,
    "<": Operator.LT,
    "<=": Operator.LTE,
    "le": Operator.LTE,
    "like": Operator.CONTAINS,
    "not_like": Operator.NOT_CONTAINS,
    "nin": Operator.NOT_IN,
}
_OTHER_KEYS: Mapping[str, str] = {"operator": "op", "op": "operator", "rules": "conditions"}
_ROOTS = frozenset({"properties", "entitlements", "device"})


def suggest_operator(word: str) -> str | None:
    """The leaf operator that `word` was probably meant to be."""
    plain = "_".join(word[:_MAX_LENGTH].lower().split())
    return _OTHER_WORDS.get(plain) or _nearest(plain, Operator)


def suggest_group_operator(word: object) -> str | None:
    """The group operator that `word` is, but for its case."""
    if not isinstance(word, str):
        return None
    upper = word[:_MAX_LENGTH].upper()
    return upper if upper in {"AND", "OR", "NOT"} else None


def suggest_key(word: str, known: tuple[str, ...]) -> str | None:
    """The key among `known` that `word` was probably meant to be."""
    other = _OTHER_KEYS.get(word)
    return other if other in known else _nearest(word.lower(), known)


def suggest_field(word: str) -> str | None:
    """The column that `word` is near to, else the property that it would name."""
    root = word[:_MAX_LENGTH].partition(".")[0]
    if word == root and word in _ROOTS:
        return None
    nearest = _nearest(word.lower(), COLUMN_FIELDS)
    return nearest if nearest or root in _ROOTS else _as_property(word)


def _as_property(word: str) -> str | None:
    name = f"properties.{word}"
    return name if len(word) <= _MAX_LENGTH and find_field(name) else None


def _nearest(word: str, known: Iterable[str]) -> str | None:
    if len(word) > _MAX_LENGTH:
        return None
    found = get_close_matches(word, [str(each) for each in known], n=1, cutoff=0.75)
    return found[0] if found else None
