"""What becomes of a request that is well-formed and authenticated, the same for both providers.

The script has the first word, the token's own convention the second; else it is accepted. What is
malformed never comes here: a provider refuses that before it looks at anything else.
"""

from typing import NamedTuple, Protocol

from fanfare.dev.simulator.exchange import Answer, Endpoint, Refusal, Reply
from fanfare.dev.simulator.ledger import Envelope, Ledger
from fanfare.dev.simulator.script import Script, ScriptedAnswer
from fanfare.dev.simulator.tokens import MARKER_LENGTH, MARKERS, TokenConvention


class Message(NamedTuple):
    """A valid message to one device. `message_id` is what the provider will call it, in ASCII."""

    envelope: Envelope
    token: str
    message_id: bytes


class Dialect(Protocol):
    """How a provider words its yes and its no."""

    def accept(self, envelope: Envelope, message_id: bytes, /) -> Answer: ...

    def refuse(self, message_id: bytes, refusal: Refusal, /) -> Answer: ...

    def usual_reason(self, status: int) -> str: ...


class Settlement:
    """Decides, and writes the ledger."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.script = Script()
        self.convention = TokenConvention()

    def settle(self, envelope: Envelope, token: str, message_id: bytes, dialect: Dialect) -> Reply:
        """Decide on a valid message to one device. The id is what the provider calls it."""
        if self.script.rules or token[:MARKER_LENGTH] in MARKERS:
            return self._decide(Message(envelope, token, message_id), dialect)
        self.ledger.accept(envelope, token, message_id)
        return Reply(dialect.accept(envelope, message_id), True)

    def reject(self, endpoint: Endpoint, collapse_id: str, refusal: Refusal) -> None:
        self.ledger.reject(endpoint, collapse_id, refusal.status, refusal.reason)

    def _decide(self, message: Message, dialect: Dialect) -> Reply:
        plan = self.script.decide(message.envelope.provider, message.token)
        if plan is None:
            return Reply(self._by_token(message, dialect), True)
        return self._by_script(message, dialect, plan)

    def _by_token(self, message: Message, dialect: Dialect) -> Answer:
        envelope, token, message_id = message
        refusal = self.convention.refusal(envelope.provider, token, envelope.collapse_id)
        if refusal is not None:
            self.reject(envelope.provider, envelope.collapse_id, refusal)
            return dialect.refuse(message_id, refusal)
        self.ledger.accept(envelope, token, message_id)
        return dialect.accept(envelope, message_id)

    def _by_script(self, message: Message, dialect: Dialect, plan: ScriptedAnswer) -> Reply:
        if plan.keeps_the_normal_answer:
            answer = self._by_token(message, dialect)
        else:
            self._record(message, dialect, plan)
            answer = scripted_answer(message, dialect, plan)
        return Reply(dressed(answer, plan), True, plan)

    def _record(self, message: Message, dialect: Dialect, plan: ScriptedAnswer) -> None:
        endpoint, collapse_id = message.envelope.provider, message.envelope.collapse_id
        if plan.accepts:
            self.ledger.accept(message.envelope, message.token, message.message_id)
        elif plan.answers:
            self.reject(endpoint, collapse_id, scripted_refusal(plan, dialect))
        else:
            self.ledger.leave_unanswered(endpoint, collapse_id, plan.action)


def scripted_refusal(plan: ScriptedAnswer, dialect: Dialect) -> Refusal:
    """The refusal that a script words; what it leaves out is the provider's usual."""
    status = plan.status or 500
    reason = dialect.usual_reason(status) if plan.reason is None else plan.reason
    return Refusal(status, reason, plan.retry_after, plan.timestamp_ms)


def scripted_answer(message: Message, dialect: Dialect, plan: ScriptedAnswer) -> Answer:
    """The answer that a script asks for, before its own body and headers."""
    if plan.status is None or plan.status < 300:
        return dialect.accept(message.envelope, message.message_id)._replace(
            status=plan.status or 200
        )
    return dialect.refuse(message.message_id, scripted_refusal(plan, dialect))


def dressed(answer: Answer, plan: ScriptedAnswer) -> Answer:
    """The answer with the script's own body and headers in place of the provider's."""
    body = answer.body if plan.body is None else plan.body.encode()
    own = {name.encode(): value.encode() for name, value in plan.headers.items()}
    kept = tuple(header for header in answer.headers if header[0] not in own)
    return Answer(answer.status, kept + tuple(own.items()), body)
