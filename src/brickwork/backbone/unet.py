"""U-Nets that transformers are compared with, from diffusers: of latents (LDM) and of pixels (DDPM, ADM).

The layers are those of diffusers (https://github.com/huggingface/diffusers, Apache-2.0); sizes, conditions, attention
kernels and initial weights are set here, so that a U-Net trains, samples and counts like every other backbone.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

import torch
from torch import Tensor, nn

from brickwork.backbone.base import Backbone, BackboneConfig, beside
from brickwork.backbone.stem import ClassRows, TextRows, TextVector, labels_of, on_pixels
from brickwork.bounds import at_least
from brickwork.diffusion.denoiser import Condition
from brickwork.errors import ArgumentError, ConfigError, MissingExtraError
from brickwork.nn.attention import attend, fused, matmul
from brickwork.nn.floats import float32_default
from brickwork.nn.linear import Linear
from brickwork.nn.shapes import Image, Sigma

DESIGNS = ("ldm", "ddpm", "adm")
LAST = re.compile(r"(^|\.)(conv2|proj_out|conv_out|attentions\.\d+\.to_out\.0)$")
"""Last layer of each residual branch and of the network, by its name in diffusers."""


@dataclass(frozen=True, kw_only=True)
class UnetConfig(BackboneConfig):
    """Options of the design; known to users as ``Unet.Config``."""

    design: Literal["ldm", "ddpm", "adm"] = "ldm"
    """ldm: transformers in the levels read class and text by cross-attention. ddpm: self-attention; class and text are
    added to the time. adm: like ddpm, but they scale and shift, and residual blocks change the resolution."""
    widths: tuple[int, ...] = (64, 128, 256)
    """Channels of each level, from the finest on; each next level has half the height and width."""
    num_blocks: Annotated[int, at_least(1)] = 2
    """Residual blocks of a level on the way down; on the way up there is one more."""
    attention: tuple[int, ...] = (0, 1, 2)
    """Levels with attention, 0 the finest; the middle always has it."""
    head_width: int | None = 32
    """Channels of one attention head; None for a single head."""
    context_width: Annotated[int, at_least(1)] = 512
    """Channels of the rows of class and text that cross-attention reads; design ldm alone."""
    groups: Annotated[int, at_least(1)] = 32
    """Groups of the group norms; they divide every width."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.widths:
            raise ConfigError("widths (): give the channels of at least one level")
        levels = range(len(self.widths))
        if any(level not in levels for level in self.attention):
            raise ConfigError(f"attention {self.attention}: levels are 0 to {len(self.widths) - 1}")
        for level, width in enumerate(self.widths):
            if width < 1 or width % self.groups:
                raise ConfigError(f"width {width}: groups {self.groups} must divide it")
            attended = level in self.attention or level == levels[-1]
            if attended and self.head_width is not None and (self.head_width < 1 or width % self.head_width):
                raise ConfigError(
                    f"width {width}: head_width {self.head_width} must divide it, or be None for one head"
                )
        if self.size % self.multiple:
            raise ConfigError(
                f"size {self.size}: it is halved {len(self.widths) - 1} times; take a multiple of {self.multiple}"
            )

    @property
    def multiple(self) -> int:
        """Divisor of the sides, in pixels: a factor of two for each halving."""
        return 2 ** (len(self.widths) - 1)

    @property
    def vector_width(self) -> int:
        """Channels of the time embedding, to which designs other than ldm add class and text."""
        return 4 * self.widths[0]

    @float32_default()
    def build(self) -> Unet:
        """Build the network with fresh weights.

        Raises:
            MissingExtraError: diffusers is not installed.
        """
        return Unet(self)


@final
class Unet(Backbone):
    """U-Net. Its output is exactly zero at the start.

    Source: Rombach et al. 2022 (LDM, 2112.10752), appendix E.2; Ho et al. 2020 (DDPM, 2006.11239), appendix B; Dhariwal
    and Nichol 2021 (ADM, 2105.05233), section 3. With one row of context, a softmax over one entry, the queries and
    keys of the cross-attentions of ldm learn nothing: they are counted because the published sizes count them.
    """

    Config = UnetConfig

    def __init__(self, config: UnetConfig) -> None:
        super().__init__()
        self._config = c = config
        self.classes: ClassRows | None = None
        self.text: TextRows | TextVector | None = None
        width = c.context_width if c.design == "ldm" else c.vector_width
        if c.num_classes or (c.design == "ldm" and not c.text_length):  # cross-attention needs at least one row
            self.classes = ClassRows(c.num_classes, 1, width)
        if c.text_length:
            self.text = (TextRows if c.design == "ldm" else TextVector)(c.text_length, c.text_width, width)
        self.network = _with_our_layers(_of_latents(c) if c.design == "ldm" else _of_pixels(c))
        _begin_at_zero(self.network)

    @property
    def config(self) -> UnetConfig:
        """Config of the network."""
        return self._config

    def forward(self, x: Image, c_noise: Sigma, condition: Condition) -> Image:
        """Evaluate the network once; see ``Backbone.forward``.

        Raises:
            ArgumentError: The image's sides cannot be halved as often as there are levels, or its channels or the text
                have another shape.
        """
        c, (H, W) = self._config, x.shape[2:]
        if H % c.multiple or W % c.multiple:
            raise ArgumentError(f"image of {H}x{W} pixels: {c.multiple} must divide both; pad or resize it")
        rows = [] if self.classes is None else [self.classes(labels_of(condition, c_noise))]
        if isinstance(self.text, TextRows):
            rows.append(self.text(condition.text, x))
        elif isinstance(self.text, TextVector):
            rows.append(self.text(condition.text, c_noise)[:, None])
        told: dict[str, Tensor] = {}
        if c.design == "ldm":
            told["encoder_hidden_states"] = torch.cat(rows, dim=1)
        elif rows:
            told["class_labels"] = torch.cat(rows, dim=1).sum(dim=1)
        return self.network(beside(x, condition, c), c_noise, **told, return_dict=False)[0]

    def compilable(self) -> Sequence[nn.Module]:
        """Return the whole network."""
        return [self.network]


@final
class HeadProducts(nn.Module):
    """Attention processor for diffusers with the kernel that is fastest here: softmax(q k^T / sqrt(d)) v.

    Vaswani et al. 2017, Eq. 1. The layers stay those of diffusers, which passes them in.
    """

    def __call__(
        self,
        layers: Any,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor | None = None,
        attention_mask: None = None,
        temb: Tensor | None = None,
    ) -> Tensor:
        """Call ``forward``; diffusers looks these argument names up and complains if one is missing."""
        return super().__call__(layers, hidden_states, encoder_hidden_states)

    def forward(self, layers: Any, hidden_states: Tensor, encoder_hidden_states: Tensor | None = None) -> Tensor:
        """Attend: rows (B, T, L), or an image (B, L, H, W), in and out, to the context (B, M, E) or to themselves."""
        rows = hidden_states.flatten(2).mT if hidden_states.ndim == 4 else hidden_states
        if layers.group_norm is not None:
            rows = layers.group_norm(rows.mT).mT
        context = rows if encoder_hidden_states is None else encoder_hidden_states
        q, k, v = (
            product(source).unflatten(2, (layers.heads, -1)).transpose(1, 2).contiguous()
            for product, source in ((layers.to_q, rows), (layers.to_k, context), (layers.to_v, context))
        )
        if encoder_hidden_states is None:
            out = attend(q, k, v)
        else:  # contexts are short, so no kernel is measured; on meta tensors MACs can be counted
            out = (matmul if q.device.type == "meta" else fused)(q, k, v).transpose(1, 2).flatten(2)
        out = layers.to_out[0](out)
        out = out.mT.reshape(hidden_states.shape) if hidden_states.ndim == 4 else out
        out = out + hidden_states if layers.residual_connection else out
        return out / layers.rescale_output_factor


@final
class PixelConvolution(nn.Conv2d):
    """Convolution that reads pixels, in fp32 under autocast too; see ``on_pixels``."""

    def forward(self, input: Image) -> Tensor:  # noqa: A002 - the name torch gives it
        """Apply the convolution."""
        return on_pixels(super().forward, input)


def _diffusers() -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise MissingExtraError("peers", "diffusers", "a U-Net backbone") from error
    return diffusers


def _of_latents(c: UnetConfig) -> nn.Module:
    """Build spatial transformers with cross-attention at the attended levels; attention and heads follow LDM."""
    levels = [level in c.attention for level in range(len(c.widths))]
    return _diffusers().UNet2DConditionModel(
        **_common(c),
        down_block_types=tuple("CrossAttnDownBlock2D" if attended else "DownBlock2D" for attended in levels),
        up_block_types=tuple("CrossAttnUpBlock2D" if attended else "UpBlock2D" for attended in reversed(levels)),
        cross_attention_dim=c.context_width,
        # The argument's name is an old mistake of diffusers: these are numbers of heads.
        attention_head_dim=tuple(width // (c.head_width or width) for width in c.widths),
    )


def _of_pixels(c: UnetConfig) -> nn.Module:
    """Build self-attention at the attended levels; class and text arrive as one vector."""
    levels = [level in c.attention for level in range(len(c.widths))]
    adm = c.design == "adm"
    plain = ("ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D") if adm else ("DownBlock2D", "UpBlock2D")
    return _diffusers().UNet2DModel(
        **_common(c),
        down_block_types=tuple("AttnDownBlock2D" if attended else plain[0] for attended in levels),
        up_block_types=tuple("AttnUpBlock2D" if attended else plain[1] for attended in reversed(levels)),
        attention_head_dim=c.head_width,
        class_embed_type="identity" if c.num_classes or c.text_length else None,
        downsample_type="resnet" if adm else "conv",
        upsample_type="resnet" if adm else "conv",
        resnet_time_scale_shift="scale_shift" if adm else "default",
        attn_norm_num_groups=c.groups,
    )


def _common(c: UnetConfig) -> dict[str, Any]:
    """Return the arguments that both networks take."""
    return {
        "sample_size": c.size,
        "in_channels": c.in_channels,
        "out_channels": c.channels,
        "block_out_channels": c.widths,
        "layers_per_block": c.num_blocks,
        "norm_num_groups": c.groups,
    }


def _with_our_layers(network: nn.Module) -> nn.Module:
    """Replace linear layers and attentions by those with the kernels that are fastest here; names stay."""
    for name, module in list(network.named_modules()):
        new: nn.Module | None = None
        if name == "conv_in" and isinstance(module, nn.Conv2d):
            new = PixelConvolution(module.in_channels, module.out_channels, 3, padding=1)
        elif isinstance(module, nn.Linear):
            new = Linear(module.in_features, module.out_features, bias=module.bias is not None)
        elif set_processor := getattr(module, "set_processor", None):
            set_processor(HeadProducts())
        if new is not None:
            network.set_submodule(name, new)
    return network


def _begin_at_zero(network: nn.Module) -> None:
    """Zero the last layer of every residual branch and the output, as in LDM and ADM; the rest keeps torch's values."""
    for name, module in network.named_modules():
        if LAST.search(name):
            nn.init.zeros_(module.get_parameter("weight"))
            nn.init.zeros_(module.get_parameter("bias"))
