"""Runs the migrations on the connection that `database.open_database` hands over."""

from alembic import context

from animate_server.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
