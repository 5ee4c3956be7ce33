"""How far apart is the same picture from the same seed at other batch sizes?

python benchmarks/same_seed.py
"""

from __future__ import annotations

import numpy as np
from record import facts_of_this_machine, write_result

from brickwork.model.checkpoint import load
from brickwork.sampling.loop import sample_x0


def main() -> None:
    """Eight seeds of the shipped model, guided, at batch sizes 8, 3 and 1, in both precisions."""
    rows = []
    for precision in ("fp32", "bf16"):
        model = load("digits")
        model.precision = precision
        draw = {"seeds": range(8), "labels": 3, "steps": 25, "guidance": 2.0}
        first, *others = (sample_x0(model, batch_size=size, **draw) for size in (8, 3, 1))
        pixels = model.decode(first).astype(int)
        for size, x0 in zip((3, 1), others, strict=True):
            apart, levels = float(abs(x0 - first).max()), int(np.abs(model.decode(x0) - pixels).max())
            rows.append({"precision": precision, "batch_size": size, "x0_apart": apart, "grey_levels_apart": levels})
            print(rows[-1])
    print(write_result("same-seed", facts_of_this_machine() | {"against_batch_size": 8, "rows": rows}))


if __name__ == "__main__":
    main()
