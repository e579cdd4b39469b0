"""Something real to look at: small ReLU networks with two hidden layers, trained here in a second, for the examples.

`digits_network` names scikit-learn's 8 x 8 digits. `text_network` guesses the next character of English text from the
eight before it; it is trained on the descriptions that come with scikit-learn's data sets and looked at on the one
about digits, which it never saw. Both are trained with Adam on cross-entropy and keep their weights along the way:

    h1 = max(0, x W1 + b1),   h2 = max(0, h1 W2 + b2),   answer = softmax(h2 W3 + b3)
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from time import perf_counter
from typing import Any

import numpy as np

from labkit.views.specimen import digits, softmax

LAYERS = ("hidden 1", "hidden 2")
HELD = 500
CONTEXT = 8

Weights = list[tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Network:
    """One training, and the held-out inputs to look at it with.

    Shapes: steps (s,); weights one list of (matrix, bias) for each step; inputs (n, in); labels (n,); tokens n texts,
    what each input is called.
    """

    steps: np.ndarray
    weights: Sequence[Weights]
    inputs: np.ndarray
    labels: np.ndarray
    tokens: Sequence[str]

    def hidden(self, at: int = -1) -> list[np.ndarray]:
        """What both hidden layers answer to the held-out inputs at the recorded step `at`: (n, unit) each."""
        return forward(self.weights[at], self.inputs)[1:-1]

    def sums(self, at: int = -1) -> list[np.ndarray]:
        """What both hidden layers add up before the ReLU: (n, unit) each."""
        values = forward(self.weights[at], self.inputs)
        return [below @ matrix + bias for below, (matrix, bias) in zip(values, self.weights[at][:-1])]

    def answers(self, at: int = -1) -> np.ndarray:
        """The scores of the classes, (n, class)."""
        return forward(self.weights[at], self.inputs)[-1]

    def judged(self, scores: np.ndarray) -> tuple[float, float]:
        """Loss in nats and accuracy of these scores."""
        chosen = softmax(scores)[np.arange(len(scores)), self.labels]
        return float(-np.log(chosen + 1e-12).mean()), float((scores.argmax(-1) == self.labels).mean())

    def after(self, layer: int, activity: np.ndarray, at: int = -1) -> np.ndarray:
        """The scores when hidden layer 0 or 1 answers `activity`: to see what a changed unit does."""
        return forward(self.weights[at][layer + 1 :], activity)[-1]

    def ablated(self, layer: int) -> np.ndarray:
        """(2, unit): change of the loss, and of the scores as a share of their norm, with each unit at its mean."""
        activity, scores = self.hidden()[layer], self.answers()
        change = np.zeros((2, activity.shape[1]))
        for unit in range(activity.shape[1]):
            kept = activity.copy()
            kept[:, unit] = activity[:, unit].mean()
            other = self.after(layer, kept)
            moved = np.linalg.norm(other - scores) / np.linalg.norm(scores)
            change[:, unit] = self.judged(other)[0] - self.judged(scores)[0], moved
        return change


def forward(weights: Weights, inputs: np.ndarray) -> list[np.ndarray]:
    """The inputs, what each layer makes of them, and the scores at the end."""
    values = [inputs]
    for place, (matrix, bias) in enumerate(weights):
        sums = values[-1] @ matrix + bias
        values.append(sums if place == len(weights) - 1 else np.maximum(sums, 0))
    return values


@lru_cache(maxsize=8)
def digits_network(seed: int = 0, widths: tuple[int, int] = (256, 128)) -> Network:
    """64 pixels, 256 units, 128 units, ten digits; looked at on 500 digits that it was not trained on."""
    from labkit.views.specimen import CLASSES

    pixels, labels = digits()
    order = np.random.default_rng(seed).permutation(len(labels))
    inputs, labels = (pixels.reshape(-1, 64) / 16)[order], labels[order]
    steps, weights = trained(inputs[:-HELD], labels[:-HELD], (64, *widths, 10), seed, steps=400)
    return Network(steps, weights, inputs[-HELD:], labels[-HELD:], [CLASSES[label] for label in labels[-HELD:]])


@lru_cache(maxsize=8)
def text_network(seed: int = 0) -> Network:
    """Eight characters, 96 units, 64 units, the next character; looked at on a text that it was not trained on."""
    from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris, load_wine

    loads: list[Callable[[], Any]] = [load_breast_cancer, load_iris, load_wine, load_diabetes, load_digits]
    texts = [load().DESCR for load in loads]
    signs = sorted(set("".join(texts)))
    code = {sign: place for place, sign in enumerate(signs)}
    pairs = [_windows(np.array([code[sign] for sign in text]), len(signs)) for text in texts]
    inputs, labels = (np.concatenate(part) for part in zip(*pairs[:-1]))
    steps, weights = trained(inputs, labels, (CONTEXT * len(signs), 96, 64, len(signs)), seed, steps=400)
    start = texts[-1].index("This is a copy") - CONTEXT
    look, following = (part[start : start + HELD] for part in pairs[-1])
    tokens = list(texts[-1][start + CONTEXT - 1 : start + CONTEXT - 1 + HELD])  # the last character that is seen
    return Network(steps, weights, look, following, tokens)


def _windows(codes: np.ndarray, signs: int) -> tuple[np.ndarray, np.ndarray]:
    """Every stretch of eight characters, one-hot, and the character that follows it."""
    places = np.arange(len(codes) - CONTEXT)[:, None] + np.arange(CONTEXT)
    spread = np.zeros((len(places), CONTEXT, signs), np.float32)
    np.put_along_axis(spread, codes[places][..., None], 1, -1)
    return spread.reshape(len(places), -1), codes[CONTEXT:]


def trained(
    inputs: np.ndarray, labels: np.ndarray, widths: Sequence[int], seed: int, steps: int
) -> tuple[np.ndarray, list[Weights]]:
    """Adam on batches of 64 with a learning rate of 0.005; the recorded steps and the weights at each."""
    random = np.random.default_rng(seed)
    flat = [
        part for size in itertools.pairwise(widths) for part in (_start(random, size), np.zeros(size[1], np.float32))
    ]
    first, second = [np.zeros_like(part) for part in flat], [np.zeros_like(part) for part in flat]
    inputs, truth = inputs.astype(np.float32), np.eye(widths[-1], dtype=np.float32)[labels]
    kept = sorted({0, 2, 5, 10, 20, *range(20, steps + 1, 20)})
    record = []
    for step in range(steps + 1):
        if step in kept:
            record.append(_pairs([part.copy() for part in flat]))
        batch = random.integers(0, len(inputs), 64)
        for place, slope in enumerate(_slopes(_pairs(flat), inputs[batch], truth[batch])):
            first[place] += 0.1 * (slope - first[place])
            second[place] += 0.01 * (slope**2 - second[place])
            rate = 0.005 * np.sqrt(1 - 0.99 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            flat[place] -= rate * first[place] / (np.sqrt(second[place]) + 1e-8)
    return np.array(kept), record


def _start(random: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    return random.normal(0, np.sqrt(2 / size[0]), size).astype(np.float32)


def _pairs(flat: list[np.ndarray]) -> Weights:
    return list(zip(flat[::2], flat[1::2]))


def _slopes(weights: Weights, inputs: np.ndarray, truth: np.ndarray) -> list[np.ndarray]:
    values = forward(weights, inputs)
    error, slopes = (softmax(values[-1]) - truth) / len(inputs), []
    for (matrix, _), below in zip(reversed(weights), reversed(values[:-1])):
        slopes = [below.T @ error, error.sum(0), *slopes]
        error = (error @ matrix.T) * (below > 0)
    return slopes


def pruned_weights(seed: int = 0) -> dict[str, np.ndarray]:
    """The weights of the trained digits network, (output, input), pruned by size: four in five of the first one by
    one, two of every four of the second, and of the third what comes from the weaker half of the units.
    """
    first, second, third = (matrix.T.copy() for matrix, _ in digits_network(seed).weights[-1])
    first[np.abs(first) < np.quantile(np.abs(first), 0.8)] = 0
    fours = second.reshape(len(second), -1, 4)
    np.put_along_axis(fours, np.abs(fours).argsort(-1)[..., :2], 0, -1)
    size = np.linalg.norm(third, axis=0)
    third[:, size < np.median(size)] = 0
    return {"hidden 1.weight": first, "hidden 2.weight": fours.reshape(second.shape), "scores.weight": third}


@lru_cache(maxsize=4)
def measured_tradeoff(seed: int = 0) -> tuple[list[str], list[float], list[str], np.ndarray, np.ndarray]:
    """Methods, levels, quantities, (method, level, quantity) and thresholds (method, level): the first hidden layer
    silenced by four rules that are set on every second held-out digit and measured on the others, with the time of
    the next product, one digit at a time, when the weights of silent units are skipped.
    """
    network = digits_network(seed)
    activity, weights = network.hidden()[0].astype(np.float32), network.weights[-1]
    setting, kept, labels = activity[::2], activity[1::2], network.labels[1::2]
    norms, random = np.linalg.norm(weights[1][0], axis=1), np.random.default_rng(seed)
    levels = [0.0, 0.2, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.98]
    values, limits = np.full((4, len(levels), 5), np.nan), np.full((4, len(levels)), np.nan)
    for place, level in enumerate(levels):
        limits[0, place], limits[1, place] = (np.quantile(setting * size, level) for size in (1, norms))
        ranks = np.argsort(np.argsort(-kept, axis=1), axis=1)
        masks = (
            kept > limits[0, place],
            kept * norms > limits[1, place],
            ranks < round((1 - level) * kept.shape[1]),
            random.random(kept.shape) >= level,
        )
        for row, mask in enumerate(masks):
            silenced = np.where(mask, kept, 0)
            scores = forward(weights[1:], silenced)[-1]
            sure = softmax(scores)[np.arange(len(labels)), labels]
            right = float((scores.argmax(-1) == labels).mean())
            times = _timed(silenced[:12], weights[1][0])
            values[row, place] = (silenced > 0).mean(), -np.log(sure + 1e-12).mean(), right, *times
    quantities = ["active fraction", "loss", "accuracy", "milliseconds", "dense milliseconds"]
    return ["magnitude", "WINA", "top-k", "random"], levels, quantities, values, limits


def _timed(rows: np.ndarray, matrix: np.ndarray) -> tuple[float, float]:
    """Milliseconds of one row times the matrix, with the silent units skipped and dense, in turns; medians."""
    skipped, dense = [], []
    for _ in range(5):
        for row in rows:
            start = perf_counter()
            active = np.flatnonzero(row)
            _ = row[active] @ matrix[active]
            middle = perf_counter()
            _ = row @ matrix
            skipped.append(middle - start)
            dense.append(perf_counter() - middle)
    return 1000 * float(np.median(skipped)), 1000 * float(np.median(dense))
