"""What the tables are made of: the metadata they belong to, and the kinds of column they share."""

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import UUID

metadata = sa.MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def identifier(name: str, *, nullable: bool = False) -> "sa.Column[object]":
    return sa.Column(name, UUID(as_uuid=True), nullable=nullable)


def text(name: str, *, nullable: bool = False, default: str | None = None) -> "sa.Column[object]":
    return sa.Column(name, sa.Text, nullable=nullable, server_default=default)


def moment(name: str, *, nullable: bool = False, now: bool = False) -> "sa.Column[object]":
    default = sa.func.now() if now else None
    return sa.Column(name, sa.TIMESTAMP(timezone=True), nullable=nullable, server_default=default)


def count(name: str) -> "sa.Column[object]":
    return sa.Column(name, sa.Integer, nullable=False, server_default="0")


def flag(name: str, *, default: str) -> "sa.Column[object]":
    return sa.Column(name, sa.Boolean, nullable=False, server_default=default)
