"""Would ONNX Runtime's own converters to fp16 and dynamic int8 do in place of brickwork's?

The shipped digits model as one graph, converted by each. Size: bytes of all constants. Parity: PSNR of eight pictures
against eager fp32, before rounding, ten guided steps. Loss: rise of the held-out loss against fp32. Time: the median
call of a graph over that of brickwork's conversion to the same precision in the same round, all called in turn.

    python benchmarks/onnx_conversion.py
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from record import facts_of_this_machine, write_result

from brickwork.diffusion.denoiser import Condition
from brickwork.model.checkpoint import load
from brickwork.model.model import Model
from brickwork.package.check.calibrate import Encoding, real_images
from brickwork.package.check.parity import psnr
from brickwork.package.check.quality import loss_rise
from brickwork.package.graph import GraphSpec, denoiser
from brickwork.package.precision import Precision
from brickwork.package.targets.onnx.export import TOOLKIT, to_onnx
from brickwork.package.targets.onnx.quantize import layers_of, quantized, unfold_gemms
from brickwork.package.targets.onnx.trial import Trial
from brickwork.quality.heldout import held_out_loss
from brickwork.sampling.loop import sample_x0

LEVELS = ["Cos", "Div", "Exp", "Log", "Neg", "Pow", "Reciprocal", "Sin", "Sqrt", "Sub"]
"""Operators of the noise level's arithmetic, which a careful user would leave out of fp16."""
DRAWN: dict[str, Any] = {"seeds": range(20, 28), "labels": [0, 1, 2, 3, 4, 5, 6, 7], "steps": 10, "guidance": 2.0}


def conversions(plain: Any, spec: GraphSpec) -> dict[tuple[str, str], Callable[[], Any]]:
    """What is compared, by precision and converter; brickwork's own comes first in each precision."""
    from onnxruntime.transformers.float16 import DEFAULT_OP_BLOCK_LIST, convert_float_to_float16

    def ours(precision: str) -> Any:
        return quantized(copied(plain), spec, Precision(name=precision))

    def half(**options: Any) -> Any:
        return convert_float_to_float16(named(copied(plain)), keep_io_types=True, **options)

    return {
        ("fp32", "none"): lambda: copied(plain),
        ("fp16", "brickwork"): lambda: ours("fp16"),
        ("fp16", "onnxruntime"): half,
        ("fp16", "onnxruntime, levels in fp32"): lambda: half(op_block_list=[*DEFAULT_OP_BLOCK_LIST, *LEVELS]),
        ("int8", "brickwork"): lambda: ours("int8"),
        ("int8", "onnxruntime"): lambda: dynamic(plain),
        ("int8", "onnxruntime, a scale a column"): lambda: dynamic(plain, per_channel=True),
        ("int8", "onnxruntime, a scale a column, 7 bits"): lambda: dynamic(plain, per_channel=True, reduce_range=True),
        ("int8", "onnxruntime, a scale a column, 7 bits, blocks alone"): lambda: dynamic(
            plain, spec, per_channel=True, reduce_range=True
        ),
    }


def dynamic(plain: Any, spec: GraphSpec | None = None, **options: Any) -> Any:
    """ONNX Runtime's dynamic quantization; given what a graph was made of, of the products of its blocks alone."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    model = copied(plain)
    unfold_gemms(model)
    named(model)
    if spec is not None:
        options["nodes_to_quantize"] = [layer.node.name for layer in layers_of(model, spec)]
    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        onnx.save(model, before)
        quantize_dynamic(before, after, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8, **options)
        return onnx.load(after)


def named(model: Any) -> Any:
    """The graph with a name of its own for every node, which the converters ask for."""
    for number, node in enumerate(model.graph.node):
        node.name = f"{node.op_type}_{number}"
    return model


def copied(model: Any) -> Any:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return copy


def constants(model: Any) -> int:
    """Bytes of all constants."""
    return sum(onnx.numpy_helper.to_array(tensor).nbytes for tensor in model.graph.initializer)


def quality(denoise: Any, model: Model, fp32: Any, held_out: Any) -> dict[str, float]:
    """Parity with the eager model, and the rise of the held-out loss."""
    theirs = np.asarray(sample_x0(model, **DRAWN))
    ours = sample_x0(denoise, **DRAWN)
    losses = held_out_loss(denoise, held_out, num_images=90)
    return {
        "parity_db": min(psnr(a, b) for a, b in zip(ours, theirs, strict=True)),
        "loss_increase": float(np.mean(loss_rise(losses, fp32))),
    }


def race(trials: dict[tuple[str, str], Trial], spec: GraphSpec, rounds: int) -> dict[tuple[str, str], list[float]]:
    """Seconds of a call, the median of each round; all are called in turn, every other round in reverse."""
    inputs = [tensor.numpy() for tensor in spec.arguments()]
    asked = (inputs[0] + 0.5, inputs[1], Condition(labels=inputs[2]))
    found: dict[tuple[str, str], list[float]] = {key: [] for key in trials}
    for number in range(rounds + 1):
        for key in list(trials)[:: -1 if number % 2 else 1]:
            seconds = []
            for _ in range(30):
                start = time.perf_counter()
                trials[key](*asked)
                seconds.append(time.perf_counter() - start)
            if number:  # the first round warms up
                found[key].append(float(np.median(seconds[10:])))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    logging.disable(logging.WARNING)
    model = load("digits")
    spec = denoiser(model, *model.shape[1:], 16)
    plain = to_onnx(spec)
    held_out = real_images(model, "digits", "the benchmark").held_out
    graphs = {key: make() for key, make in conversions(plain, spec).items()}
    trials, rows = {}, []
    for (precision, converter), graph in graphs.items():
        try:
            trials[precision, converter] = Trial(graph, spec)
        except Exception as error:  # ONNX Runtime's own, of many kinds: what it refuses is a result too
            said = str(error).strip().splitlines()[0][-120:]
            rows.append({"precision": precision, "converter": converter, "refused": said})
    fp32 = held_out_loss(model, held_out, num_images=90)
    seconds = race(trials, spec, options.rounds)
    for (precision, converter), trial in trials.items():
        first = next(key for key in trials if key[0] == precision)
        ratios = np.array(seconds[precision, converter]) / np.array(seconds[first])
        denoise: Any = Encoding(trial, model)
        row = {
            "precision": precision,
            "converter": converter,
            "constants_bytes": constants(graphs[precision, converter]),
            **quality(denoise, model, fp32, held_out),
            "call_ms": 1e3 * float(np.median(seconds[precision, converter])),
            "ratio_to_brickwork": dict(zip(("p5", "p50", "p95"), np.percentile(ratios, (5, 50, 95)), strict=True)),
        }
        rows.append(row)
        print(row)
    result = {**facts_of_this_machine(), "model": "digits", "batch": spec.batch, "threads": options.threads}
    result["versions"] |= TOOLKIT.versions()
    print(write_result("onnx-conversion", {**result, "rounds": options.rounds, "results": rows}))


if __name__ == "__main__":
    main()
