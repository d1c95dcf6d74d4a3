"""Google's token endpoint: POST /token with a service account's signed assertion (RFC 7523)."""

import time
from collections.abc import Callable
from urllib.parse import parse_qs

import jwt
import orjson
from jwt.types import Options

from fanfare.dev.simulator.access_tokens import LIFETIME_S, AccessTokens
from fanfare.dev.simulator.account import Account
from fanfare.dev.simulator.exchange import Answer, Endpoint, Refusal, Reply, Request
from fanfare.dev.simulator.keys import public_key_of
from fanfare.dev.simulator.script import ScriptedAnswer
from fanfare.dev.simulator.settlement import Settlement, dressed

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
SCOPES = frozenset(
    {
        "https://www.googleapis.com/auth/firebase.messaging",
        "https://www.googleapis.com/auth/cloud-platform",
    }
)
JSON = (b"content-type", b"application/json; charset=utf-8")
# Google: an assertion lives an hour at most, clocks may differ by a few minutes.
LONGEST_ASSERTION_S = 3600
LEEWAY_S = 300
UNCHECKED_CLAIMS: Options = {"verify_exp": False, "verify_iat": False, "verify_aud": False}


class _Refused(Exception):
    """An assertion that Google would refuse: the OAuth error code and its description."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description


class OAuth:
    """Answers the token endpoint. Implements `Replies`."""

    def __init__(
        self,
        account: Account,
        settlement: Settlement,
        access_tokens: AccessTokens,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._issuer = account.service_account["client_email"]
        self._audience = account.service_account["token_uri"]
        self._public_key = public_key_of(account.service_account["private_key"].encode())
        self._settlement = settlement
        self._access_tokens = access_tokens
        self._clock = clock

    def reply(self, request: Request) -> Reply:
        try:
            self._check_assertion(_assertion(request))
        except _Refused as refused:
            self._settlement.reject(Endpoint.OAUTH, "", Refusal(400, refused.code))
            return Reply(_error(400, refused.code, refused.description))
        plan = self._settlement.script.decide(Endpoint.OAUTH, "")
        if plan is None or plan.keeps_the_normal_answer:
            self._settlement.ledger.count(Endpoint.OAUTH)
            return Reply(self._grant(), plan=plan)
        return Reply(dressed(self._scripted(plan), plan), plan=plan)

    def _grant(self) -> Answer:
        grant = {
            "access_token": self._access_tokens.issue(),
            "expires_in": LIFETIME_S,
            "token_type": "Bearer",
        }
        return Answer(200, (JSON,), orjson.dumps(grant))

    def _scripted(self, plan: ScriptedAnswer) -> Answer:
        if not plan.answers:
            self._settlement.ledger.leave_unanswered(Endpoint.OAUTH, "", plan.action)
            return self._grant()
        if plan.accepts:
            self._settlement.ledger.count(Endpoint.OAUTH)
            return self._grant()._replace(status=plan.status or 200)
        status = plan.status or 500
        code = plan.reason or ("invalid_grant" if status == 400 else "internal_failure")
        self._settlement.reject(Endpoint.OAUTH, "", Refusal(status, code))
        return _error(status, code, "As the script says")

    def _check_assertion(self, assertion: str) -> None:
        try:
            claims = jwt.decode(
                assertion, self._public_key, algorithms=["RS256"], options=UNCHECKED_CLAIMS
            )
        except jwt.InvalidTokenError:
            raise _Refused("invalid_grant", "Invalid JWT Signature.") from None
        if claims.get("iss") != self._issuer:
            raise _Refused("invalid_grant", "Invalid grant: account not found")
        if claims.get("aud") != self._audience:
            raise _Refused("invalid_grant", "Invalid JWT: Failed audience check.")
        self._check_times(claims.get("iat"), claims.get("exp"))
        if SCOPES.isdisjoint(str(claims.get("scope", "")).split()):
            raise _Refused("invalid_scope", "The scope does not allow sending messages.")

    def _check_times(self, issued_at: object, expires_at: object) -> None:
        now = self._clock()
        is_timely = (
            isinstance(issued_at, int)
            and isinstance(expires_at, int)
            and issued_at <= now + LEEWAY_S
            and now - LEEWAY_S <= expires_at <= issued_at + LONGEST_ASSERTION_S
        )
        if not is_timely:
            description = "Invalid JWT: Token must be short-lived and in a reasonable timeframe."
            raise _Refused("invalid_grant", description)


def _assertion(request: Request) -> str:
    if request.method != b"POST":
        raise _Refused("invalid_request", "The token endpoint takes POST.")
    form = parse_qs(request.body.decode("ascii", "replace"))
    if form.get("grant_type") != [JWT_BEARER]:
        raise _Refused("unsupported_grant_type", "Invalid grant_type.")
    return form.get("assertion", [""])[0]


def _error(status: int, code: str, description: str) -> Answer:
    body = orjson.dumps({"error": code, "error_description": description})
    return Answer(status, (JSON,), body)
