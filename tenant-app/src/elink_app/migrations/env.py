"""Alembic's environment: works on the connection that `database.migrate` hands over."""

from __future__ import annotations

from typing import Any

from alembic import context
from sqlalchemy import Connection

from elink_app.database.tables import metadata


def run(connection: Connection) -> None:
    """Run the migrations, each revision in its own transaction."""
    context.configure(
        connection=connection,
        target_metadata=metadata,
        transaction_per_migration=True,
        compare_type=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


_handed_over: Any = context.config.attributes["connection"]
run(_handed_over)
