"""``python -m brickwork``: the command line."""

import sys

from brickwork.cli import main

if __name__ == "__main__":
    sys.exit(main())
