"""Alembic's entry: the connection is handed in by the process that opens the database."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transactional_ddl=True)
context.run_migrations()
