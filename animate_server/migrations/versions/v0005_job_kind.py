"""A job has a kind of its own; a preflight was a render whose params wanted nothing else."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("kind", sa.String, nullable=False, server_default="render"))
    op.execute(
        """UPDATE jobs SET kind = 'preflight', params = json_set(params, '$.preflight', 'warn')
        WHERE json_extract(params, '$.preflight') = 'only'"""
    )
