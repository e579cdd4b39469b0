"""Something real to look at: a small soft decision tree, trained here in a second, for the examples of the views.

A tree of depth 3 over scikit-learn's 8 x 8 digits. Each inner node scores the input, `score = w x + b`, and sends it
left (score < 0) or right; each leaf is a linear classifier. In training the answer is the mixture of all leaves,
weighted by the probability of the way to them; *hard* means that each input goes one way only. The loss adds the
entropy of the decisions, so that they harden. Depth 0 is an ordinary linear classifier.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

CLASSES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
EDGES = np.linspace(0, 12, 25)
RATES = (0.008, 0.008, 0.02)  # the decisions learn slower than the leaves, so that one can watch them harden


@dataclass(frozen=True)
class Specimen:
    """One training, looked at on 500 held-out digits at every recorded step.

    Shapes: steps (s,); accuracy (s, 2) soft and hard; loss (s,) in nats; entropy (s, node) in bits; load (s, leaf);
    margin (s, bin); by_class (leaf, class); images (500, 8, 8) uint8; scores (500, node).
    """

    steps: np.ndarray
    accuracy: np.ndarray
    loss: np.ndarray
    entropy: np.ndarray
    load: np.ndarray
    margin: np.ndarray
    by_class: np.ndarray
    images: np.ndarray
    scores: np.ndarray


@lru_cache(maxsize=1)
def digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels (1797, 8, 8) in 0..16 and labels."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return np.asarray(pixels).reshape(-1, 8, 8), np.asarray(labels)


def paths(depth: int) -> np.ndarray:
    """(leaf, node): -1 where the way to the leaf turns left at the node, +1 right, 0 where it does not pass."""
    turns = np.zeros((2**depth, 2**depth - 1))
    for leaf in range(2**depth):
        node = 0
        for level in reversed(range(depth)):
            right = leaf >> level & 1
            turns[leaf, node] = 1 if right else -1
            node = 2 * node + 1 + right
    return turns


@lru_cache(maxsize=32)
def grown(seed: int = 0, depth: int = 3, steps: int = 300, hardening: float = 0.3) -> Specimen:
    """Train one tree and record it; the same arguments give the same numbers."""
    pixels, labels = digits()
    random = np.random.default_rng(seed)
    order = random.permutation(len(labels))
    inputs, truth = (pixels.reshape(-1, 64) / 8 - 1)[order], np.eye(10)[labels[order]]
    turns = paths(depth)
    leaves, nodes = turns.shape
    weights = [random.normal(0, 0.12, (64, nodes)), np.zeros(nodes), random.normal(0, 0.05, (64, leaves, 10))]
    first, second = [np.zeros_like(part) for part in weights], [np.zeros_like(part) for part in weights]
    kept = sorted({0, 2, 5, *range(10, steps + 1, 10)})
    looks = []
    for step in range(steps + 1):
        if step in kept:
            looks.append(look_at(weights, turns, inputs[-500:], truth[-500:]))
        batch = random.integers(0, len(inputs) - 500, 64)
        slopes = gradients(weights, turns, inputs[batch], truth[batch], hardening)
        for place, slope in enumerate(slopes):  # Adam
            first[place] += 0.1 * (slope - first[place])
            second[place] += 0.01 * (slope**2 - second[place])
            bias = RATES[place] * np.sqrt(1 - 0.99 ** (step + 1)) / (1 - 0.9 ** (step + 1))
            weights[place] = weights[place] - bias * first[place] / (np.sqrt(second[place]) + 1e-8)
    by_class = looks[-1].pop("by_class")
    stacked = {name: np.stack([entry[name] for entry in looks]) for name in looks[-1]}
    images = (pixels[order][-500:] * 15.9).astype(np.uint8)
    scores = inputs[-500:] @ weights[0] + weights[1]
    return Specimen(steps=np.array(kept), by_class=by_class, images=images, scores=scores, **stacked)


def forward(weights: list, turns: np.ndarray, inputs: np.ndarray) -> tuple:
    """P(right) at each node, probability of each leaf, what each leaf answers, and the mixture of the answers."""
    right = 1 / (1 + np.exp(-(inputs @ weights[0] + weights[1])))
    passed = np.where(turns > 0, right[:, None], np.where(turns < 0, 1 - right[:, None], 1.0))
    chance = passed.prod(-1)
    answers = np.einsum("nx,xlc->nlc", inputs, weights[2], optimize=True)
    return right, chance, answers, np.einsum("nl,nlc->nc", chance, answers)


def gradients(weights: list, turns: np.ndarray, inputs: np.ndarray, truth: np.ndarray, hardening: float) -> list:
    """The slope of cross-entropy plus `hardening` times the mean entropy of the decisions."""
    right, chance, answers, mixed = forward(weights, turns, inputs)
    error = (softmax(mixed) - truth) / len(inputs)
    pull = np.einsum("nc,nlc->nl", error, answers) * chance
    score = np.einsum("nl,lk->nk", pull, (turns > 0) * 1.0) * (1 - right)
    score -= np.einsum("nl,lk->nk", pull, (turns < 0) * 1.0) * right
    odds = np.log(np.clip(right, 1e-9, 1) / np.clip(1 - right, 1e-9, 1))
    score -= hardening * odds * right * (1 - right) / max(1, right.size)
    leaf = np.einsum("nx,nl,nc->xlc", inputs, chance, error, optimize=True)
    return [inputs.T @ score, score.sum(0), leaf]


def look_at(weights: list, turns: np.ndarray, inputs: np.ndarray, truth: np.ndarray) -> dict:
    """Everything the views draw, at one step."""
    right, _, answers, mixed = forward(weights, turns, inputs)
    sure = np.clip(right, 1e-9, 1 - 1e-9)
    bits = -(sure * np.log2(sure) + (1 - sure) * np.log2(1 - sure))
    agree = np.einsum("nk,lk->nl", np.where(right >= 0.5, 1, -1), turns)
    leaf = agree.argmax(-1)
    hard = answers[np.arange(len(inputs)), leaf]
    label = truth.argmax(-1)
    margins = np.abs(inputs @ weights[0] + weights[1]).clip(0, EDGES[-1] - 1e-6)
    by_class = np.zeros((len(turns), 10))
    np.add.at(by_class, (leaf, label), 1 / len(inputs))
    return {
        "accuracy": np.array([(mixed.argmax(-1) == label).mean(), (hard.argmax(-1) == label).mean()]),
        "loss": -np.log(softmax(mixed)[np.arange(len(label)), label]).mean(),
        "entropy": bits.mean(0),
        "load": by_class.sum(-1),
        "margin": np.histogram(margins, EDGES)[0] / max(1, margins.size),
        "by_class": by_class,
    }


def softmax(scores: np.ndarray) -> np.ndarray:
    """Probabilities over the last axis."""
    powers = np.exp(scores - scores.max(-1, keepdims=True))
    return powers / powers.sum(-1, keepdims=True)
