"""Where it began: events that were recorded during a training, and beginnings that the numbers themselves show."""

from collections.abc import Mapping, Sequence

import numpy as np

from labkit.errors import LabError
from labkit.views.wording import escaped, number

KINDS = {"dead": ("dead", "die"), "saturated": ("saturat",), "duplicate": ("duplicate", "twin")}


def events_of(events: Sequence[Mapping], conditions: list[str], names: list[str]) -> list[dict]:
    """The events that are about one of these conditions in one of these layers."""
    if not all(isinstance(one, Mapping) and {"step", "where", "kind", "says"} <= set(one) for one in events):
        raise LabError("health needs events with the entries step, where, kind and says, and found another one.")
    named = [{**event, "kind": _condition(str(event["kind"]), conditions)} for event in events]
    return [event for event in named if event["kind"] and owner_of(str(event["where"]), names) is not None]


def _condition(kind: str, conditions: list[str]) -> str:
    """The condition that a kind of event is about: units die -> dead; empty where it is about something else."""
    words = kind.split()
    return next((one for one in conditions if any(word.startswith(KINDS.get(one, (one,))) for word in words)), "")


def began(
    shares: np.ndarray,
    counts: np.ndarray,
    sizes: np.ndarray,
    steps: np.ndarray,
    conditions: list[str],
    names: list[str],
) -> list[dict]:
    """Where each condition first appears in each layer."""
    found = []
    for place, kind in enumerate(conditions):
        for layer, name in enumerate(names):
            first = np.flatnonzero(shares[:, place, layer] > 0)
            if len(first):
                at = first[0]
                units = f"{number(counts[at, place, layer])} of {number(sizes[at, place, layer])} units {kind}"
                begun = "at the first recorded step" if at == 0 else f"first seen at step {number(steps[at])}"
                found.append({"step": steps[at].item(), "where": name, "kind": kind, "says": f"{units}, {begun}"})
    return found


def plain(event: Mapping) -> dict:
    """The event as plain numbers and texts, to travel with a figure."""
    return {"step": int(event["step"]), **{key: str(event[key]) for key in ("where", "kind", "says")}}


def owner_of(where: str, names: list[str]) -> int | None:
    """The layer of an event: its name, or the longest name that the place begins with (mlp.0 unit 3)."""
    found = [place for place, name in enumerate(names) if f"{escaped(where)} ".startswith((f"{name} ", f"{name}."))]
    return max(found, key=lambda place: len(names[place])) if found else None
