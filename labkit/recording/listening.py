"""Where a watch listens: the blocks of a model whose hidden units can be read, and its routers.

They are those that `anatomy` finds. At the first look every other module is listened to as well, so that a home-made
gate which returns a `Routing` without saying so is found; the rest is left in peace from then on.
"""

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn

from labkit.parts.gate import Routing
from labkit.recording.anatomy import anatomy
from labkit.recording.block import Block, listen, units_last
from labkit.recording.gathering import bounds_of
from labkit.recording.kinds import Activations
from labkit.recording.materials import named
from labkit.recording.router_blocks import chosen_of
from labkit.recording.routers import routing_of

WORDS = {"leaves": "leaf", "slots": "slot", "experts": "expert", "num_experts": "expert"}
"""What a choice is called, by the attribute in which a gate says how many there are."""

Hear = Callable[[str, Any], None]


class Ears:
    """Hooks that call `hear(name, value)` with the `Activations` and `Routing` of a model while they are open."""

    def __init__(self, model: nn.Module, names: str, what: tuple[str, ...], hear: Hear):
        body = anatomy(model)
        self.unknown = body.unknown
        self._hear, self._handles = hear, []
        wanted = [block for block in body.blocks if _fits(block.name, names)]
        units, routing = {"units", "density", "health"} & set(what), "routing" in what
        self._spoken = [block for block in wanted if block.site] if units else []
        self._routers = [block for block in wanted if block.kind == "router"] if routing else []
        known = {block.module for block in self._routers}
        rest = {name: module for name, module in named(model) if module not in known and _fits(name, names)}
        self._suspects: dict[str, nn.Module] | None = rest if routing else None
        self._gates: dict[str, nn.Module] = {}
        self.own: set[int] = set()
        """Numbers of all hooks that were ever installed."""

    def open(self) -> None:
        """Install the hooks."""
        self._handles = listen(self._spoken, self._said)
        for block in self._routers:
            self._handles.append(block.module.register_forward_hook(self._routed(block)))
        for name, module in (self._gates if self._suspects is None else self._suspects).items():
            self._handles.append(module.register_forward_hook(self._perhaps(name, module)))
        self.own |= {handle.id for handle in self._handles}

    def close(self) -> None:
        """Remove the hooks. Who returned no `Routing` at the first look is not listened to again."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._suspects = [], None

    def skip(self, name: str) -> None:
        """Never listen there again."""
        self._spoken = [block for block in self._spoken if block.name != name]
        self._routers = [block for block in self._routers if block.name != name]
        self._gates.pop(name, None)

    def bounds(self, name: str) -> tuple[float, float] | None:
        """The bounds of the nonlinearity there, if it is read at one that has any."""
        sites = [block.site for block in self._spoken if block.name == name]
        return bounds_of(sites[0].where) if sites and sites[0] is not None and sites[0].side == "output" else None

    def rectified(self, name: str) -> bool:
        """Whether what is read there comes straight out of a ReLU."""
        sites = [block.site for block in self._spoken if block.name == name]
        return bool(sites and sites[0] is not None and isinstance(sites[0].where, nn.ReLU | nn.ReLU6))

    def expected(self) -> list[str]:
        """Layers and routers that the model has, whether or not they run."""
        return [block.name for block in (*self._spoken, *self._routers)]

    def word(self) -> str:
        """What a choice is called: "expert", "leaf", "slot"; "choice" where the routers do not agree or say nothing."""
        words = {"expert" for block in self._routers if block.holder is not None}
        gates = [*(block.module for block in self._routers if block.holder is None), *self._gates.values()]
        for gate in gates:
            words.add(next((word for key, word in WORDS.items() if hasattr(gate, key)), "choice"))
        return words.pop() if len(words) == 1 else "choice"

    def _said(self, block: Block, value: Tensor) -> None:
        self._hear(block.name, Activations(units_last(value.detach(), block)))

    def _routed(self, block: Block) -> Callable[..., None]:
        chosen = chosen_of(block.module, block.holder)

        def hook(_module: nn.Module, _inputs: tuple, output: Any) -> None:
            read = (output, "") if isinstance(output, Routing) else None
            read = read or routing_of(output, block.units or 0, chosen, block.module)
            if read is not None:
                self._hear(block.name, read[0])

        return hook

    def _perhaps(self, name: str, module: nn.Module) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: tuple, output: Any) -> None:
            if isinstance(output, Routing):
                self._gates[name] = module
                self._hear(name, output)

        return hook


def _fits(name: str, names: str) -> bool:
    """Whether a name, or that of a module around it, matches the pattern."""
    pieces = name.split(".")
    return any(fnmatchcase(".".join(pieces[:count]), names) for count in range(1, len(pieces) + 1))
