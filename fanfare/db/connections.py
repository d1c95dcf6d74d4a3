"""How each connection to PostgreSQL is made, so that none waits for ever on either side.

A server that dies says so. One that is cut off does not, and neither does a pooler that hangs:
what was sent is answered by nothing, and TCP by itself waits for hours.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import TypeVar

import psycopg
from psycopg import errors
from psycopg.abc import PQGen
from psycopg_pool import PoolTimeout

Row_co = TypeVar("Row_co", covariant=True)
Answer = TypeVar("Answer")

CONNECT_SECONDS = 5

# The kernel gives a connection up when what it sent is not acknowledged for so long, or when the
# other side does not answer three probes: 10 s of silence, and 3 s for each.
TCP: Mapping[str, int] = {
    "tcp_user_timeout": 10_000,
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 3,
    "keepalives_count": 3,
}

# What an answer may take on its way, beyond what the server may take for it.
ON_ITS_WAY = timedelta(seconds=1)

# The classes 08, 53, 55, 57 and 58 of the server's errors (connection, resources, state, operator,
# system) are OperationalErrors; these belong to them, but are of other classes by their numbers.
OUTAGES: tuple[type[Exception], ...] = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    # A primary that became a standby, and a managed one whose disk is full.
    errors.ReadOnlySqlTransaction,
    errors.IdleInTransactionSessionTimeout,
    errors.TransactionTimeout,
    PoolTimeout,
)


class BoundedConnection(psycopg.AsyncConnection[Row_co]):
    """One that is given up when the server owes it an answer for `answer_within` seconds.

    Whether what was asked then happened is not known; what the server still finishes, it does.
    What its errors say names no value of a row: they may stand in a log, or in Temporal's history.
    """

    answer_within: float = timedelta(minutes=1).total_seconds()

    async def wait(
        self,
        gen: PQGen[Answer],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's
    ) -> Answer:
        """As psycopg's. Raises OperationalError and closes the connection where it is given up."""
        try:
            return await super().wait(gen, interval, timeout or self.answer_within)
        except errors._WaitTimeout as error:  # noqa: SLF001 - it has no public name
            self.pgconn.finish()
            raise psycopg.OperationalError("the server did not answer in time") from error
        except psycopg.Error as error:
            _leave_out_values(error)
            raise


def _leave_out_values(error: psycopg.Error) -> None:
    """Cut what the server's error says to the sentence that it begins with.

    Details and context quote rows, and so device tokens. In the class 22 (data exceptions) the
    sentence itself does: there its name must do.
    """
    if error.sqlstate is None:
        return
    is_quoting = error.sqlstate.startswith("22")
    said = type(error).__name__ if is_quoting else error.diag.message_primary
    error.args = (f"{said} ({error.sqlstate})",)


def parameters(
    *, statement_timeout: timedelta, idle_timeout: timedelta, role: str | None = None
) -> dict[str, object]:
    """What a connection is made with. The server ends what takes longer, and who goes silent
    within a transaction: it would hold its locks until the server notices that nobody is there.
    """
    settings = {
        "statement_timeout": _milliseconds(statement_timeout),
        "idle_in_transaction_session_timeout": _milliseconds(idle_timeout),
        "timezone": "UTC",
        **({} if role is None else {"role": role}),
    }
    options = " ".join(f"-c {name}={value}" for name, value in settings.items())
    return {"connect_timeout": CONNECT_SECONDS, "options": options, **TCP}


def answer_within(statement_timeout: timedelta) -> float:
    """How long to wait for an answer from a server that may take so long, in seconds."""
    return (statement_timeout + ON_ITS_WAY).total_seconds()


def _milliseconds(time: timedelta) -> int:
    return int(time.total_seconds() * 1000)
