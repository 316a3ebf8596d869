"""Several files a job, the request as it came, and a time to keep the job for."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("jobs", sa.Column("artefacts", sa.JSON, nullable=False, server_default="[]"))
    op.add_column("jobs", sa.Column("request", sa.JSON))
    op.add_column("jobs", sa.Column("retention_s", sa.Float))
    op.execute(
        """UPDATE jobs SET artefacts = json_array(json_set(artefact, '$.seed', json_extract(params, '$.seed')))
        WHERE artefact_name IS NOT NULL"""
    )
    _drop_the_single_artefact()
    op.create_table(
        "files",
        sa.Column("name", sa.String, primary_key=True),
        sa.Column("job_id", sa.String, sa.ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    )
    op.execute(
        """INSERT INTO files SELECT json_extract(artefacts, '$[0].name'), id FROM jobs
        WHERE json_array_length(artefacts) > 0"""
    )


def _drop_the_single_artefact() -> None:
    # SQLite drops a unique column only with its table, and the rows that refer to the table go with it: they are kept
    # aside meanwhile.
    op.execute("CREATE TEMP TABLE kept AS SELECT * FROM job_uploads")
    with op.batch_alter_table("jobs") as jobs:
        jobs.alter_column("artefacts", server_default=None)
        jobs.drop_column("artefact")
        jobs.drop_column("artefact_name")
    op.execute("INSERT INTO job_uploads SELECT * FROM kept")
    op.execute("DROP TABLE kept")
