"""The kinds of work of this part, for the worker."""

from __future__ import annotations

from collections.abc import Mapping

from elink_app.clock import Clock
from elink_app.jobs.runner import JobHandler
from elink_app.transfer.exporter import ExportHandler
from elink_app.transfer.importer import CheckHandler, ImportHandler
from elink_app.transfer.store import FileStore
from elink_app.transfer.undo import ImportUndo, UndoHandler


def make_handlers(store: FileStore, clock: Clock) -> Mapping[str, JobHandler]:
    """By kind of job."""
    return {
        "import": ImportHandler(store, clock),
        "import-check": CheckHandler(store, clock),
        "import-undo": UndoHandler(ImportUndo(clock), clock),
        "export": ExportHandler(store, clock),
    }
