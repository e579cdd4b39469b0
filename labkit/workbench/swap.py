"""Put another layer into the feedforward places of any model, at the same cost, and take it out again.

    with swap(model, "blocks.*.mlp", build, match="parameters") as swapped:
        print(swapped)          # what was replaced, by what size, at which cost
        ...                     # train or measure; behind the block the model is as it was

`build(in_width, out_width, size)` makes a layer; with `match` the size is looked for at which it costs what it replaces.
The old modules are kept as they are, so `back()` gives the very same model. Weights are not carried over: a new layer
starts as it was drawn, and the model has to be trained again.
"""

import html
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal, Self

import torch
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.recording.anatomy import anatomy
from labkit.workbench.budget import flops, latency, parameters
from labkit.workbench.matching import matched

Match = Literal["parameters", "active_flops", "latency"]
Build = Callable[..., nn.Module]
UNITS = {"parameters": "parameters", "active_flops": "FLOPs an input", "latency": "of its time"}
ROWS, REPEATS = 256, 15


@dataclass(frozen=True)
class Place:
    """One replaced module: where, its widths, the size that was found, and the cost of old and new (None unmatched)."""

    name: str
    in_width: int
    out_width: int
    size: int | None
    before: float | None
    after: float | None


class Swap:
    """What was replaced. `back()` undoes it; as a context it undoes itself."""

    def __init__(self, model: nn.Module, places: Sequence[Place], old: Sequence[tuple[nn.Module, str, nn.Module]], by):
        self.model, self.places, self.by = model, tuple(places), by
        self._old = list(old)

    def back(self) -> nn.Module:
        """Put the old modules back, the same objects with the weights they have; a second call does nothing."""
        for holder, name, module in self._old:
            setattr(holder, name, module)
        self._old = []
        return self.model

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.back()

    def _rows(self) -> list[tuple[str, ...]]:
        rows = []
        for place in self.places:
            size = "" if place.size is None else f"{place.size:,}"
            cost = ""
            if place.before is not None and place.after is not None:
                cost = f"{place.after:,.0f} for {place.before:,.0f}"
                cost = f"{place.after / place.before:.2f}" if self.by == "latency" else cost
            rows.append((place.name, f"{place.in_width} to {place.out_width}", size, cost))
        return rows

    def __str__(self) -> str:
        unit = f", matched by {UNITS[self.by]}" if self.by else ""
        lines = [f"{len(self.places)} places replaced{unit}:"]
        return "\n".join(lines + ["  ".join(filter(None, row)) for row in self._rows()])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        cost = {"latency": "Time, new / old"}.get(self.by or "", f"{UNITS.get(self.by or '', 'cost').capitalize()}")
        head = "".join(f'<th scope="col">{word}</th>' for word in ("Place", "Widths", "Size", cost))
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in self._rows()
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def swap(
    model: nn.Module, where: str | Sequence[str], build: Build, *, match: Match | None = None, example: Any = None
) -> Swap:
    """Replace every module whose name fits a pattern (`blocks.*.mlp`) by a layer of one's own, in place.

    Without `match`, `build(in_width, out_width)` is called; with it, `build(in_width, out_width, size)` at the size whose
    cost comes nearest to that of the old module: its parameters, the FLOPs it computes for an input in evaluation, or
    its measured time (noisy: within some percent). `example` is a batch for the model: a Tensor, a tuple or a Mapping of
    arguments. It is needed for FLOPs and time, and where the widths cannot be read off the old module.

    A module that several places share is replaced by one new layer, which they share. New layers take over the type and
    device of the weights and whether the model trains.
    Raises: LabError where no module fits, where a module takes or gives more than one tensor, or where no size fits;
    the model is then as before.
    """
    patterns = [where] if isinstance(where, str) else list(where)
    found = _found(model, patterns)
    seen = {} if example is None else _seen(model, [module for _, module in found], example)
    made: dict[nn.Module, tuple[nn.Module, Place]] = {}
    sizes: dict[tuple, int] = {}
    for name, old in found:
        if old not in made:
            entering, in_width, out_width = seen.get(old) or (None, *_widths(name, old))
            made[old] = _made(name, old, build, match, entering, in_width, out_width, sizes)
    replaced, undone = [], []
    for name, old in found:
        holder = model.get_submodule(name.rpartition(".")[0])
        new, place = made[old]
        undone.append((holder, name.rpartition(".")[2], old))
        setattr(holder, name.rpartition(".")[2], new)
        replaced.append(
            Place(name, *(getattr(place, word) for word in ("in_width", "out_width", "size", "before", "after")))
        )
    return Swap(model, replaced, undone, match)


def _found(model: nn.Module, patterns: Sequence[str]) -> list[tuple[str, nn.Module]]:
    """The outermost modules whose names fit, in the model's order; a shared one once for each place."""
    fits = [
        (name, module)
        for name, module in model.named_modules(remove_duplicate=False)
        if name and any(fnmatchcase(name, pattern) for pattern in patterns)
    ]
    names = {name for name, _ in fits}
    outer = [(name, one) for name, one in fits if not any(name.startswith(f"{other}.") for other in names)]
    if not outer:
        blocks = [block.name for block in anatomy(model).blocks if block.kind == "feedforward"]
        has = f"its feedforward blocks are {', '.join(blocks[:6])}" if blocks else "it has no feedforward block I know"
        raise LabError(f"No module of this {type(model).__name__} is called {' or '.join(patterns)}; {has}.")
    return outer


def _seen(model: nn.Module, modules: Sequence[nn.Module], example: Any) -> dict[nn.Module, tuple[Tensor, int, int]]:
    """What enters each module when the model reads the example, and the widths on both sides."""
    heard: dict[nn.Module, tuple[Tensor, int, int]] = {}

    def hear(module: nn.Module, given: tuple, named: dict, said: Any) -> None:
        values = [one for one in (*given, *named.values()) if isinstance(one, Tensor)]
        if len(values) != 1 or not isinstance(said, Tensor):
            kind = f"takes {len(values)} tensors" if len(values) != 1 else f"gives a {type(said).__name__}"
            raise LabError(
                f"A {type(module).__name__} cannot be replaced by a layer of one tensor in, one out: it {kind}."
            )
        heard[module] = (values[0].detach(), values[0].shape[-1], said.shape[-1])

    handles = [module.register_forward_hook(hear, with_kwargs=True) for module in dict.fromkeys(modules)]
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        with torch.no_grad():
            if isinstance(example, Mapping):
                model(**example)
            else:
                model(*(example if isinstance(example, tuple) else (example,)))
    finally:
        for handle in handles:
            handle.remove()
        for module, mode in modes:
            module.training = mode
    return heard


def _widths(name: str, module: nn.Module) -> tuple[int, int]:
    """The widths on both sides of a module, from what it says of itself or from its first and last matrix."""
    if hasattr(module, "in_width") and hasattr(module, "out_width"):
        return int(module.in_width), int(module.out_width)  # type: ignore[arg-type]
    linear = [one for one in module.modules() if isinstance(one, nn.Linear)]
    if linear:
        return linear[0].in_features, linear[-1].out_features
    raise LabError(f"How wide {name} is cannot be read off a {type(module).__name__}: give swap an example batch.")


def _made(
    name: str,
    old: nn.Module,
    build: Build,
    match: Match | None,
    entering: Tensor | None,
    in_width: int,
    out_width: int,
    sizes: dict[tuple, int],
) -> tuple[nn.Module, Place]:
    """A new layer for an old one, with its row of the report. `sizes` remembers what was found for equal modules."""
    like = next(old.parameters(), torch.empty(0))

    def ready(layer: nn.Module) -> nn.Module:
        return layer.to(device=like.device, dtype=like.dtype).train(old.training)

    if match is None:
        return ready(build(in_width, out_width)), Place(name, in_width, out_width, None, None, None)
    rows = _rows_of(entering, match)
    by = _costs(match, old, rows)
    target = 1.0 if match == "latency" else by(old)
    key = (in_width, out_width, round(target), parameters(old))
    if key not in sizes:
        built: dict[int, nn.Module] = {}

        def sized(size: int) -> nn.Module:
            # a size is looked at more than once, and drawn and measured once
            return built[size] if size in built else built.setdefault(size, ready(build(in_width, out_width, size)))

        best = matched(sized, to=target, by=_once(by))
        sizes[key] = next(size for size, layer in built.items() if layer is best)
    new = ready(build(in_width, out_width, sizes[key]))
    return new, Place(name, in_width, out_width, sizes[key], target, by(new))


def _rows_of(entering: Tensor | None, match: Match) -> Tensor | None:
    if match == "parameters":
        return None
    if entering is None:
        raise LabError(f"Matching by {match} counts what runs: give swap an example batch.")
    return entering.reshape(-1, entering.shape[-1])[:ROWS]


def _costs(match: Match, old: nn.Module, rows: Tensor | None) -> Callable[[nn.Module], float]:
    if match == "parameters" or rows is None:
        return lambda layer: float(parameters(layer))
    if match == "active_flops":
        return lambda layer: flops(layer, rows) / len(rows)

    def time(layer: nn.Module) -> float:
        modes = [(one, one.training) for one in (*old.modules(), *layer.modules())]
        for one, _ in modes:
            one.training = False
        try:
            found = latency({"old": old, "new": layer}, rows, repeats=REPEATS)
        finally:
            for one, mode in modes:
                one.training = mode
        return float((found.sel(arm="new") / found.sel(arm="old")).median())

    return time


def _once(by: Callable[[nn.Module], float]) -> Callable[[nn.Module], float]:
    """Each layer's cost measured once: a search that measured again would contradict itself where time is noisy."""
    known: dict[nn.Module, float] = {}

    def cost(layer: nn.Module) -> float:
        return known[layer] if layer in known else known.setdefault(layer, by(layer))

    return cost
