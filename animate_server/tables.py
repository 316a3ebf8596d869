"""The tables. Migrations in `migrations/versions` make them; a test compares the two."""

from __future__ import annotations

from sqlalchemy import JSON, Boolean, Column, Float, ForeignKey, Index, Integer, MetaData, String, Table, Text

metadata = MetaData()

jobs = Table(
    "jobs",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),  # the order of arrival
    Column("id", String, nullable=False, unique=True),
    Column("owner", String, nullable=False),
    Column("dialect", String, nullable=False),
    Column("status", String, nullable=False),
    Column("params", JSON, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    Column("expires_at", Float),
    Column("attempts", Integer, nullable=False, default=0),
    Column("token", Integer, nullable=False, default=0),
    Column("worker", String),
    Column("lease_expires_at", Float),
    Column("cancel_requested", Boolean, nullable=False, default=False),
    Column("progress", JSON(none_as_null=True)),
    Column("result", JSON(none_as_null=True)),
    Column("error", JSON(none_as_null=True)),
    Column("idempotency_key", String),
    Column("fingerprint", String, nullable=False, default=""),
    Column("artefacts", JSON, nullable=False, default=[]),
    Column("request", JSON(none_as_null=True)),
    Column("retention_s", Float),
    Column("kind", String, nullable=False, server_default="render"),
    Index("jobs_by_status", "status", "seq"),
    Index("jobs_by_owner", "owner", "seq"),
    Index("jobs_by_idempotency_key", "owner", "idempotency_key", unique=True),
)

# The files of `jobs.artefacts` once more, to be found by their names.
files = Table(
    "files",
    metadata,
    Column("name", String, primary_key=True),
    Column("job_id", String, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
)

uploads = Table(
    "uploads",
    metadata,
    Column("id", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("media_type", String, nullable=False),
    Column("size_bytes", Integer, nullable=False),
    Column("sha256", String, nullable=False),
    Column("inline", Boolean, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
)

job_uploads = Table(
    "job_uploads",
    metadata,
    Column("job_id", String, ForeignKey("jobs.id", ondelete="CASCADE"), primary_key=True),
    Column("upload_id", String, ForeignKey("uploads.id", ondelete="CASCADE"), primary_key=True),
)

# One row for each webhook of a job. `due_at` is null while there is nothing to send.
webhooks = Table(
    "webhooks",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("job_id", String, ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("owner", String, nullable=False),
    Column("dialect", String, nullable=False),
    Column("url", String, nullable=False),
    Column("secret", String, nullable=False),
    Column("base_url", String, nullable=False),
    Column("status", String, nullable=False),
    Column("body", Text),
    Column("tries", Integer, nullable=False),
    Column("attempts", JSON, nullable=False),
    Column("due_at", Float),
    Column("created_at", Float, nullable=False),
    Column("updated_at", Float, nullable=False),
    Column("method", String, nullable=False, server_default="POST"),
    Index("webhooks_by_job", "job_id"),
    Index("webhooks_by_due", "due_at"),
)

workers = Table(
    "workers",
    metadata,
    Column("name", String, primary_key=True),
    Column("device", String, nullable=False),
    Column("state", String, nullable=False),
    Column("bundle", JSON(none_as_null=True)),
    Column("started_at", Float, nullable=False),
    Column("heartbeat_at", Float, nullable=False),
)

# Sums over all jobs that ever ended, so that the counters in /metrics outlive the jobs.
totals = Table(
    "totals",
    metadata,
    Column("status", String, primary_key=True),
    Column("jobs", Integer, nullable=False),
    Column("queue_s", Float, nullable=False),
    Column("run_s", Float, nullable=False),
)
