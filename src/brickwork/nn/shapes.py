"""Shape types; letters: B batch, C channels, H and W pixels, L tokens, D width, M text tokens, E text width."""

from jaxtyping import Float, Int
from torch import Tensor

Image = Float[Tensor, "B C H W"]
Tokens = Float[Tensor, "B L D"]
Sigma = Float[Tensor, "B"]
Label = Int[Tensor, "B"]
Text = Float[Tensor, "B M E"]
