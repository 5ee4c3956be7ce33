"""Is it the same picture everywhere? The same seeds in PyTorch, in every runtime's package, and in a page in Chromium.

Guided, in fp32, one picture a class. PSNR is of the estimate before rounding, on [-1, 1] (peak 2), against eager
PyTorch; beside it the values that differ after rounding to 8 bits. Each package is written and run by the Python of
its runtime (``.venvs/TARGET``, see the Makefile); the page needs Debian's chromium and playwright.

    python benchmarks/same_picture.py --models digits digits-lego
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import runtimes

TARGETS = ("onnx", "openvino", "executorch", "litert", "browser")
TITLES = {
    "onnx": "ONNX Runtime",
    "openvino": "OpenVINO",
    "executorch": "ExecuTorch (XNNPACK)",
    "litert": "LiteRT (XNNPACK)",
    "browser": "onnxruntime-web, Chromium",
}
LABELS, STEPS, GUIDANCE = range(10), 25, 1.5


def pictures(denoiser: Any) -> np.ndarray:
    """Estimates of x0 before rounding, (10, C, H, W)."""
    from brickwork.sampling.loop import sample_x0

    drawn = sample_x0(denoiser, seeds=LABELS, labels=list(LABELS), steps=STEPS, guidance=GUIDANCE)
    return np.asarray(drawn.cpu() if hasattr(drawn, "cpu") else drawn)


def write(name: str, target: str, out: Path) -> None:
    """In the runtime's Python: pack, and draw unless a browser does."""
    from brickwork.model.checkpoint import load
    from brickwork.package.pack import pack
    from brickwork.package.packing import Packing

    packing = Packing(target=target, batches=(2,), steps=STEPS, guidance=GUIDANCE)
    package = pack(load(name), out, packing, say=print)
    if target != "browser":
        np.save(runtimes.drawn(out), pictures(package))


def by_the_page(package: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, dict[str, str]]:
    """What the page draws in headless Chromium, and the browser's version."""
    from headless import launch
    from playwright.sync_api import sync_playwright
    from serving import serving

    found = []
    with serving(package) as address, sync_playwright() as started:
        browser = launch(started)
        page = browser.new_page()
        page.set_default_timeout(120_000)
        page.goto(address)
        for label in LABELS:
            page.wait_for_selector("#save:enabled")
            page.check(f"#classes input[value='{label}']", force=True)
            page.wait_for_selector("#save:enabled")  # a quick machine draws at once
            page.fill("#seed", str(label))
            page.click("#draw")
            page.wait_for_selector("#save:enabled")
            how = page.evaluate("(({ seed, label, steps }) => [String(seed), label, steps])(window.brickwork.latest)")
            assert how == [str(label), label, STEPS], how
            found.append(page.evaluate("Array.from(window.brickwork.latest.pixels)"))
        versions = {"chromium": browser.version}
        browser.close()
    return np.array(found, np.float32).reshape(len(found), *shape), versions


def compared(name: str, target: str, folder: Path, eager: np.ndarray) -> tuple[dict[str, Any], np.ndarray]:
    """One package against eager PyTorch: figures, and what it drew."""
    from brickwork.files.manifest import read_manifest
    from brickwork.package.check.parity import psnr

    out = folder / f"{name}.{target}"
    shutil.rmtree(out, ignore_errors=True)
    runtimes.ask("onnx" if target == "browser" else target, __file__, ["--write", name, target, str(out)])
    versions = read_manifest(out).runtime
    if target == "browser":
        ours, browser = by_the_page(out, eager.shape[1:])
        versions = versions | browser
    else:
        ours = np.load(runtimes.drawn(out))
    differ = np.abs(rounded(ours).astype(int) - rounded(eager).astype(int))
    return {
        "runtime": target,
        "versions": versions,
        "db": psnr(ours, eager),
        "largest_difference": float(np.abs(ours - eager).max()),
        "values": eager.size,
        "values_that_differ_in_8_bits": int((differ > 0).sum()),
        "largest_difference_in_8_bits": int(differ.max()),
    }, ours


def rounded(x0: np.ndarray) -> np.ndarray:
    """Estimates as 8-bit pictures (N, H, W, C)."""
    return np.clip(np.rint((x0 + 1) * 127.5), 0, 255).astype(np.uint8).transpose(0, 2, 3, 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["digits", "digits-lego"], help="with ten classes or more")
    parser.add_argument("--targets", nargs="+", default=list(TARGETS), choices=TARGETS)
    parser.add_argument("--out", type=Path, default=Path("runs/same-picture"))
    parser.add_argument("--write", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--also", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        runtimes.also(options.also)
        name, target, out = options.write
        write(name, target, Path(out))
        return
    sys.path.append(str(Path(__file__).parent.parent / "tests" / "support"))  # a server of packages
    from record import facts_of_this_machine, write_result

    from brickwork.files.picture import save_png
    from brickwork.model.checkpoint import load

    options.out.mkdir(parents=True, exist_ok=True)
    results, rows = [], []
    for name in options.models:
        eager = pictures(load(name))
        rows.append((f"{name}: eager PyTorch", rounded(eager)))
        for target in options.targets:
            found, ours = compared(name, target, options.out, eager)
            print(name, found, flush=True)
            results.append({"model": name, **found})
            rows.append((f"{TITLES[target]}, {found['db']:.0f} dB", rounded(ours)))
    result = {"steps": STEPS, "guidance": GUIDANCE, "pictures": len(LABELS), "comparisons": results}
    path = write_result("same-picture", facts_of_this_machine() | result)
    save_png(runtimes.sheet(rows), path.with_suffix(".png"))
    print(path)


if __name__ == "__main__":
    main()
