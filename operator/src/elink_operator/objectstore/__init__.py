"""All input and output with the object store of backups: buckets, accounts, and asking whether they are gone."""

from elink_operator.objectstore.client import Erased, ObjectStore, connect
from elink_operator.objectstore.errors import ObjectStoreError

__all__ = ["Erased", "ObjectStore", "ObjectStoreError", "connect"]
