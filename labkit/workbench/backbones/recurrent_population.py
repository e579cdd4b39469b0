"""Many small recurrent networks side by side, each on a graph of its own, in a few batched products.

A network has layers, and its graph says which unit of a layer hears which unit of an earlier one. Within a layer every unit
hears all of that layer one step before: that is the recurrence.

    h_v(t) = tanh(b_v + sum over u -> v of w_vu h_u(t) + sum over v' in the layer of v of r_vv' h_v'(t - 1))

The units of the first layer hear the sign that is read, as a vector. The units of the last layer are what the output reads, after
the last sign. Symbols: w the weights of the edges, r the recurrent ones, b a bias, t the time.

All networks run in batches of one shape: shorter ones end early, and narrower layers are filled up with units that have no
weights and say 0. Only weights that exist are learned. So each network learns exactly as it would alone, if the optimizer does so
weight by weight, as Adam does.

Source: "Investigating Sparsity in Recurrent Neural Networks" (P074), as in its published code, with one difference: there an edge
that leaps over layers ends in a second recurrent unit whose value is added to that of the first; here a unit has all its edges
inside the tanh.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Plan:
    """One network: (nodes, nodes) who hears whom, nodes in the order of the layers; their widths; how wide a sign's vector is."""

    mask: Tensor
    widths: list[int]
    embedded: int

    def weights(self, signs: int, classes: int) -> int:
        """How many numbers it learns."""
        into = signs * self.embedded + self.embedded * self.widths[0]
        edges, along = int(self.mask.sum()), sum(width * width + width for width in self.widths)
        return into + edges + along + (self.widths[-1] + 1) * classes


class RecurrentPopulation(nn.Module):
    """One network for each plan. (rows, places) sign numbers -> (rows, networks, classes).

    Raises: ValueError where a plan's mask does not fit its widths, or has an edge that leads back or stays in its layer.
    """

    def __init__(self, plans: Sequence[Plan], signs: int, classes: int):
        super().__init__()
        for plan in plans:
            _refuse_unlayered(plan)
        order = sorted(range(len(plans)), key=lambda at: -len(plans[at].widths))
        self.plans = [plans[at] for at in order]
        self.back = torch.argsort(torch.tensor(order))
        """Networks are kept with the deepest first, so that those that reach a layer are the first so many."""
        self.reach = [
            sum(len(plan.widths) > layer for plan in self.plans) for layer in range(len(self.plans[0].widths))
        ]
        wide = [max(plan.widths[layer] for plan in self.plans[:many]) for layer, many in enumerate(self.reach)]
        embedded = max(plan.embedded for plan in self.plans)
        inputs = [embedded, *(sum(wide[:layer]) for layer in range(1, len(wide)))]
        self.shapes = [
            (len(plans), signs, embedded),
            (len(plans), max(wide), classes),
            (len(plans), 1, classes),
            *zip(self.reach, inputs, wide, strict=True),
            *zip(self.reach, wide, wide, strict=True),
            *((many, 1, width) for many, width in zip(self.reach, wide, strict=True)),
        ]
        """What `padded` gives: the signs' vectors, what the output reads, its bias; all into, all along, all biases of layers."""
        first = [torch.full(shape, torch.nan) for shape in self.shapes]
        starts = [sum(wide[:layer]) for layer in range(len(wide))]
        for network, plan in enumerate(self.plans):
            self._draw(first, network, plan, starts)
        flat = torch.cat([one.flatten() for one in first])
        there = ~flat.isnan()
        self.values = nn.Parameter(flat[there])
        """The numbers that are learned, of all networks, and nothing else."""
        index = torch.full((len(flat),), len(self.values))
        index[there] = torch.arange(len(self.values))
        self.register_buffer("index", index)

    def _draw(self, first: list[Tensor], network: int, plan: Plan, starts: list[int]) -> None:
        """First weights as torch draws them for an embedding, recurrent layers and a linear one of these widths."""
        deep, last = len(self.reach), plan.widths[-1]
        table, read, read_bias = (one[network] for one in first[:3])
        table[:, : plan.embedded].normal_()
        places = [start + at for start, width in zip(starts, plan.widths, strict=False) for at in range(width)]
        for layer, width in enumerate(plan.widths):
            reach, before = width**-0.5, sum(plan.widths[:layer])
            into, along, bias = (first[3 + group * deep + layer][network] for group in range(3))
            if layer:
                heard = plan.mask[before : before + width, :before].T
                drawn = torch.empty(before, width).uniform_(-reach, reach)
                into[places[:before], :width] = torch.where(heard, drawn, torch.nan)
            else:
                into[: plan.embedded, :width].uniform_(-reach, reach)
            along[:width, :width].uniform_(-reach, reach)
            bias[:, :width].uniform_(-reach, reach)
        read[:last].uniform_(-(last**-0.5), last**-0.5)
        read_bias.uniform_(-(last**-0.5), last**-0.5)

    def padded(self) -> list[Tensor]:
        """All weights in batches, 0 where a network has none: see `shapes`."""
        sizes = [math.prod(shape) for shape in self.shapes]
        flat = F.pad(self.values, (0, 1))[self.get_buffer("index")].split(sizes)
        return [one.view(shape) for one, shape in zip(flat, self.shapes, strict=True)]

    def forward(self, x: Int[Tensor, "rows places"]) -> Float[Tensor, "rows networks classes"]:
        (rows, places), deep = x.shape, len(self.reach)
        table, read, read_bias, *layers = self.padded()
        heard = table[:, x.T.flatten()]
        said: list[Tensor] = []
        answers: list[Tensor] = []
        for layer, many in enumerate(self.reach):
            into, along, bias = layers[layer::deep]
            if layer:
                heard = torch.cat([one[:many].flatten(1, 2) for one in said], -1)
            now = torch.baddbmm(bias, heard, into).unflatten(1, (places, rows)).unbind(1)
            state = torch.tanh(now[0])
            states = [state]
            for one in now[1:]:
                state = torch.tanh(torch.baddbmm(one, state, along))
                states.append(state)
            said.append(torch.stack(states, 1))
            deeper = self.reach[layer + 1] if layer + 1 < deep else 0
            if deeper < many:
                mine = slice(deeper, many)
                answers.append(torch.baddbmm(read_bias[mine], state[mine], read[mine, : state.shape[-1]]))
        return torch.cat(answers[::-1])[self.back].transpose(0, 1)


def _refuse_unlayered(plan: Plan) -> None:
    many = sum(plan.widths)
    if plan.mask.shape != (many, many):
        raise ValueError(f"Layers of {plan.widths} need a mask of {(many, many)}, not {tuple(plan.mask.shape)}.")
    layer = torch.repeat_interleave(torch.arange(len(plan.widths)), torch.tensor(plan.widths))
    if bool((plan.mask & (layer[:, None] <= layer)).any()):
        raise ValueError("An edge leads from a layer to a later one; this mask has one that leads back or stays.")
