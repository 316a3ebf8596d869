"""The database file: opened with the guarantees the store relies on, and brought to this version's schema."""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text

from animate_server.errors import SchemaUnknown

# The newest revision in migrations/versions (a test holds them equal). Knowing it here keeps Alembic, which takes a
# quarter of a second to import, out of every start but the one that migrates.
SCHEMA = "0005"
BUSY_TIMEOUT_MS = 10_000


def open_database(path: Path) -> Engine:
    """Open SQLite in WAL mode with `synchronous=FULL`: what is committed survives a power cut. Migrates when needed.

    Raises `SchemaUnknown` for a database of a newer version.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # hide_parameters: a failed statement must not log the URLs in a job
    engine = create_engine(f"sqlite:///{path}", pool_size=20, max_overflow=20, hide_parameters=True)
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    with ExitStack() as on_failure, (path.parent / f"{path.name}.lock").open("w") as lock:
        on_failure.callback(engine.dispose)
        fcntl.flock(lock, fcntl.LOCK_EX)  # two processes that start at once must not both migrate
        _upgrade(engine)
        on_failure.pop_all()
    return engine


def writing(engine: Engine) -> Engine:
    """Return the same pool with transactions that take the write lock when they begin.

    A transaction that reads first and writes later could otherwise fail half-way when another writer came between.
    """
    return engine.execution_options(writes=True)


def _configure(connection: sqlite3.Connection, _: Any) -> None:
    connection.isolation_level = None  # `_begin` opens transactions, not the driver
    with closing(connection.cursor()) as cursor:
        for pragma in (
            f"busy_timeout={BUSY_TIMEOUT_MS}",
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
        ):
            cursor.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get("writes") else "BEGIN")


def _upgrade(engine: Engine) -> None:
    with writing(engine).begin() as connection:
        found = _revision(connection)
        if found == SCHEMA:
            return
        if found is not None and found > SCHEMA:
            raise SchemaUnknown(f"the database has schema {found}, this version knows up to {SCHEMA}", value=found)
        _migrate(connection)


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def _migrate(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
