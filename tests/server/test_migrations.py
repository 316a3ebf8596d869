"""The database's schema: migrations make the declared tables, and keep what former versions stored."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, inspect, text

import animate_server
from animate_server.database import SCHEMA, open_database
from animate_server.errors import SchemaUnknown
from animate_server.jobs import Artefact, JobStatus, NewJob
from animate_server.outbox import Outbox
from animate_server.store import Store
from animate_server.tables import metadata
from animate_server.webhooks import CallStatus

Make = Callable[..., NewJob]
NOW = 1_800_000_000.0
# As the version with schema 0004 stored them.
PARAMS_0004: dict[str, Any] = {
    "reference_image": "https://example.com/a.png",
    "driving_video": "https://example.com/b.mp4",
    "reference_kind": "image",
    "mode": "animate",
    "prompt": "a person moves",
    "negative_prompt": "",
    "resolution": "720p",
    "render_area": [128, 96],
    "fps": "source",
    "seed": 11,
    "steps": None,
    "shift": None,
    "guidance_scale": 1.0,
    "turbo": False,
    "keep_audio": True,
    "retarget": False,
    "overlap": 1,
    "num_frames": None,
    "output_size": None,
    "fit": "pad",
    "output_format": "mp4",
    "quality": 95,
    "num_results": 1,
    "preflight": "warn",
    "align": False,
    "mask_fit": "box",
    "person": "largest",
    "start": 0.0,
    "duration": None,
    "max_gap_s": 1.0,
    "smoothing": False,
    "body_control": True,
    "expression": 3,
    "safety_check": False,
    "keypoints": None,
    "mask_video": None,
    "neutral_reference": None,
    "neutral_driver": None,
    "longest_s": None,
}
PROGRESS_0004 = {"stage": "encode", "fraction": 0.1, "segment": 0, "num_segments": 2, "step": 0, "num_steps": 4}
ARTEFACT = Artefact(name="b" * 32 + ".mp4", seed=11, media_type="video/mp4", size_bytes=3, sha256="0" * 64)
SHEET = Artefact(name="c" * 32 + ".png", seed=11, media_type="image/png", size_bytes=3, sha256="1" * 64)


def _at_revision(path: Path, revision: str) -> sqlite3.Connection:
    """Make a database as the version with that schema made it."""
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        config = _migrations()
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    engine.dispose()
    return sqlite3.connect(path)


def _insert(connection: sqlite3.Connection, table: str, **values: Any) -> None:
    plain = [json.dumps(value) if isinstance(value, list | dict) else value for value in values.values()]
    marks = ", ".join("?" * len(values))
    connection.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({marks})", plain)


def _insert_job_0004(connection: sqlite3.Connection, job_id: str, status: str, **values: Any) -> None:
    preflight = values.pop("preflight", "warn")
    row = {
        "owner": "owner",
        "dialect": "native",
        "params": PARAMS_0004 | {"preflight": preflight},
        "created_at": NOW - 60,
        "attempts": 0,
        "token": 0,
        "cancel_requested": 0,
        "fingerprint": "",
        "artefacts": [],
        "request": {"reference_image": "https://example.com/a.png", "preflight": preflight},
    }
    _insert(connection, "jobs", id=job_id, status=status, **row | values)


def test_a_database_of_the_former_schema_keeps_its_jobs_and_their_order(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite3"
    held = {"attempts": 1, "token": 1, "started_at": NOW - 50, "worker": "w", "lease_expires_at": NOW + 20}
    ended = {"attempts": 1, "token": 1, "started_at": NOW - 50, "finished_at": NOW - 9, "expires_at": NOW + 9e5}
    with closing(_at_revision(path, "0004")) as old, old:
        _insert_job_0004(old, "render", "queued", fingerprint="f", idempotency_key="k")
        _insert_job_0004(old, "preflight", "queued", preflight="only")
        _insert_job_0004(old, "running", "running", progress=PROGRESS_0004, **held)
        _insert_job_0004(old, "looking", "running", preflight="only", **held)
        made = {"name": ARTEFACT.name, "seed": 11, "media_type": "video/mp4", "size_bytes": 3, "sha256": "0" * 64}
        _insert_job_0004(old, "done", "succeeded", artefacts=[made], result={"width": 64}, **ended)
        _insert_job_0004(old, "looked", "succeeded", preflight="only", result={"score": 65}, **ended)
        failure = {"code": "no_person_found", "message": "nobody in driving_video", "field": "driving_video"}
        _insert_job_0004(old, "failed", "failed", error=failure | {"fault": "request"}, **ended)
        _insert(old, "files", name=ARTEFACT.name, job_id="done")
        call = {"owner": "owner", "dialect": "native", "url": "https://example.com/hook", "secret": "", "base_url": "x"}
        times = {"tries": 0, "attempts": [], "created_at": NOW - 60, "updated_at": NOW - 9}
        _insert(old, "webhooks", id="msg_1", job_id="done", status="pending", due_at=NOW - 9, **call, **times)
        _insert(old, "webhooks", id="msg_2", job_id="render", status="waiting", **call, **times)
    engine = open_database(path)
    store, outbox = Store(engine, clock=lambda: NOW), Outbox(engine, clock=lambda: NOW)

    jobs = {job.id: job for job in store.list("owner", limit=99)}
    assert {name for name, job in jobs.items() if job.kind == "preflight"} == {"preflight", "looking", "looked"}
    assert {job.params.preflight for job in jobs.values()} == {"warn"}
    later = {
        "driving_audio": None,
        "anyway": False,
        "shortest_s": None,
        "largest_bytes": None,
    }
    assert jobs["done"].params.to_json() == PARAMS_0004 | later
    assert (jobs["done"].artefacts, store.find_artefact(ARTEFACT.name)) == ((ARTEFACT,), ARTEFACT)
    assert jobs["running"].progress == PROGRESS_0004
    assert jobs["failed"].error is not None
    assert jobs["failed"].error.message == "nobody in driving_video"
    due = outbox.take_due()
    assert due is not None
    assert (due.id, due.job_id) == ("msg_1", "done")

    claimed = [store.claim("w"), store.claim("w")]
    assert [job and (job.id, job.kind) for job in claimed] == [("preflight", "preflight"), ("render", "render")]
    assert store.claim("w") is None
    for number, job in enumerate([jobs["running"], jobs["looking"], *claimed]):
        assert job is not None
        artefact = replace(SHEET if job.kind == "preflight" else ARTEFACT, name=f"{number:032}")
        done = store.finish(job, [artefact], {"width": 64})
        assert (done.status, done.artefacts) == (JobStatus.SUCCEEDED, (artefact,))
    assert outbox.of_job("render", "owner").status is CallStatus.PENDING
    engine.dispose()


def test_a_database_of_the_first_schema_keeps_its_jobs_files_and_uploads(tmp_path: Path, new_job: Make) -> None:
    path, params = tmp_path / "a.sqlite3", json.dumps(new_job().params.to_json() | {"seed": 11})
    made = {"name": "b" * 32 + ".mp4", "media_type": "video/mp4", "size_bytes": 3, "sha256": "0" * 64}
    with closing(_at_revision(path, "0001")) as old, old:
        job = "INSERT INTO jobs (id, owner, dialect, status, params, created_at, attempts, token, cancel_requested, "
        job += "fingerprint, artefact, artefact_name) VALUES (?, 'owner', 'native', ?, ?, 1, 1, 1, 0, '', ?, ?)"
        old.execute(job, ("done", "succeeded", params, json.dumps(made), made["name"]))
        old.execute(job, ("waiting", "queued", params, None, None))
        old.execute("INSERT INTO uploads VALUES ('u', 'owner', 'image', 'image/png', 1, '0', 0, 1, 9e12)")
        old.execute("INSERT INTO job_uploads VALUES ('waiting', 'u')")
    engine = open_database(path)
    store = Store(engine)
    artefact = Artefact(**made, seed=11)
    assert store.get("done").artefacts == (artefact,)
    assert store.find_artefact(made["name"]) == artefact
    assert store.get("waiting").artefacts == ()
    with engine.begin() as connection:
        assert connection.execute(text("SELECT * FROM job_uploads")).all() == [("waiting", "u")]
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    engine.dispose()


def test_the_migrations_make_the_tables(tmp_path: Path) -> None:
    migrated = open_database(tmp_path / "a.sqlite3")
    declared = create_engine(f"sqlite:///{tmp_path / 'b.sqlite3'}")
    metadata.create_all(declared)
    left, right = inspect(migrated), inspect(declared)
    assert set(left.get_table_names()) == set(right.get_table_names()) | {"alembic_version"}
    for table in right.get_table_names():
        columns = [[(c["name"], str(c["type"]), c["nullable"]) for c in i.get_columns(table)] for i in (left, right)]
        assert columns[0] == columns[1]
        indexes = [{(i["name"], tuple(i["column_names"])) for i in x.get_indexes(table)} for x in (left, right)]
        assert indexes[0] == indexes[1]
    migrated.dispose()
    declared.dispose()


def test_the_schema_constant_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(_migrations()).get_current_head() == SCHEMA


def test_a_newer_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.sqlite3"
    engine = open_database(path)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(SchemaUnknown):
        open_database(path)


def _migrations() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(animate_server.__file__).parent / "migrations"))
    return config
