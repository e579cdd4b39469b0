"""What a recording can ask for by type, beside `Routing` and `Branching`: hidden activations and attention.

A model need not return these types: the recorder finds the places where they arise (`anatomy`) and reads them there.
"""

from typing import NamedTuple

from torch import Tensor


class Activations(NamedTuple):
    """What the hidden units of one block say: after the nonlinearity, and of gated units after the product.

    Shapes: values (..., units); the channels of a convolution are its units and come last: (inputs, rows, columns, units).
    """

    values: Tensor


class Attention(NamedTuple):
    """How much each query looks at each key.

    Shapes: weights (..., heads, queries, keys), non-negative, sums to 1 over keys (before dropout).
    """

    weights: Tensor
