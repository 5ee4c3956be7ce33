from __future__ import annotations

import torch

from brickwork.backbone.stem import InitialConvolution


def test_faint_noise_survives_bf16() -> None:
    """Pixels of 1.001 and 1.003 are the same number in bf16; the stem must still tell them apart."""
    assert torch.tensor(1.001).bfloat16() == torch.tensor(1.003).bfloat16()
    for layers in (1, 2):
        torch.manual_seed(0)
        stem = InitialConvolution(1, 32, kernel=3, stride=1, layers=layers, padding_mode="zeros")
        with torch.no_grad():
            for parameter in stem.get_submodule("0").parameters():
                parameter.mul_(100)  # so that 0.002 is much more than a step of bf16 in the feature map
            first = stem.get_submodule("0")
            first.get_parameter("bias").copy_(-first.get_parameter("weight").sum(dim=(1, 2, 3)))
        x = torch.full((1, 1, 8, 8), 1.001)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            a, b = stem(x), stem(x + 0.002)
        assert a.dtype == torch.bfloat16
        inside = (slice(None), slice(None), slice(2, -2), slice(2, -2))
        assert not torch.equal(a[inside], b[inside])
        # What the change does to the feature map is what it does in fp32, to the rounding of the map itself.
        moved, exact = (b - a)[inside].float(), (stem(x + 0.002) - stem(x))[inside]
        assert ((moved - exact).norm() / exact.norm()).item() < 0.1
