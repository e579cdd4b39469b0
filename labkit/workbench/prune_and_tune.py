"""Train, prune, train on: networks that know how they will be pruned, and what is measured of all ways alike.

A `Prunable` is trained by `PruneAndTune`; afterwards it still has the state before it was pruned, and the probes take it out
again and prune it to other densities. Everything random is drawn from the seed and the density, so that a probe and the
training see the same pruned network.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import xarray as xr
from torch import Tensor, nn

from labkit.parts.kept import Kept
from labkit.parts.mask import weights_of
from labkit.trainers.sparse.masked_training import MaskedTraining
from labkit.transforms.prune.sparsify_weights import spectral_error, spectrum
from labkit.workbench.backprop import Backprop

ROWS = 500
"""On how many training inputs means are taken."""


class Prunable(nn.Sequential):
    """Layers in a row, and a way of pruning, (model, density, seed, task) -> another model, with a name."""

    def __init__(self, *layers: nn.Module, way: Callable[[nn.Module, float, int, Any], nn.Module], named: str):
        self.way, self.named = way, named
        self.before: dict[str, Tensor] = {}
        self.tuner: tuple[int, float] = (1, 0.01)
        """The state before pruning; steps and rate of fine-tuning: PruneAndTune fills them in."""
        self.trained_for = 0
        self.seen: dict[float, nn.Module] = {}
        self.found: dict[str, Any] = {}
        """What probes share: pruned copies by density, and anything of their own."""
        super().__init__(*layers)

    def trained(self) -> "Prunable":
        """A copy as it was before it was pruned."""
        twin = Prunable(*copy.deepcopy(list(self)), way=self.way, named=self.named)  # without what was seen of this one
        twin.load_state_dict(self.before)
        return twin

    def looked_at(self, density: float, task: Any) -> nn.Module:
        """The trained network at this density; pruned once, however many probes ask. Not to be changed."""
        if density not in self.seen:
            self.seen[density] = self.trained().pruned(density, task)
        return self.seen[density]

    def pruned(self, density: float, task: Any) -> "Prunable":
        """A pruned copy; at density 1 only a copy."""
        seed = 1000 * (torch.initial_seed() % 10**6) + round(1000 * density)
        found = self.way(self, density, seed, task) if density < 1 else copy.deepcopy(self)
        assert isinstance(found, Prunable)
        return found


@dataclass
class PruneAndTune:
    """Ordinary training up to a share of the steps, the model's own way of pruning, then training under its mask."""

    density: float
    learning_rate: float = 0.01
    tuning_rate: float = 0.03
    until: float = 0.8

    def start(self, model: nn.Module, task: Any, steps: int) -> None:
        self.task, self.taken, self.end = task, 0, max(1, round(self.until * steps))
        self.left = max(1, steps - self.end)
        self.now: Any = Backprop(learning_rate=self.learning_rate)
        self.now.start(model, task, max(3, self.end))  # a cycle of fewer steps has no way down

    def step(self, model: nn.Module, batch: tuple[Tensor, Tensor]) -> dict[str, float]:
        assert isinstance(model, Prunable)
        said = self.now.step(model, batch)
        self.taken += 1
        if self.taken == self.end:
            model.before, model.seen = {name: value.clone() for name, value in model.state_dict().items()}, {}
            model.tuner, model.trained_for = (self.left, self.tuning_rate), self.end
            model.load_state_dict(model.pruned(self.density, self.task).state_dict())
            self.now = MaskedTraining(Kept(), learning_rate=self.tuning_rate)
            self.now.start(model, self.task, self.left)
        return {"training_loss": said["training_loss"]}

    @torch.no_grad()
    def predict(self, model: nn.Module, x: Tensor) -> Tensor:
        return model.eval()(x)


@torch.no_grad()
def keep_means(dense: nn.Sequential, thin: nn.Sequential, x: Tensor) -> None:
    """Changes the biases of `thin`, layer by layer, until each unit hears as much as in `dense`, on average over these inputs."""
    wanted = found = x
    for one, other in zip(dense, thin, strict=True):
        wanted, found = one(wanted), other(found)
        if isinstance(other, nn.Linear | nn.Conv2d) and other.bias is not None:
            rest = [axis for axis in range(found.ndim) if axis != 1]
            missing = wanted.mean(rest) - found.mean(rest)
            other.bias += missing
            found = found + missing.view(-1, *[1] * (found.ndim - 2))


@torch.no_grad()
def shuffle_values(model: nn.Module, seed: int) -> None:
    """Permutes the weights that are not 0 within each layer: the places stay, and which value is where is lost."""
    draw = torch.Generator().manual_seed(seed)
    for weight in weights_of(model).values():
        values = weight[weight != 0]
        weight[weight != 0] = values[torch.randperm(len(values), generator=draw)]


def accuracies(densities: Sequence[float], tuned: Sequence[float]) -> Callable[[nn.Module, Any], xr.DataArray]:
    """A probe: (when, gone), the test accuracy as pruned and, at some densities, fine-tuned on batches of their own."""

    def probe(model: nn.Module, task: Any) -> xr.DataArray:
        assert isinstance(model, Prunable)
        values = np.full((2, 1 + len(densities)), np.nan)
        steps, rate = model.tuner
        for place, density in enumerate((1.0, *densities)):
            thin = model.looked_at(density, task)
            values[0, place] = _right(thin, task)
            if density in tuned:
                thin = copy.deepcopy(thin)
                train, batches = MaskedTraining(Kept(), learning_rate=rate), task.batches(torch.initial_seed() + 1)
                train.start(thin, task, steps)
                for _ in range(steps):
                    train.step(thin, next(batches))
                values[1, place] = _right(thin, task)
        return xr.DataArray(
            values,
            dims=("when", "gone"),
            coords={"when": ["as pruned", "fine-tuned"], "gone": gone(_whole(densities))},
            attrs={
                "long_name": "accuracy by weights gone",
                "units": "fraction",
                "view": "heatmap",
                "mean": "seeds",
                "says": "Test accuracy of what is left. Choose two ways of pruning one after the other: which row fades later?",
            },
        )

    return probe


def errors(densities: Sequence[float]) -> Callable[[nn.Module, Any], xr.DataArray]:
    """A probe: (norm, gone), how far pruning moves the weights in two norms, each as a share of the norm of the weights.

    The mean of the layers.
    """

    def probe(model: nn.Module, task: Any) -> xr.DataArray:
        assert isinstance(model, Prunable)
        dense, rows = model.looked_at(1.0, task), []
        for density in densities:
            thin = model.looked_at(density, task)
            pairs = list(zip(weights_of(dense).values(), weights_of(thin).values(), strict=True))
            length = [float((one - other).detach().norm() / one.detach().norm()) for one, other in pairs]
            rows.append([np.mean([spectral_error(*pair) for pair in pairs]), np.mean(length)])
        return xr.DataArray(
            np.transpose(rows),
            dims=("norm", "gone"),
            coords={"norm": ["spectral", "Frobenius"], "gone": gone(densities)},
            attrs={
                "long_name": "error of the weights",
                "units": "share of the norm",
                "view": "heatmap",
                "mean": "seeds",
                "says": "How far pruning moved the weights. The spectral norm sees the one direction that is changed most, the "
                "Frobenius norm adds up all of them.",
            },
        )

    return probe


def spectra(densities: Sequence[float], components: int) -> Callable[[nn.Module, Any], xr.DataArray]:
    """A probe: (gone, layer, component), the first singular values as shares of the largest before pruning."""

    def probe(model: nn.Module, task: Any) -> xr.DataArray:
        assert isinstance(model, Prunable)
        values = np.array([singular_values(model.looked_at(one, task), components) for one in _whole(densities)])
        return xr.DataArray(
            (values / values[:1, :, :1]).astype(np.float32),
            dims=("gone", "layer", "component"),
            coords={
                "gone": gone(_whole(densities)),
                "layer": layers(values.shape[1]),
                "component": counted(components),
            },
            attrs={
                "long_name": "singular values before and after",
                "units": "share of the largest before",
                "view": "heatmap",
                "mean": "seeds",
                "says": "The first row is the trained layer, strongest direction on the left. A way that keeps the spectrum has "
                "rows like the first one; where a row fades, directions are lost, and where it is brighter, noise has come.",
            },
        )

    return probe


def singular_values(model: nn.Module, components: int) -> np.ndarray:
    """The first of each layer, (layer, component); NaN where a layer has fewer."""
    rows = [spectrum(weight)[:components].numpy() for weight in weights_of(model).values()]
    return np.array([np.pad(row, (0, components - len(row)), constant_values=np.nan) for row in rows], dtype=np.float32)


def gone(densities: Sequence[float]) -> tuple[str, list[float], dict[str, str]]:
    """The axis of all of these: how many percent of the weights are gone, 0 of the trained network."""
    return "gone", [round(100 * (1 - density), 6) for density in densities], {"long_name": "weights gone", "units": "%"}


def layers(count: int) -> list[str]:
    return [f"layer {place}" for place in range(1, count + 1)]


def _whole(densities: Sequence[float]) -> list[float]:
    return [1.0, *densities]


def counted(many: int) -> tuple[str, np.ndarray, dict[str, str]]:
    return "component", np.arange(1, many + 1), {"long_name": "direction, strongest first"}


@torch.no_grad()
def _right(model: nn.Module, task: Any) -> float:
    x, target = task.test()
    return task.accuracy(model.eval()(x), target)
