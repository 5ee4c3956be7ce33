"""How long does a step take on two cores: packages against eager PyTorch, and against a U-Net of equal MACs?

A class-conditional STOIC with random weights, which take as long as trained ones: eager fp32, in packages for ONNX
Runtime and OpenVINO; and diffusers' UNet2DModel, in the shape of DDPM's for CIFAR-10, its channels (multiples of 16, as
fast kernels like them) chosen so that it has as many MACs. All are measured in turn in one run, batch 1, first without
guidance and then with it, which makes two rows of each picture. What OpenVINO opens is written and run by the Python of
``.venvs/openvino``.

    python benchmarks/device_latency.py --presets stoic-small stoic-12x512-s2 stoic-12x768-s2 --threads 2
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, replace
from math import ceil, sqrt
from pathlib import Path
from typing import Any

import numpy as np
import runtimes

HERE = Path(__file__).parent
TARGET_RATIO = 3.0
"""At least so many times faster than eager fp32."""

Case = tuple[str, str, str]
"""Network, target and precision; the target "eager" is PyTorch, "plain" PyTorch with diffusers' own layers."""

CASES: tuple[Case, ...] = (
    ("STOIC", "eager", "fp32"),
    ("STOIC", "onnx", "fp32"),
    ("STOIC", "onnx", "int8"),
    ("STOIC", "openvino", "fp32"),
    ("STOIC", "openvino", "bf16"),
    ("STOIC", "openvino", "int8"),
    ("STOIC", "openvino", "int8-static"),
    ("U-Net", "plain", "fp32"),
    ("U-Net", "eager", "fp32"),
    ("U-Net", "onnx", "fp32"),
    ("U-Net", "onnx", "int8"),
    ("U-Net", "openvino", "fp32"),
    ("U-Net", "openvino", "bf16"),
    ("U-Net", "openvino", "int8-static"),
)
TITLES = {
    "eager": "eager PyTorch",
    "plain": "eager PyTorch (diffusers' layers)",
    "onnx": "ONNX Runtime",
    "openvino": "OpenVINO",
}
RIVALS = {"eager": ("plain", "eager"), "onnx": ("onnx",), "openvino": ("openvino",)}
"""What a STOIC on a runtime is compared with: U-Nets on the same."""


def title(case: Case) -> str:
    network, target, precision = case
    return f"{network}, {TITLES[target]} {precision}"


# ---- models -----------------------------------------------------------------------------------------------------


def write_models(name: str, folder: Path) -> dict[str, Any]:
    """A STOIC of a preset's sizes and a U-Net of as many MACs, in files; returns what they are."""
    from brickwork.backbone.presets import preset
    from brickwork.model.checkpoint import backbone_config, read_header, save
    from brickwork.model.cost import cost

    stoic = replace(preset(name), num_classes=10)
    wanted = cost(stoic).macs
    known = model_file(folder, "U-Net")
    unet = backbone_config(read_header(known)) if known.exists() else matching_unet(stoic, wanted)
    facts: dict[str, Any] = {"preset": name, "size": stoic.size, "channels": stoic.channels}
    for network, config in (("STOIC", stoic), ("U-Net", unet)):
        path = model_file(folder, network)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            save(awake(config), path)
        counted = cost(config)
        facts[network] = {
            "macs": counted.macs,
            "parameters": counted.parameters,
            "config": {key: value for key, value in asdict(config).items() if value not in (None, 0)},
        }
    facts["macs_unet_over_stoic"] = facts["U-Net"]["macs"] / wanted
    return facts


def matching_unet(stoic: Any, wanted: int) -> Any:
    """DDPM's U-Net for CIFAR-10 (widths w, 2w, 2w, 2w; attention at half the size), as near in MACs as widths go."""
    from brickwork.backbone.unet import Unet
    from brickwork.model.cost import cost

    def of(first: int, second: int, rest: int) -> Any:
        return Unet.Config(
            design="ddpm",
            widths=(first, second, rest, rest),
            num_blocks=2,
            attention=(1,),
            head_width=None,
            groups=16,
            size=stoic.size,
            channels=stoic.channels,
            num_classes=stoic.num_classes,
        )

    first = 16 * ceil(4 * sqrt(wanted / cost(of(64, 128, 128)).macs))  # MACs go with the square of widths
    near = [
        of(w, 2 * w + more, 2 * w + rest)
        for w in {max(first - 16, 16), first}
        for more in (-32, -16, 0, 16, 32)
        for rest in (more, more + 16)
        if more > -2 * w
    ]
    return min(near, key=lambda config: abs(cost(config).macs / wanted - 1))


def awake(config: Any) -> Any:
    """A model whose weights are all random and none zero, so that no runtime can leave a part out."""
    import torch

    from brickwork.codec.base import Pixels
    from brickwork.diffusion.prediction import Velocity
    from brickwork.diffusion.process import LinearFlow
    from brickwork.model.model import Model

    torch.manual_seed(0)
    model = Model(config.build(), LinearFlow(), Velocity(), Pixels(num_channels=config.channels))
    with torch.no_grad():
        for weight in model.backbone.parameters():
            weight.add_(torch.randn_like(weight), alpha=0.5 * weight[0].numel() ** -0.5 if weight.ndim > 1 else 0.1)
    return model.eval().requires_grad_(False)


def model_file(folder: Path, network: str) -> Path:
    return folder / f"{network.lower()}.safetensors"


# ---- packages ---------------------------------------------------------------------------------------------------


def write_package(path: Path, folder: Path, target_name: str, precision: str) -> None:
    """A package of a model file, whatever its quality: with random weights there is none to judge."""
    from plain_unet import plain

    from brickwork.device.runner import open_package
    from brickwork.files.manifest import write_manifest
    from brickwork.model.checkpoint import load, read_header
    from brickwork.package.check.parity import compare, sampler_of, wishes
    from brickwork.package.manifest import manifest_of
    from brickwork.package.pack import write
    from brickwork.package.packing import Packing
    from brickwork.package.spec import read_packing

    model = plain(path) if read_header(path)["backbone"][0] == "unet" else load(path)
    packing = Packing(target=target_name, precision=precision, steps=5, batches=(1, 2))
    spec = read_packing(packing, model, folder)
    spec = replace(spec, precision=replace(spec.precision, samples=samples(model)))
    part = folder.with_suffix(".part")
    part.mkdir(parents=True)
    manifest = manifest_of(model, part, spec, write(model, part, spec, print), spec.target.toolkit.versions())
    write_manifest(part, manifest)
    asked = wishes(model, *model.shape[1:])
    found = compare(model, open_package(part), model, asked, sampler_of(model, spec.sampler))
    print(f"{found.db:.1f} dB against the model, five guided steps")
    write_manifest(part, replace(manifest, parity={"checked": True, **found.to_dict()}))
    part.rename(folder)


def samples(model: Any) -> list[dict[str, np.ndarray]]:
    """Inputs to calibrate with: noise of a picture's size and more, at the levels of a sampler's grid."""
    from brickwork.diffusion.gaussian import normals
    from brickwork.diffusion.schedule import Karras

    levels = Karras().positive(model.process, 16).astype(np.float32)
    noise = normals(range(len(levels)), 0, model.shape)
    return [
        {"x": np.hypot(0.5, level) * noise[i : i + 1], "sigma": level[None], "labels": np.array([i % 10])}
        for i, level in enumerate(levels)
    ]


def package(case: Case, folder: Path) -> Path:
    """The package of a case, written by a fresh process of its runtime's Python unless it is there."""
    network, target, precision = case
    out = folder / f"{network.lower()}-{precision}.{target}"
    if not out.exists():
        runtimes.ask(target, __file__, ["--write", str(model_file(folder, network)), str(out), target, precision])
    return out


# ---- measuring --------------------------------------------------------------------------------------------------


def race(name: str, options: argparse.Namespace) -> dict[str, Any]:
    """All cases of one preset, without guidance and with it."""
    from brickwork.files.manifest import Sampling
    from brickwork.speed.measure import measure

    folder = options.out / name
    facts = write_models(name, folder)
    cases = [case for case in CASES if case[1] not in options.without and case[2] not in options.without]
    pairs = [(case, subject(case, folder)) for case in cases]
    for mode, guidance in (("unguided", 1.0), ("guided", 2.0)):
        said = Sampling(steps=options.steps, guidance=guidance)
        found = measure(
            [replace(subject, sampling=said) for _, subject in pairs],
            rounds=options.repeats,
            warmup=options.warmup,
            threads=options.threads,
            say=lambda line: print(line, file=sys.stderr) if line.startswith("opening") else None,
        )
        print(f"\n{name}, {facts['STOIC']['macs'] / 1e9:.3g} GMAC, {mode}\n{found}", flush=True)
        facts[mode] = found.to_dict() | {"verdict": verdict(dict(zip(cases, found.rows, strict=True)))}
        print_verdict(facts[mode]["verdict"])
    facts["parity_db"] = {
        subject.name: subject.about["parity_db"] for _, subject in pairs if "parity_db" in subject.about
    }
    return facts


def subject(case: Case, folder: Path) -> Any:
    """What serves a case."""
    from brickwork.files.manifest import read_manifest
    from brickwork.speed.subjects import subjects

    network, target, _ = case
    path = model_file(folder, network)
    if target == "eager":
        return replace(subjects([str(path)])[0], name=title(case))
    if target == "plain":
        found = subjects([str(path)])[0]
        words = (sys.executable, str(HERE / "plain_unet.py"), str(path))
        return replace(found, name=title(case), command=words, about=found.about | {"layers": "of diffusers"})
    out = package(case, folder)
    found, db = subjects([str(out)])[0], read_manifest(out).parity["db"]
    return replace(found, name=title(case), about=found.about | {"parity_db": db})


def verdict(rows: dict[Case, Any]) -> dict[str, Any]:
    """What was asked: at least three times faster than eager, and faster than the U-Net on each runtime.

    The best of each on a runtime, and each precision by itself. Convolutions stay fp32 in int8, which is why that helps
    a U-Net so little.
    """
    eager = rows["STOIC", "eager", "fp32"]
    stoics = {case: row for case, row in rows.items() if case[0] == "STOIC"}
    faster = {case: 1 / row.ratios_to(eager)["step"]["p50"] for case, row in stoics.items() if case[1] != "eager"}
    best = max(faster, key=lambda case: faster[case])
    unets = {case: row for case, row in rows.items() if case[0] == "U-Net"}
    on_each = []
    for target in RIVALS:
        ours, theirs = (
            min((row for case, row in those.items() if case[1] in of), key=lambda row: float(np.median(row.steps_s)))
            for those, of in ((stoics, (target,)), (unets, RIVALS[target]))
        )
        on_each.append(duel(ours, theirs))
    duels = []
    for (_, target, precision), ours in stoics.items():
        for rival in RIVALS[target]:
            theirs = rows.get(("U-Net", rival, precision))
            if theirs is not None:
                duels.append(duel(ours, theirs))
    return {
        "times_faster_than_eager": {title(case): value for case, value in faster.items()},
        "best": title(best),
        "best_times_faster_than_eager": faster[best],
        "wanted_times_faster": TARGET_RATIO,
        "fast_enough": faster[best] >= TARGET_RATIO,
        "best_against_best_unet": on_each,
        "faster_than_unet_on_each_runtime": all(each["faster"] for each in on_each),
        "against_unet_of_same_precision": duels,
    }


def duel(ours: Any, theirs: Any) -> dict[str, Any]:
    """Time of a step of a STOIC over that of a U-Net, round by round."""
    ratio = ours.ratios_to(theirs)["step"]
    names = {"stoic": ours.subject.name, "unet": theirs.subject.name}
    return {**names, "stoic_over_unet": ratio, "faster": ratio["p50"] < 1}


def print_verdict(found: dict[str, Any]) -> None:
    """For people."""
    print(
        f"best: {found['best']}, {found['best_times_faster_than_eager']:.2f} times faster than eager "
        f"(wanted: {TARGET_RATIO:.0f}, {'reached' if found['fast_enough'] else 'not reached'})"
    )
    for kind in ("best_against_best_unet", "against_unet_of_same_precision"):
        print(kind.replace("_", " "))
        for each in found[kind]:
            print(f"  {each['stoic']} / {each['unet']}: {each['stoic_over_unet']['p50']:.2f}")


# ---- the picture ------------------------------------------------------------------------------------------------


def draw(presets: list[dict[str, Any]]) -> np.ndarray:
    """A bar a case, its median step; a line to the 95th percentile."""
    panels = [panel(facts, mode) for facts in presets for mode in ("unguided", "guided")]
    rows = [np.concatenate(panels[i : i + 2], axis=1) for i in range(0, len(panels), 2)]
    return np.concatenate(rows)


def panel(facts: dict[str, Any], mode: str) -> np.ndarray:
    from PIL import Image, ImageDraw, ImageFont

    rows, left, width = facts[mode]["results"], 290, 760
    canvas = Image.new("RGB", (width, 60 + 26 * len(rows)), "white")
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    guided = "guided: two rows a step" if mode == "guided" else "no guidance: one row a step"
    stoic, unet = (f"{facts[network]['macs'] / 1e9:.3g}" for network in ("STOIC", "U-Net"))
    head = f"{facts['preset']}, {stoic} GMAC (U-Net {unet}), {guided}"
    pen.text((10, 8), head, "black", font)
    pen.text((10, 28), "milliseconds a step, median (line: 95th percentile); shorter is better", "#666666", font)
    scale = (width - left - 70) / max(row["step_ms"]["p95"] for row in rows)
    for i, row in enumerate(rows):
        y, times = 54 + 26 * i, row["step_ms"]
        end = left + scale * times["p50"]
        colour = "#3b6ea5" if row["name"].startswith("STOIC") else "#c98a3a"
        pen.rectangle((left, y, end, y + 17), colour if "eager" not in row["name"] else faded(colour))
        pen.line((end, y + 8, left + scale * times["p95"], y + 8), "#444444", 1)
        pen.text((10, y), row["name"], "black", font)
        pen.text((left + scale * times["p95"] + 6, y), f"{times['p50']:.3g}", "black", font)
    return np.asarray(canvas)


def faded(colour: str) -> tuple[int, ...]:
    """Halfway to white."""
    return tuple((int(colour[i : i + 2], 16) + 255) // 2 for i in (1, 3, 5))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--presets", nargs="+", default=["stoic-small", "stoic-12x512-s2"])
    parser.add_argument("--out", type=Path, default=Path("runs/device-latency"), help="models and packages; kept")
    parser.add_argument("--repeats", type=int, default=30, help="rounds that count")
    parser.add_argument("--warmup", type=int, default=3)
    parser.add_argument("--steps", type=int, default=5, help="steps a round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--without", nargs="*", default=[], help="targets or precisions to leave out")
    parser.add_argument("--no-write", action="store_true", help="print, and keep no result")
    parser.add_argument("--write", nargs=4, help=argparse.SUPPRESS)
    parser.add_argument("--also", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        runtimes.also(options.also)  # diffusers is there
        path, out, target, precision = options.write
        write_package(Path(path), Path(out), target, precision)
        return
    from record import facts_of_this_machine, write_result

    from brickwork.files.picture import save_png

    presets = [race(name, options) for name in options.presets]
    facts = facts_of_this_machine() | {"threads": options.threads, "steps_a_round": options.steps}
    if not options.no_write:
        path = write_result("device-latency", facts | {"presets": presets})
        save_png(draw(presets), path.with_suffix(".png"))
        print(f"\n{path}")


if __name__ == "__main__":
    main()
