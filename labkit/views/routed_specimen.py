"""Something routed to look at: a small network with two mixtures of experts, trained here in seconds, for the examples.

It reads the last 8 characters of a text (the descriptions of data sets that come with scikit-learn) and says which
comes next. `h0 = tanh(context W)`, then twice `h = h + sum of g_e expert_e(h)` over the experts that a router chose,
then a linear layer. The router's scores are `s = h R`; the best ones of `p = softmax(s)` are chosen and weighted with
`g = p / (sum of the chosen p)`, or `g = p` where one is chosen. The balance loss of a layer is `E sum over e of f_e P_e`
(f the share of choices, P the mean p, E experts): 1 when all are used alike. `balance="pooled"` takes f and P over both
layers together, and `balance="none"` leaves the loss out. With a `capacity` each expert takes at most `capacity` times
an equal share of the choices, in the order of the text, and what comes later is dropped. With `hidden=0` an expert is a
slot of a memory: one vector, and no network.

Source: the balance loss and the capacity are those of "Switch Transformers" (arXiv 2101.03961).
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

import numpy as np
import xarray as xr

from labkit.views.specimen import softmax

CONTEXT, LETTER, WIDTH, LAYERS, BATCH, TOKENS = 8, 12, 48, 2, 256, 512
KINDS = ("vowel", "consonant", "capital", "digit", "space", "line end", "punctuation")
NAMES = ("layers.0", "layers.1")


@dataclass(frozen=True)
class Routed:
    """One training, looked at on 512 held-out characters in a row at every recorded step.

    Shapes: steps (s,); loss (s,) in nats; probability (s, layer, token, expert); index (s, layer, token, rank), -1
    where dropped; weight (s, layer, token, rank); text (token,) the last character that is read, kind (token,) its
    place in KINDS; codes (token, 9) the characters that are read and the one to say; weights of the trained network.
    """

    steps: np.ndarray
    loss: np.ndarray
    probability: np.ndarray
    index: np.ndarray
    weight: np.ndarray
    text: tuple[str, ...]
    kind: np.ndarray
    codes: np.ndarray
    weights: dict[str, np.ndarray]

    @property
    def noun(self) -> str:
        """What is chosen: an expert, or where they have no inner layer a slot of a memory."""
        return "expert" if self.weights["up 0"].size else "slot"

    def sent(self, token: int) -> tuple[np.ndarray, np.ndarray]:
        """Loss and logarithm of the answer when the first layer sends one token to each expert instead of its first.

        Shapes: losses (expert,) in nats, answers (expert, letter).
        """
        experts, ranks = self.probability.shape[-1], self.index.shape[-1]
        window = self.codes[[token]]
        gates = np.zeros((experts, 1, experts))
        for expert in range(experts):
            kept = [expert, *(one for one in self.index[-1, 0, token, 1:] if one >= 0)]
            np.add.at(gates[expert, 0], kept, self.weight[-1, 0, token, : len(kept)])
        told = [forward(self.weights, window, ranks, force={0: gate})[0][0] for gate in gates]
        answers = np.log(np.stack(told))
        return -answers[:, window[0, -1]], answers

    def chosen(self) -> np.ndarray:
        """The share of the choices that went to each expert: (s, layer, expert), dropped ones left out."""
        experts = self.probability.shape[-1]
        there = self.index[..., None] == np.arange(experts)
        return there.mean((2, 3)) / np.maximum((self.index >= 0).mean((2, 3)), 1e-9)[..., None]


def measured(
    run: Routed, values: np.ndarray, dims: tuple[str, ...], long_name: str, units: str, weight: np.ndarray | None = None
) -> xr.DataArray:
    """Numbers of a training as the measurements hand them out: with the coordinates of these axes, and what they are."""
    coords: dict = {"layer": list(NAMES), "step": run.steps} if "step" in dims else {"layer": list(NAMES)}
    coords = {name: value for name, value in coords.items() if name in dims}
    if "token" in dims:
        coords |= {"token": np.arange(TOKENS), "text": ("token", list(run.text))}
    if "choice" in dims:
        coords["choice"] = ("choice", np.arange(values.shape[dims.index("choice")]), {"long_name": run.noun})
    if "class" in dims:
        coords["class"] = list(KINDS)
    if weight is not None:
        coords["weight"] = (dims, weight)
    attrs = {"long_name": long_name, "units": units, "choice": run.noun}
    return xr.DataArray(values, dims=dims, coords=coords, attrs=attrs)


@lru_cache(maxsize=1)
def texts() -> tuple[str, np.ndarray]:
    """The alphabet, and the descriptions as one text of its places; long runs of blanks and rules are shortened."""
    folder = files("sklearn.datasets.descr")
    pages = sorted((page for page in folder.iterdir() if page.name.endswith(".rst")), key=lambda page: page.name)
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    text = re.sub(r"\n\s*\n+", "\n", re.sub(r"([-=*~^.])\1+", r"\1", re.sub(r"[ \t]+", " ", text)))
    text = "".join(letter for letter in text if letter.isascii())
    alphabet = "".join(sorted(set(text)))
    return alphabet, np.array([alphabet.index(letter) for letter in text])


def kind_of(letter: str) -> int:
    """Which of KINDS a character is."""
    if letter == "\n":
        return 5
    if letter.isupper():
        return 2
    if letter.isalpha():
        return 0 if letter in "aeiou" else 1
    return 3 if letter.isdigit() else 4 if letter == " " else 6


@lru_cache(maxsize=16)
def routed(
    seed: int = 0,
    balance: str = "layer",
    experts: int = 8,
    chosen: int = 2,
    hidden: int = 16,
    capacity: float = 0.0,
    steps: int = 300,
    rate: float = 0.01,
    strength: float = 0.02,
) -> Routed:
    """Train one network and record it; the same arguments give the same numbers."""
    alphabet, codes = texts()
    random = np.random.default_rng(seed)
    windows = np.lib.stride_tricks.sliding_window_view(codes, CONTEXT + 1)
    held = windows[-TOKENS:]
    weights = drawn(random, len(alphabet), experts, hidden)
    first, second = ({name: np.zeros_like(part) for name, part in weights.items()} for _ in range(2))
    kept, looks = sorted({0, 2, 5, *range(10, steps + 1, 10)}), []
    for step in range(steps + 1):
        if step in kept:
            told, _, layers = forward(weights, held, chosen, capacity)
            right = -np.log(told[np.arange(TOKENS), held[:, -1]]).mean()
            looks.append((right, *(np.stack([layer[name] for layer in layers]) for name in ("p", "index", "weight"))))
        if step == steps:
            break
        batch = windows[random.integers(0, len(windows) - TOKENS - CONTEXT, BATCH)]
        slopes = gradients(weights, batch, chosen, capacity, balance, strength)
        for name, slope in slopes.items():  # Adam
            first[name] += 0.1 * (slope - first[name])
            second[name] += 0.01 * (slope**2 - second[name])
            pace = rate * np.sqrt(1 - 0.99 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            weights[name] = weights[name] - pace * first[name] / (np.sqrt(second[name]) + 1e-8)
    letters = [alphabet[code] for code in held[:, -2]]
    loss, probability, index, weight = (np.stack(part) for part in zip(*looks))
    return Routed(
        steps=np.array(kept),
        loss=loss,
        probability=probability,
        index=index,
        weight=weight,
        text=tuple(letters),
        kind=np.array([kind_of(letter) for letter in letters]),
        codes=held,
        weights=weights,
    )


def drawn(random: np.random.Generator, letters: int, experts: int, hidden: int) -> dict[str, np.ndarray]:
    """The weights before the training."""

    def normal(*shape: int, fan: int) -> np.ndarray:
        return random.normal(0, 1 / np.sqrt(fan), shape)

    weights = {
        "letters": normal(CONTEXT, letters, WIDTH, fan=CONTEXT),
        "start": np.zeros(WIDTH),
        "answer": 0.1 * normal(WIDTH, letters, fan=WIDTH),
        "bias": np.zeros(letters),
    }
    for layer in range(LAYERS):
        weights[f"router {layer}"] = normal(WIDTH, experts, fan=WIDTH)
        weights[f"up {layer}"] = normal(WIDTH, experts * hidden, fan=WIDTH)
        weights[f"down {layer}"] = normal(experts * hidden, WIDTH, fan=max(1, hidden))
        weights[f"value {layer}"] = normal(experts, WIDTH, fan=WIDTH)
    return weights


def select(p: np.ndarray, chosen: int, capacity: float) -> tuple[np.ndarray, np.ndarray]:
    """The chosen experts, best first, -1 where dropped, and their weights: (token, rank) each."""
    index = np.argsort(-p, -1, kind="stable")[:, :chosen]
    weight = np.take_along_axis(p, index, -1)
    weight = weight / weight.sum(-1, keepdims=True) if chosen > 1 else weight
    if capacity:
        line = index.T.ravel()  # first all first choices in the order of the text, then all second ones
        queue = (line[:, None] == np.arange(p.shape[-1])).cumsum(0)[np.arange(len(line)), line]
        full = (queue > np.ceil(capacity * len(line) / p.shape[-1])).reshape(chosen, -1).T
        index, weight = np.where(full, -1, index), np.where(full, 0, weight)
    return index, weight


def mixture(weights: dict, layer: int, h: np.ndarray, gate: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What all experts add to `h`, weighted with gate (token, expert), and their inner activations."""
    inner = np.maximum(h @ weights[f"up {layer}"], 0).reshape(len(h), gate.shape[1], -1)
    mixed = (inner * gate[..., None]).reshape(len(h), -1) @ weights[f"down {layer}"]
    return mixed + gate @ weights[f"value {layer}"], inner


def forward(
    weights: dict, windows: np.ndarray, chosen: int, capacity: float = 0.0, force: dict | None = None
) -> tuple[np.ndarray, np.ndarray, list[dict]]:
    """Probabilities of the next character, the last hidden layer, and what happened in each mixture.

    `force` {layer: gate (token, expert)} takes the place of what the router of a layer chose.
    """
    h = np.tanh(weights["letters"][np.arange(CONTEXT), windows[:, :CONTEXT]].sum(1) + weights["start"])
    layers = []
    for layer in range(LAYERS):
        p = softmax(h @ weights[f"router {layer}"])
        index, weight = select(p, chosen, capacity)
        gate = np.zeros_like(p)
        np.put_along_axis(gate, np.maximum(index, 0), np.where(index < 0, 0, weight), -1)
        if (index < 0).any():
            gate = ((index[..., None] == np.arange(p.shape[-1])) * weight[..., None]).sum(1)
        gate = (force or {}).get(layer, gate)
        added, inner = mixture(weights, layer, h, gate)
        layers.append({"p": p, "index": index, "weight": weight, "gate": gate, "inner": inner, "h": h})
        h = h + added
    return softmax(h @ weights["answer"] + weights["bias"]), h, layers


def gradients(
    weights: dict, windows: np.ndarray, chosen: int, capacity: float, balance: str, strength: float = 0.02
) -> dict[str, np.ndarray]:
    """The slope of cross-entropy plus 0.02 times the balance loss."""
    told, h, layers = forward(weights, windows, chosen, capacity)
    count = len(windows)
    error = (told - np.eye(told.shape[1])[windows[:, -1]]) / count
    slopes = {"answer": h.T @ error, "bias": error.sum(0)}
    back = error @ weights["answer"].T
    shares = [(layer["gate"] > 0).mean(0) / (layer["gate"] > 0).sum(1).mean() for layer in layers]
    for place in reversed(range(LAYERS)):
        layer = layers[place]
        p, gate, inner, x = (layer[name] for name in ("p", "gate", "inner", "h"))
        weighted = (inner * gate[..., None]).reshape(count, -1)
        slopes[f"down {place}"], slopes[f"value {place}"] = weighted.T @ back, gate.T @ back
        pulled = (back @ weights[f"down {place}"].T).reshape(inner.shape)
        pull = (pulled * inner).sum(-1) + back @ weights[f"value {place}"].T
        inside = (pulled * gate[..., None] * (inner > 0)).reshape(count, -1)
        slopes[f"up {place}"] = x.T @ inside
        pull = pull * (gate > 0)
        score = gate * (pull - (gate * pull).sum(-1, keepdims=True) * (1 if chosen > 1 else 0))
        score = score if chosen > 1 else score - p * score.sum(-1, keepdims=True)
        if balance != "none":
            share = shares[place] if balance == "layer" else np.mean(shares, 0) / LAYERS
            slope = strength * p.shape[1] * share / count
            score += p * (slope - (p * slope).sum(-1, keepdims=True))
        slopes[f"router {place}"] = x.T @ score
        back = back + inside @ weights[f"up {place}"].T + score @ weights[f"router {place}"].T
    h0 = layers[0]["h"]
    start = back * (1 - h0**2)
    slopes["start"] = start.sum(0)
    slopes["letters"] = np.zeros_like(weights["letters"])
    for place in range(CONTEXT):
        np.add.at(slopes["letters"][place], windows[:, place], start)
    return slopes
