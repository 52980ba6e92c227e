"""The kinds of work of this part, for the worker."""

from __future__ import annotations

from collections.abc import Mapping

from elink_app.clock import Clock
from elink_app.jobs.runner import JobHandler
from elink_app.transfer.exporter import ExportHandler
from elink_app.transfer.importer import CheckHandler, ImportHandler
from elink_app.transfer.reader import Reader
from elink_app.transfer.store import FileStore
from elink_app.transfer.undo import ImportUndo, UndoHandler


def make_handlers(store: FileStore, clock: Clock, reader: Reader) -> Mapping[str, JobHandler]:
    """By kind of job; `reader` reads for all of them."""
    return {
        "import": ImportHandler(store, reader, clock),
        "import-check": CheckHandler(store, reader, clock),
        "import-undo": UndoHandler(ImportUndo(clock), clock),
        "export": ExportHandler(store, clock),
    }
