"""``python -m brickwork.device PACKAGE --seed 0 --out a.png``."""

import sys

from brickwork.device.command import main

if __name__ == "__main__":
    sys.exit(main())
