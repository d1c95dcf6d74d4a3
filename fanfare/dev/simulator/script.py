"""The script: rules that make the providers misbehave, and how a request finds its rule."""

import re
from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    PositiveInt,
    TypeAdapter,
    model_validator,
)

from fanfare.dev.simulator.exchange import Endpoint


class Action(StrEnum):
    """What happens to the stream or the connection of a request that a rule matched."""

    ANSWER = "answer"
    SILENCE = "silence"
    ACCEPT_THEN_SILENCE = "accept_then_silence"
    RESET = "reset"
    REFUSE = "refuse"
    GOAWAY = "goaway"
    CLOSE = "close"


LETS_THE_ANSWER_STAND = frozenset({Action.ANSWER, Action.GOAWAY})


def _compilable(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return pattern


class Match(BaseModel):
    """Which requests a rule is for: every field that is set must hold.

    `token` is a regular expression that is searched in the token (anchor it with ^ and $). Of the
    requests that it and `provider` let through, `after` skips the first n, `first` takes only the
    n that follow, `every` each n-th of those, and `first_per_token` at most n of each token.
    Without `provider` a rule is for both push services; the token endpoint has to be named.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: Endpoint | None = None
    token: Annotated[str, AfterValidator(_compilable)] | None = None
    every: PositiveInt | None = None
    after: Annotated[int, Field(ge=0)] = 0
    first: PositiveInt | None = None
    first_per_token: PositiveInt | None = None


class ScriptedAnswer(BaseModel):
    """What a matched request gets.

    Without `status` the answer is what it would have been, after `latency_ms`, with the `body` and
    the `headers` of the rule where it has any. `reason` is the provider's word (a GOAWAY carries it
    as debug data), `code` the HTTP/2 error code of `reset`. `accepted` says whether the ledger
    records an acceptance: by default where the status is below 300, and for `accept_then_silence`.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    action: Action = Action.ANSWER
    status: Annotated[int, Field(ge=200, le=599)] | None = None
    reason: Annotated[str, Field(max_length=200)] | None = None
    retry_after: Annotated[int, Field(ge=0)] | None = None
    latency_ms: Annotated[float, Field(ge=0, le=3_600_000)] = 0
    timestamp_ms: Annotated[int, Field(ge=0)] | None = None
    body: str | None = None
    headers: dict[Annotated[str, Field(pattern=r"^[a-z0-9-]+$")], str] = Field(default_factory=dict)
    code: Annotated[int, Field(ge=0, le=0xFFFFFFFF)] = 2
    accepted: bool | None = None
    max_concurrent_streams: Annotated[int, Field(ge=0, le=0x7FFFFFFF)] | None = None

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.action is Action.ANSWER and self.status is None and self.reason is not None:
            raise ValueError("a reason needs a status")
        if self.action is Action.ACCEPT_THEN_SILENCE and self.accepted is False:
            raise ValueError("accept_then_silence accepts")
        return self

    @property
    def answers(self) -> bool:
        """Whether an answer goes out at all."""
        return self.action in LETS_THE_ANSWER_STAND

    @property
    def keeps_the_normal_answer(self) -> bool:
        """Whether the request is decided as if there were no rule."""
        return self.answers and self.status is None and self.accepted is None

    @property
    def accepts(self) -> bool:
        """Whether the ledger records an acceptance."""
        if self.accepted is not None:
            return self.accepted
        if self.answers:
            return self.status is None or self.status < 300
        return self.action is Action.ACCEPT_THEN_SILENCE


class Rule(BaseModel):
    """One line of a script."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    match: Match = Match()
    answer: ScriptedAnswer


class RuleReport(BaseModel):
    """A rule with the number of requests that it decided."""

    rule: Rule
    hits: int


RULES: TypeAdapter[list[Rule]] = TypeAdapter(list[Rule])


class Script:
    """The rules in force. The first that matches decides; the counts of the rest do not move."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.rules = [_ArmedRule(rule) for rule in rules]

    @classmethod
    def parse(cls, rules: Any) -> Self:  # Any: whatever JSON held; validated here
        """Return the script for a list of rules. Raises pydantic's ValidationError."""
        return cls(RULES.validate_python(rules))

    def decide(self, endpoint: Endpoint, token: str) -> ScriptedAnswer | None:
        """The answer of the first rule that matches this request, and count it."""
        for rule in self.rules:
            if rule.takes(endpoint, token):
                rule.hits += 1
                return rule.answer
        return None

    def report(self) -> list[RuleReport]:
        return [RuleReport(rule=armed.rule, hits=armed.hits) for armed in self.rules]


class _ArmedRule:
    """A rule with its compiled expression and its counts."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.answer = rule.answer
        self.hits = 0
        self._seen = 0
        self._by_token: Counter[str] = Counter()
        self._token = re.compile(rule.match.token) if rule.match.token is not None else None

    def takes(self, endpoint: Endpoint, token: str) -> bool:
        if not self._concerns(endpoint, token):
            return False
        self._seen += 1
        return self._is_due(self._seen - self.rule.match.after) and self._is_within_share(token)

    def _concerns(self, endpoint: Endpoint, token: str) -> bool:
        match = self.rule.match
        is_concerned = (
            endpoint is not Endpoint.OAUTH if match.provider is None else match.provider is endpoint
        )
        if not is_concerned:
            return False
        return self._token is None or self._token.search(token) is not None

    def _is_due(self, number: int) -> bool:
        match = self.rule.match
        if number < 1 or (match.first is not None and number > match.first):
            return False
        return match.every is None or number % match.every == 0

    def _is_within_share(self, token: str) -> bool:
        share = self.rule.match.first_per_token
        if share is None:
            return True
        self._by_token[token] += 1
        return self._by_token[token] <= share
