"""How PostgreSQL runs a query, instead of its answer."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Executable, Select
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement


class Explain(Executable, ClauseElement):
    """The plan of a query as rows of text."""

    inherit_cache = False

    def __init__(self, query: Select[Any]) -> None:  # Any: whatever it selects
        self.query = query


@compiles(Explain)
def _explain(element: Explain, compiler: SQLCompiler, **options: Any) -> str:  # Any: SQLAlchemy's
    return f"EXPLAIN (COSTS OFF) {compiler.process(element.query, **options)}"


async def plan_of(conn: AsyncConnection, query: Select[Any]) -> Sequence[str]:  # Any: as above
    """The lines of the plan."""
    return [str(line)[:160] for line in (await conn.execute(Explain(query))).scalars()]
