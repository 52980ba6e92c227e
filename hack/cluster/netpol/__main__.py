"""Entry point: `python3 hack/cluster/netpol …` or, with PYTHONPATH=hack/cluster, `python3 -m netpol …`."""

import importlib
import sys
from pathlib import Path

if not __package__:
    # Started as a folder: Python put the folder itself on the path, where its modules have no package.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

if __name__ == "__main__":
    sys.exit(importlib.import_module(f"{__package__ or 'netpol'}.agent").main())
