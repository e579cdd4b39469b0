"""Checks of a router: every choice gets its share of the tokens, and what it says is a choice at all.

The answer is a router (it returns a `Routing`, or one tensor of weights a token and choice), or a layer that holds one: what
`labkit.record` finds in it is looked at.
"""

from typing import Any

import torch
from torch import Tensor, nn

from labkit.errors import LabError
from labkit.parts.gate import Routing, everything
from labkit.recording.record import NothingRecorded, record
from labkit.recording.routings import assigned, calls_of, joined
from labkit.workshop.exercise import Passed, Test
from labkit.workshop.shown_numbers import listed_few


def every_choice_used(on: Tensor, at_least: float = 0.01) -> Test:
    """Of the tokens `on`, each choice is chosen by the share `at_least` or more, in evaluation.

    A token that chooses two experts counts for both of them.
    """

    def test(router: Any) -> str | None:
        found = routed_by(router, on)
        if isinstance(found, str):
            return found
        flat: dict[str, Routing] = {}
        for name in found:
            said = next(filter(None, map(_sound, calls_of(found, name))), None)
            if said is None:
                flat |= joined({name: found[name]})
                said = _used(flat[name], at_least)
            if said:
                return f"in {name}: {said}" if len(found) > 1 else said
        lowest = min(float(_shares(routing).min()) for routing in flat.values())
        return Passed(f"The choice that is used least gets {lowest:.1%} of the tokens.")

    return test


def routed_by(router: Any, on: Tensor) -> dict[str, Any] | str:
    """The routings that arise when the router sees `on`, by name, or why there are none."""
    if isinstance(router, nn.Module):
        router.eval()
    try:
        with torch.no_grad(), record(router, Routing) as trace:
            made = router(on)
        return {name: trace[name] for name in trace}
    except (LabError, NothingRecorded):  # no layer, or none that routes
        with torch.no_grad():
            made = router(on)
    if isinstance(made, Routing):
        return {"the router": made}
    if isinstance(made, tuple | list):
        return f"it returns {len(made)} things; a router returns one Routing(index, weights, choices, scores)."
    if not isinstance(made, Tensor) or made.ndim < 2:
        return f"it returns a {type(made).__name__}; a router returns a Routing, or weights of shape (tokens, choices)."
    if not made.dtype.is_floating_point:
        return (
            "it returns whole numbers only: which choice. With what weight is missing, and training would not reach it."
        )
    if bool((made < 0).any()) or not torch.allclose(made.sum(-1), torch.ones(()).to(made), atol=1e-3):
        return "the weights of a token should be 0 or more and sum to 1: these look like scores before the softmax."
    return {"the router": everything(made)}


def _sound(routing: Routing) -> str | None:
    """What is no choice."""
    index, weights = routing.index, routing.weights
    if index.shape != weights.shape:
        return (
            f"index has shape {tuple(index.shape)} and weights {tuple(weights.shape)}; each chosen one has its weight."
        )
    if int(index.max()) >= routing.choices:
        return f"choice {int(index.max())} does not exist: {routing.choices} choices are numbered from 0."
    if not bool(torch.isfinite(weights).all()):
        return "some weights are not numbers."
    if bool((weights < 0).any()):
        return "some weights are negative: they are shares, and look like scores before the softmax."
    if bool((weights.sum(-1) > 1 + 1e-3).any()):
        return "the weights of a token sum to more than 1."
    chosen = index.sort(-1).values
    if index.shape[-1] > 1 and bool(((chosen.diff(dim=-1) == 0) & (chosen[..., 1:] >= 0)).any()):
        return "a token chooses the same expert twice: the second is to be another one."
    return None


def _shares(routing: Routing) -> Tensor:
    return assigned(routing) / max(1, len(routing.index))


def _used(routing: Routing, at_least: float) -> str | None:
    shares = _shares(routing)
    idle = (shares < at_least).nonzero().flatten().tolist()
    if not idle:
        return None
    count, most = routing.choices, int(shares.argmax())
    if len(idle) == count - 1 and float(shares[most]) > 0.99:
        same = routing.scores is not None and bool((routing.scores == routing.scores[..., :1]).all())
        return f"all tokens go to choice {most}" + (
            ": the scores are all equal, and the first of equals is taken. Weights that begin at 0 do that."
            if same
            else ", the others are never used: it has collapsed. Nothing in it speaks for a fair share."
        )
    never = [choice for choice in idle if float(shares[choice]) == 0]
    if never:
        return (
            f"{len(idle)} of {count} choices get less than {at_least:.0%} of the tokens; {listed_few(never)} none at all. "
            f"Choice {most} gets {float(shares[most]):.0%}."
        )
    low = min(idle, key=lambda choice: float(shares[choice]))
    rarest = f"choice {low}: {float(shares[low]):.2%}"
    return f"{listed_few(idle)} of {count} choices get less than {at_least:.0%} of the tokens ({rarest})."
