"""Asks the database which users a rule matches."""

import json
from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    TEXT,
    Connection,
    Executable,
    Select,
    cast,
    column,
    func,
    literal,
    literal_column,
    select,
    table,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.elements import ClauseElement
from sqlalchemy.types import UUID as UUID_TYPE

from fanfare.segments.compiler import compile_rule
from fanfare.segments.grammar import Rule
from tests.segments.population import PROJECT, User

# Stands for properties, which are JSON text already and may hold what Python would not write.
_MARK = "<properties of {}>"
_RECORD = """
    id uuid, project_id uuid, external_id text, email text, phone text, display_name text,
    timezone text, locale text, first_seen_at timestamptz, last_seen_at timestamptz,
    created_at timestamptz, updated_at timestamptz, properties jsonb
"""

APP_USERS = table("app_users", column("id", UUID_TYPE()), column("project_id", UUID_TYPE()))


def matching(conn: Connection, rule: Rule) -> tuple[datetime, AbstractSet[UUID]]:
    """The instant of the asking, and the ids of the users that match."""
    ids = func.array_agg(APP_USERS.c.id).filter(compile_rule(rule))
    now, found = conn.execute(select(func.statement_timestamp(), ids).select_from(APP_USERS)).one()
    return now, frozenset(found or ())


def matching_documents(conn: Connection, rule: Rule, values: list[str]) -> list[str]:
    """The properties, among {"a": {"b": value}} for each value, that match; in that order."""
    documents = [f'{{"a": {{"b": {value}}}}}' for value in values]
    unnested = (
        func.unnest(literal(documents, ARRAY(TEXT())))
        .table_valued("document", with_ordinality="n")
        .render_derived()
    )
    app_users = select(
        unnested.c.document, unnested.c.n, cast(unnested.c.document, JSONB()).label("properties")
    ).subquery("app_users")
    found = conn.execute(
        select(app_users.c.document).where(compile_rule(rule)).order_by(app_users.c.n)
    )
    return list(found.scalars())


def matching_people(
    conn: Connection, rule: Rule, people: Sequence[User]
) -> tuple[datetime, AbstractSet[UUID]]:
    """As `matching`, among users that are not stored."""
    rows = [
        {"id": user.id, "project_id": PROJECT, **user.columns, "properties": _MARK.format(number)}
        for number, user in enumerate(people)
    ]
    document = json.dumps(rows, default=str)
    for number, user in enumerate(people):
        document = document.replace(f'"{_MARK.format(number)}"', user.properties)
    app_users = text(
        f"json_to_recordset(CAST(:people AS json)) AS app_users({_RECORD})"
    ).bindparams(people=document)
    ids = func.array_agg(literal_column("app_users.id", UUID_TYPE())).filter(compile_rule(rule))
    now, found = conn.execute(select(func.statement_timestamp(), ids).select_from(app_users)).one()
    return now, frozenset(found or ())


class Explain(Executable, ClauseElement):
    """The plan of a query instead of its answer."""

    inherit_cache = False

    def __init__(self, query: Select[Any]) -> None:
        self.query = query


@compiles(Explain)
def _explain(element: Explain, compiler: SQLCompiler, **options: Any) -> str:
    return f"EXPLAIN {compiler.process(element.query, **options)}"


def plan_without_scan(conn: Connection, rule: Rule) -> str:
    """How the query for a rule's users runs where a sequential scan is the last resort."""
    query = select(APP_USERS.c.id).where(compile_rule(rule))
    conn.execute(text("SET enable_seqscan = off"))
    try:
        return "\n".join(conn.execute(Explain(query)).scalars())
    finally:
        conn.execute(text("RESET enable_seqscan"))
