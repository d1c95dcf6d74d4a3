"""Know a restored database: what it is, where it stood, and which campaigns are in doubt since."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

# As this database is now: whoever copies the row later writes it by another transaction. Positions
# begin the lower the later it is, by 2 GiB for every second: a backup of before this migration that
# is restored, and then migrated, is behind what was seen of the original.
FIRST = """
    INSERT INTO installation
        (system_identifier, timeline, database_oid, written_by, position_base)
    SELECT s.system_identifier, greatest(c.timeline_id, r.min_recovery_end_timeline), d.oid,
           pg_current_xact_id()::xid::text::bigint,
           (1::bigint << 62) - (extract(epoch FROM clock_timestamp()) * 2147483648)::bigint
    FROM pg_control_system() s, pg_control_checkpoint() c, pg_control_recovery() r, pg_database d
    WHERE d.datname = current_database()
"""


def upgrade() -> None:
    op.add_column(
        "push_campaigns", sa.Column("in_doubt_since", sa.TIMESTAMP(timezone=True), nullable=True)
    )
    op.create_table(
        "installation",
        sa.Column("is_the_only", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("system_identifier", sa.BigInteger(), nullable=False),
        sa.Column("timeline", sa.BigInteger(), nullable=False),
        sa.Column("database_oid", sa.BigInteger(), nullable=False),
        sa.Column("written_by", sa.BigInteger(), nullable=False),
        sa.Column("position_base", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("restored_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("told_at", sa.TIMESTAMP(timezone=True), nullable=True),
        sa.CheckConstraint("is_the_only", name=op.f("ck_installation_one_row")),
        sa.PrimaryKeyConstraint("is_the_only", name=op.f("pk_installation")),
    )
    op.execute(FIRST)


def downgrade() -> None:
    op.drop_table("installation")
    op.drop_column("push_campaigns", "in_doubt_since")
