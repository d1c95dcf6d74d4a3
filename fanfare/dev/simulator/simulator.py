"""The simulator as one object: for tests in the same loop, and for the command line."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from fanfare.dev.simulator import account as accounts
from fanfare.dev.simulator import listener
from fanfare.dev.simulator.access_tokens import AccessTokens
from fanfare.dev.simulator.account import Account
from fanfare.dev.simulator.apns import Apns
from fanfare.dev.simulator.connections import Connections
from fanfare.dev.simulator.control import control_app, serve
from fanfare.dev.simulator.fcm import Fcm
from fanfare.dev.simulator.front import Front
from fanfare.dev.simulator.http2 import Surroundings
from fanfare.dev.simulator.ledger import Ledger
from fanfare.dev.simulator.oauth import OAuth
from fanfare.dev.simulator.script import RuleReport, Script
from fanfare.dev.simulator.settlement import Settlement
from fanfare.models import Environment


class Simulator:
    """APNs, FCM and Google's token endpoint on one address.

    `url` is the provider port, `sandbox_url` APNs' sandbox, `control_url` the page and the control
    API; the last two are None where they were not asked for. `ca_file` is what a client trusts.
    """

    def __init__(self, account: Account, clock: Callable[[], float]) -> None:
        self.account = account
        self.ledger = Ledger(clock)
        self.connections = Connections()
        self.url = ""
        self.sandbox_url: str | None = None
        self.control_url: str | None = None
        self._settlement = Settlement(self.ledger)
        self._front = self._open_front(clock)

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        *,
        directory: Path | str,
        control: bool = False,
        host: str = "127.0.0.1",
        port: int = 0,
        sandbox_port: int | None = 0,
        control_port: int = 0,
        one_stream_until_authenticated: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> AsyncIterator[Self]:
        """Serve until the block is left. Port 0 is any free port, sandbox_port None is no sandbox.

        `directory` holds the account, made at the first start and kept. Leaving aborts every
        connection at once.
        """
        simulator = cls(accounts.prepare(Path(directory)), clock)
        surroundings = Surroundings(
            simulator._front,
            Environment.PRODUCTION,
            simulator.connections,
            one_stream_until_authenticated,
        )
        async with AsyncExitStack() as stack:
            simulator.url = await simulator._listen(stack, surroundings, host, port)
            if sandbox_port is not None:
                sandbox = replace(surroundings, environment=Environment.SANDBOX)
                simulator.sandbox_url = await simulator._listen(stack, sandbox, host, sandbox_port)
            if control:
                app = control_app(simulator)
                simulator.control_url = await stack.enter_async_context(
                    serve(app, host=host, port=control_port)
                )
            yield simulator

    @property
    def ca_file(self) -> Path:
        return self.account.ca_file

    def script(self, rules: Any) -> None:  # Any: JSON or Rule objects, validated by Script
        """Put these rules in force, in place of any others. Raises pydantic's ValidationError."""
        self._settlement.script = Script.parse(rules)

    def script_report(self) -> list[RuleReport]:
        """The rules in force with their hits."""
        return self._settlement.script.report()

    def forget(self) -> None:
        """Empty the ledger, and show each token's passing troubles anew."""
        self.ledger.clear()
        self._settlement.convention.forget()
        self.connections.peak_streams = 0

    def _open_front(self, clock: Callable[[], float]) -> Front:
        access_tokens = AccessTokens(self.account.token_secret, clock)
        return Front(
            apns=Apns(self.account, self._settlement, clock),
            fcm=Fcm(self.account, self._settlement, access_tokens, clock),
            oauth=OAuth(self.account, self._settlement, access_tokens, clock),
        )

    async def _listen(
        self, stack: AsyncExitStack, surroundings: Surroundings, host: str, port: int
    ) -> str:
        context = listener.tls(self.account)
        server = await listener.listen(surroundings, context, host=host, port=port)
        stack.callback(self.connections.abort)
        stack.callback(server.close)
        return f"https://{host}:{server.sockets[0].getsockname()[1]}"
