"""A webhook may be a PUT of the finished file."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    op.add_column("webhooks", sa.Column("method", sa.String, nullable=False, server_default="POST"))
