"""`python3 hack/cluster up|down|status|...`: runnable before any virtual environment exists."""

import sys
from pathlib import Path

if sys.version_info < (3, 11):  # noqa: UP036 - Ubuntu 22.04's own is older, and would fail without a sentence
    sys.exit(f"Python 3.11 or newer is needed; {sys.executable} is {sys.version.split()[0]}.")

# Run as a folder, Python puts the folder itself on the path, where modules could hide those of the standard library.
sys.path[0] = str(Path(__file__).resolve().parents[2])

from hack.cluster.cli import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
