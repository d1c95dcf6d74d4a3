"""The table `installation`: one row that says which database this is, and how far it had come."""

import sqlalchemy as sa

from fanfare.db.columns import flag, metadata, moment

installation = sa.Table(
    "installation",
    metadata,
    flag("is_the_only", default="true"),
    # Which cluster, and which of its histories: PostgreSQL counts a timeline on whenever it is
    # promoted or recovered to a moment.
    sa.Column("system_identifier", sa.BigInteger, nullable=False),
    sa.Column("timeline", sa.BigInteger, nullable=False),
    # Which database of the cluster: a copy by CREATE DATABASE ... TEMPLATE is another.
    sa.Column("database_oid", sa.BigInteger, nullable=False),
    # The transaction that wrote this row. In a dump that was restored it was another one.
    sa.Column("written_by", sa.BigInteger, nullable=False),
    # What is added to the position in the WAL, so that a position never comes twice.
    sa.Column("position_base", sa.BigInteger, nullable=False, server_default="0"),
    # When it was last found to be restored, and when every campaign's workflow was told of it.
    moment("restored_at", nullable=True),
    moment("told_at", nullable=True),
    sa.PrimaryKeyConstraint("is_the_only"),
    sa.CheckConstraint("is_the_only", name="one_row"),
)
