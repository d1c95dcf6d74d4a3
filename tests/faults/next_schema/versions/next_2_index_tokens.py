"""Find devices by their note."""

from fanfare.db import indexes

revision = "next_2"
down_revision = "next_1"

INDEX = "ix_push_tokens_next_note"


def upgrade() -> None:
    indexes.build(INDEX, "push_tokens", ["project_id", "next_note"])


def downgrade() -> None:
    indexes.remove(INDEX, "push_tokens")
