"""A client that lives through deaths of the API: it asks again, and asks for one thing once."""

import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from fanfare.dev.api_client import ApiClient, ApiRefused, ApiUnavailable

# A key whose first request died is free again after a minute.
PATIENCE_SECONDS = 120.0
SECONDS_BETWEEN_TRIES = 0.2


class PatientClient(ApiClient):
    """One key's view of an API that comes and goes. `longest` is its slowest single request, in
    seconds, whether answered or not; `tries` is how many there were.

    A method raises ApiRefused where the API says no, ApiUnavailable where it is away for long.
    """

    def __init__(self, url: str, key: str) -> None:
        super().__init__(url, key)
        self.longest = 0.0
        self.tries = 0

    def _ask(self, method: str, path: str, **request: Any) -> Any:  # Any: as the base has it
        keyed = {**request, "headers": _key(method)}
        limit = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                return self._try(method, path, keyed)
            except ApiRefused as refused:
                if not _is_passing(refused) or time.monotonic() > limit:
                    raise
            time.sleep(SECONDS_BETWEEN_TRIES)

    def _try(self, method: str, path: str, request: Mapping[str, Any]) -> Any:  # Any: JSON
        began = time.monotonic()
        self.tries += 1
        try:
            return super()._ask(method, path, **request)
        finally:
            self.longest = max(self.longest, time.monotonic() - began)


def _is_passing(refused: ApiRefused) -> bool:
    # The key of a request that died with the API is in use until its minute is over.
    return isinstance(refused, ApiUnavailable) or "IDEMPOTENCY_KEY_IN_USE" in str(refused)


def _key(method: str) -> Mapping[str, str]:
    """The same for every try, so that what was done and not answered is not done again."""
    return {"Idempotency-Key": str(uuid4())} if method == "POST" else {}
