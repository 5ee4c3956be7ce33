"""Layers that several designs share: attention, MLP, depthwise convolution, modulation, sinusoids, the plain block.

Letters: B batch, T tokens of a sequence, L width, h heads, d width of one head, H and W the grid of image tokens.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from brickwork.nn.attention import attend, fused, matmul
from brickwork.nn.linear import Gelu, Linear
from brickwork.nn.shapes import Sigma, Tokens

PERIOD = 10_000.0  # longest wavelength of the time and position sinusoids, over 2 pi; Vaswani et al. 2017, section 3.5
ROPE_PERIOD = 100.0  # axial rotations over image grids; Heo et al. 2024 (arXiv 2403.13298), section 3.2

Grid = tuple[int, int]
Rotation = tuple[Float[Tensor, "T d"], Float[Tensor, "T d"]]


def frequencies(count: int, period: float = PERIOD) -> Float[Tensor, " count"]:
    """Return geometric frequencies period^(-i/count), i = 0 .. count-1, float32."""
    return torch.exp(torch.arange(count, dtype=torch.float32) * (-math.log(period) / count))


def sinusoid(c_noise: Float[Tensor, "*S"], width: int, period: float = PERIOD) -> Float[Tensor, "*S {width}"]:
    """Return cosines, then sines, of c_noise·frequency; in float32 or better, as bf16 cannot hold 999."""
    c_noise = c_noise.to(torch.promote_types(c_noise.dtype, torch.float32))
    angle = c_noise[..., None] * frequencies(width // 2, period).to(c_noise.device)
    return torch.cat([angle.cos(), angle.sin()], dim=-1)


def grid_sinusoid(grid: Grid, width: int) -> Float[Tensor, "T {width}"]:
    """Return fixed positions of a grid: half the width codes the row, half the column (MAE, He et al. 2022, A.1)."""
    row = sinusoid(torch.arange(grid[0]).float(), width // 2)
    column = sinusoid(torch.arange(grid[1]).float(), width // 2)
    height, breadth = grid
    return torch.cat([row[:, None].expand(-1, breadth, -1), column[None].expand(height, -1, -1)], dim=-1).flatten(0, 1)


def window_positions(grid: Grid, trained: Grid, width: int) -> Float[Tensor, "T {width}"]:
    """Return fixed positions inside a window: half the width codes the column, half the row; sines, then cosines.

    Positions of a grid of another size are scaled to the trained one's range. He et al. 2022 (MAE), appendix A.1.
    """

    def along(count: int, places: int) -> Float[Tensor, "{count} w"]:
        place = ((torch.arange(count) + 0.5) * places / count - 0.5)[:, None]
        angle = place * frequencies(width // 4)
        return torch.cat([angle.sin(), angle.cos()], dim=-1)

    (height, breadth), (rows, columns) = grid, trained
    column = along(breadth, columns)[None].expand(height, -1, -1)
    row = along(height, rows)[:, None].expand(-1, breadth, -1)
    return torch.cat([column, row], dim=-1).flatten(0, 1)


def grid_rotation(grid: Grid, head_width: int, num_extra: int) -> Rotation:
    """Return cosine and sine tables of axial rotary positions; extra tokens in front of the image are not rotated.

    Half of the angles follow the row, half the column; element i is paired with element i + d/2.
    Heo et al. 2024 (arXiv 2403.13298), Eqs. 9 and 10.
    """
    rate = frequencies(head_width // 4, ROPE_PERIOD)
    row = torch.arange(grid[0]).float()[:, None, None] * rate
    column = torch.arange(grid[1]).float()[None, :, None] * rate
    angle = torch.cat([row.expand(-1, grid[1], -1), column.expand(grid[0], -1, -1)], dim=-1).flatten(0, 1)
    angle = F.pad(torch.cat([angle, angle], dim=-1), (0, 0, num_extra, 0))
    return angle.cos(), angle.sin()


def rotate(x: Float[Tensor, "B h T d"], rotation: Rotation) -> Float[Tensor, "B h T d"]:
    """Rotate each pair (x_i, x_{i+d/2}) by its token's angle. Su et al. 2021 (RoFormer), Eq. 34."""
    cosine, sine = rotation
    first, second = x.chunk(2, dim=-1)
    return (x * cosine + torch.cat([-second, first], dim=-1) * sine).to(x.dtype)


class HeadNorm(nn.Module):
    """Root-mean-square norm over the last axis with a learned scale, in the dtype of its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))

    def forward(self, x: Float[Tensor, "B h T d"]) -> Float[Tensor, "B h T d"]:
        """Return x / sqrt(mean(x^2)) · scale. Zhang & Sennrich 2019, Eq. 4."""
        return F.rms_norm(x, self.scale.shape, self.scale.to(x.dtype), eps=1e-6)


class Attention(nn.Module):
    """Multi-head self-attention: softmax(q k^T / sqrt(d)) v. Vaswani et al. 2017, Eq. 1.

    Args:
        width: L.
        heads: h; divides L.
        qk_norm: Root-mean-square norm of q and k over d, with a learned scale shared by the heads
            (Dehghani et al. 2023 and Esser et al. 2024: keeps the logits of wide, deep stacks bounded).
        qkv_bias: Add a bias to q, k and v.
    """

    def __init__(self, width: int, heads: int, *, qk_norm: bool = False, qkv_bias: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = Linear(width, 3 * width, bias=qkv_bias)
        self.proj = Linear(width, width)
        self.norm_q = HeadNorm(width // heads) if qk_norm else None
        self.norm_k = HeadNorm(width // heads) if qk_norm else None

    def forward(self, x: Tokens, rotation: Rotation | None = None, window: int | None = None) -> Tokens:
        """Attend among all tokens, or inside each window of ``window`` consecutive tokens; shape kept."""
        T, L = x.shape[1:] if window is None else (window, x.shape[2])
        q, k, v = (_headed(rows.reshape(-1, T, L), self.heads) for rows in self.qkv(x).chunk(3, dim=-1))
        if self.norm_q is not None and self.norm_k is not None:
            q, k = self.norm_q(q), self.norm_k(k)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        return self.proj(attend(q, k, v).view(x.shape))


class CrossAttention(nn.Module):
    """Multi-head attention of tokens to those of a context: softmax(q k^T / sqrt(d)) v. Vaswani et al. 2017, Eq. 1.

    Args:
        width: L, the width of tokens and context.
        heads: h; divides L.
        qk_norm: Norm q and k, as ``Attention`` does.
    """

    def __init__(self, width: int, heads: int, *, qk_norm: bool = False) -> None:
        super().__init__()
        self.heads = heads
        self.q = Linear(width, width)
        self.kv = Linear(width, 2 * width)
        self.proj = Linear(width, width)
        self.norm_q = HeadNorm(width // heads) if qk_norm else None
        self.norm_k = HeadNorm(width // heads) if qk_norm else None

    def forward(self, x: Tokens, context: Float[Tensor, "B M D"]) -> Tokens:
        """Attend from the T tokens of x to the M tokens of the context: (B, T, L) → (B, T, L)."""
        q = self.q(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
        k, v = (_headed(rows, self.heads) for rows in self.kv(context).chunk(2, dim=-1))
        if self.norm_q is not None and self.norm_k is not None:
            q, k = self.norm_q(q), self.norm_k(k)
        # Contexts are short, so kernels are not timed here; on meta tensors matmul's products can be counted.
        kernel = matmul if q.device.type == "meta" else fused
        return self.proj(kernel(q, k, v).transpose(1, 2).flatten(2))


def _headed(rows: Tokens, heads: int) -> Float[Tensor, "B h T d"]:
    """Split tokens into heads: (B, T, L) → (B, h, T, d). Contiguous except during export, where the runtime decides.

    Uses four axes at most: many devices support no fifth.
    """
    headed = rows.unflatten(2, (heads, -1)).transpose(1, 2)
    return headed if torch.compiler.is_exporting() else headed.contiguous()


class Mlp(nn.Module):
    """MLP of each token: linear, GELU (exact, or by the tanh formula), linear."""

    def __init__(self, width: int, ratio: int, *, gelu: Gelu = "none") -> None:
        super().__init__()
        self.widen = Linear(width, ratio * width, gelu=gelu)
        self.narrow = Linear(ratio * width, width)

    def forward(self, x: Tokens) -> Tokens:
        """Apply the MLP to each token; shape kept."""
        return self.narrow(self.widen(x))


class Depthwise(nn.Module):
    """Zero-padded depthwise 3x3 convolution over the image tokens: gives positions without a table.

    Zero padding marks the border, and stacked blocks carry that mark inwards. Placed on the residual stream in front of
    the attention: x + conv(x), as the conditional position encoding of Chu et al. 2021 (arXiv 2102.10882) and in every
    block as in Li et al. 2022 (UniFormer, arXiv 2201.09450), Eq. 1.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)

    def forward(self, x: Tokens, grid: Grid) -> Tokens:
        """Return x + conv(x) on the image tokens; the extra tokens in front of them stay as they are."""
        num_extra = x.shape[1] - grid[0] * grid[1]
        image = x[:, num_extra:].unflatten(1, grid).permute(0, 3, 1, 2)  # B L H W, channels last in memory: no copy
        moved = self.conv(image).permute(0, 2, 3, 1).flatten(1, 2)
        return x + F.pad(moved, (0, 0, num_extra, 0))


class Block(nn.Module):
    """Pre-norm transformer block, shape kept: x += attention(norm(x)); x += mlp(norm(x)).

    It has 12 L^2 + 10 L weights at MLP ratio 4; 10 L more with the depthwise convolution, 6 L^2 + 6 L when modulated.

    Args:
        width: L.
        heads: h.
        mlp_ratio: Hidden width of the MLP over L.
        qk_norm: Norm q and k.
        depthwise: Put a zero-padded depthwise 3x3 convolution over the image tokens in front of the attention.
        modulated: Shift, scale and gate by a condition vector (adaLN-Zero; Peebles & Xie 2023, section 3.2).
        qkv_bias: Add a bias to q, k and v: 3 L more weights.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: int,
        *,
        qk_norm: bool,
        depthwise: bool,
        modulated: bool,
        qkv_bias: bool = False,
    ) -> None:
        super().__init__()
        self.depthwise = Depthwise(width) if depthwise else None
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads, qk_norm=qk_norm, qkv_bias=qkv_bias)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = Mlp(width, mlp_ratio)
        self.modulation = Linear(width, 6 * width) if modulated else None

    def forward(
        self, x: Tokens, grid: Grid, rotation: Rotation | None = None, modulator: Float[Tensor, "B D"] | None = None
    ) -> Tokens:
        """Apply the block: (B, T, L) → (B, T, L); the last H·W tokens are the image on ``grid``."""
        if self.depthwise is not None:
            x = self.depthwise(x, grid)
        if self.modulation is None or modulator is None:
            x = x + self.attention(self.norm_attention(x), rotation)
            return x + self.mlp(self.norm_mlp(x))
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(F.silu(modulator))[:, None].chunk(
            6, dim=-1
        )
        x = x + gate_a * self.attention(self.norm_attention(x) * (1 + scale_a) + shift_a, rotation)
        return x + gate_m * self.mlp(self.norm_mlp(x) * (1 + scale_m) + shift_m)


class CrossBlock(nn.Module):
    """Pre-norm block with a context: x += attention(norm(x)); x += cross(norm(x), context); x += mlp(norm(x)).

    Source: Rombach et al., 2112.10752, section 3.3 and appendix E.2.1.

    Args:
        width: L.
        heads: h.
        mlp_ratio: Hidden width of the MLP over L.
        qk_norm: Norm q and k of both attentions.
    """

    def __init__(self, width: int, heads: int, mlp_ratio: int, *, qk_norm: bool) -> None:
        super().__init__()
        self.norm_attention = nn.LayerNorm(width)
        self.attention = Attention(width, heads, qk_norm=qk_norm, qkv_bias=True)
        self.norm_cross = nn.LayerNorm(width)
        self.cross = CrossAttention(width, heads, qk_norm=qk_norm)
        self.norm_mlp = nn.LayerNorm(width)
        self.mlp = Mlp(width, mlp_ratio)

    def forward(self, x: Tokens, context: Float[Tensor, "B M D"]) -> Tokens:
        """Apply the block: (B, T, L), context (B, M, L) → (B, T, L)."""
        x = x + self.attention(self.norm_attention(x))
        x = x + self.cross(self.norm_cross(x), context)
        return x + self.mlp(self.norm_mlp(x))


class ModulatedBlock(nn.Module):
    """adaLN-Zero block: x += gate·f(norm(x)·(1 + scale) + shift), f attention, then MLP. Peebles & Xie 2023, Fig. 3.

    The norms have no weights of their own. All tokens of an image share one modulation, whatever windows they attend
    in: it is computed once per image and broadcast.

    Args:
        width: L.
        heads: h.
        mlp_ratio: Hidden width of the MLP over L.
        vector_width: Width V of the vector that modulates.
        depthwise: Put a zero-padded depthwise 3x3 convolution over each window in front of the attention.
        qk_norm: Norm q and k.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        mlp_ratio: int,
        vector_width: int,
        *,
        depthwise: bool = False,
        qk_norm: bool = False,
    ) -> None:
        super().__init__()
        self.depthwise = Depthwise(width) if depthwise else None
        self.attention = Attention(width, heads, qk_norm=qk_norm, qkv_bias=True)
        self.mlp = Mlp(width, mlp_ratio, gelu="tanh")
        self.modulation = Linear(vector_width, 6 * width)

    def forward(self, x: Tokens, vector: Float[Tensor, "B V"], grid: Grid) -> Tokens:
        """Apply the block; shape kept.

        Args:
            x: (B, T, L), window after window.
            vector: (B, V), the modulating vector of each image, after its SiLU.
            grid: Height and width of one window in tokens; the tokens of a window attend to each other.
        """
        window = grid[0] * grid[1]
        if self.depthwise is not None:
            x = self.depthwise(x.reshape(-1, window, x.shape[2]), grid).view(x.shape)
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulation(vector)[:, None].chunk(6, dim=-1)
        x = torch.addcmul(x, gate_a, self.attention(modulated_norm(x, scale_a, shift_a), window=window))
        return torch.addcmul(x, gate_m, self.mlp(modulated_norm(x, scale_m, shift_m)))


def modulated_norm(x: Tokens, scale: Float[Tensor, "B 1 D"], shift: Float[Tensor, "B 1 D"]) -> Tokens:
    """Return LayerNorm(x)·(1 + scale) + shift, the norm without weights. Peebles & Xie 2023, section 3.2."""
    return torch.addcmul(shift, F.layer_norm(x, x.shape[-1:], eps=1e-6), 1 + scale)


class TimeVector(nn.Module):
    """Embedding of the noise level that modulates the blocks: a sinusoid, then two layers. Peebles & Xie 2023.

    Args:
        width: L, the width of the result.
        num_waves: Width of the sinusoid, half of it cosines; L by default.
    """

    def __init__(self, width: int, num_waves: int | None = None) -> None:
        super().__init__()
        self.num_waves = num_waves or width
        self.first = Linear(self.num_waves, width)
        self.second = Linear(width, width)

    def forward(self, c_noise: Sigma) -> Float[Tensor, "B D"]:
        """Embed c_noise: (B,) → (B, L)."""
        return self.second(F.silu(self.first(sinusoid(c_noise, self.num_waves))))


def initialize(module: nn.Module) -> None:
    """Draw linear weights from a truncated normal of 0.02, zero biases; others stay PyTorch's. Bao et al. 2023."""
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
    for part in module.modules():
        if isinstance(part, Block) and part.modulation is not None:
            nn.init.zeros_(part.modulation.weight)  # adaLN-Zero: every block starts as the identity
