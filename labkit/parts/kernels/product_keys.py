"""Fast path of product keys: the best pairs of half keys, found without ever sorting a whole row of scores.

Scores of some tokens at a time are one matrix product, small enough to stay in the cache, out of which the compiled code
takes the best pairs. Backward, only the keys and queries of chosen pairs are touched.
"""

from functools import cache
from typing import Any

import torch
from torch import Tensor

from labkit.parts.kernels.engine import Kernel, Operation, threads_for
from labkit.parts.kernels.fast_path import FastPath

_best, _queries, _keys = (Kernel("product_keys", name) for name in ("best_pairs", "query_slopes", "key_slopes"))
TOKENS = 128
"""Tokens whose scores are kept at a time: with 4 heads of 512 keys they fill two megabytes. It does not depend on the
number of threads, so that the matrix products, and every bit, do not either."""
MOST = 256
"""The largest number of choices that ranking each against all others finds faster than sorting does."""


@cache
def stairs(chosen: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which pairs (a, b) of places in two sorted lists can be among the best: those with (a + 1)(b + 1) <= chosen."""
    pairs = [(a, b) for a in range(chosen) for b in range(chosen // (a + 1))]
    return tuple(a for a, _ in pairs), tuple(b for _, b in pairs)


@cache
def _steps(chosen: int) -> Tensor:
    """For each place in the first list how many of the second can go with it, then all pairs in that order."""
    pairs = [place for pair in zip(*stairs(chosen), strict=True) for place in pair]
    return torch.tensor([chosen // (a + 1) for a in range(chosen)] + pairs)


def _compute(query: Tensor, keys: Tensor, chosen: int) -> tuple[Tensor, Tensor]:
    tokens, (heads, _, count, width) = len(query), keys.shape
    best, pairs = query.new_empty(tokens, heads, chosen), query.new_empty(tokens, heads, chosen, dtype=torch.int64)
    if not best.numel():
        return best, pairs
    halves = query.reshape(tokens, 2 * heads, width).transpose(0, 1)
    bank = keys.reshape(2 * heads, count, width).transpose(1, 2)
    threads = threads_for(2.0 * tokens * heads * count * width)
    together, steps = min(tokens, TOKENS), _steps(chosen)
    pieces = min(together, 4 * threads)
    room = (max(count, len(steps)) + 64) // 16 * 16
    work, scores = query.new_empty(pieces * room * 10), query.new_empty(2 * heads * together * count)
    for start in range(0, tokens, together):
        some = min(together, tokens - start)
        torch.bmm(
            halves[:, start : start + some], bank, out=scores[: 2 * heads * some * count].view(2 * heads, some, count)
        )
        _best(
            min(pieces, some), scores.data_ptr(), some, heads, count, chosen, best[start].data_ptr(),
            pairs[start].data_ptr(), steps.data_ptr(), work.data_ptr(), room, threads=threads,
        )  # fmt: skip
    return best, pairs


def _shapes(query: Tensor, keys: Tensor, chosen: int) -> tuple[Tensor, Tensor]:
    shape = query.shape[0], keys.shape[0], chosen
    return query.new_empty(shape), query.new_empty(shape, dtype=torch.int64)


def _keep(ctx: Any, inputs: tuple, output: tuple) -> None:
    query, keys, _ = inputs
    ctx.save_for_backward(query, keys, output[1])


def _backward(ctx: Any, slope: Tensor, _: Tensor) -> tuple:
    query, keys, pairs = ctx.saved_tensors
    return *gradients(query, keys, pairs, slope), None


def _gradients(query: Tensor, keys: Tensor, pairs: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    query, keys, pairs, slope = (one.contiguous() for one in (query, keys, pairs, slope))
    (tokens, heads, chosen), (_, _, count, width) = pairs.shape, keys.shape
    to_query, to_keys = torch.empty_like(query), torch.zeros_like(keys)
    if tokens:
        threads = threads_for(2.0 * pairs.numel() * width)
        pieces = min(tokens, 8 * threads)
        work = pairs.new_empty(2 * chosen * pieces)
        given = slope.data_ptr(), pairs.data_ptr(), tokens, heads, chosen
        _queries(
            pieces, *given, keys.data_ptr(), count, width, to_query.data_ptr(), work.data_ptr(), threads=threads
        )  # fmt: skip
        stripe = width if 2 * heads >= threads else -(-width // 32) * 16
        pieces = 2 * heads * -(-width // stripe)
        _keys(pieces, *given, query.data_ptr(), count, width, to_keys.data_ptr(), stripe, threads=threads)
    return to_query, to_keys


def _gradient_shapes(query: Tensor, keys: Tensor, pairs: Tensor, slope: Tensor) -> tuple[Tensor, Tensor]:
    return torch.empty_like(query, memory_format=torch.contiguous_format), torch.empty_like(keys)


best_pairs = Operation("product_key_pairs", _compute, _shapes, _backward, _keep)
gradients = Operation("product_key_gradients", _gradients, _gradient_shapes)


def plain(query: Tensor, keys: Tensor, chosen: int) -> tuple[Tensor, Tensor]:
    """The same in plain torch, for queries with any leading axes."""
    first, second = (torch.tensor(places, device=query.device) for places in stairs(chosen))
    halves, places = torch.einsum("...hsw,hsnw->...hsn", query, keys).topk(chosen, -1)
    scores, which = (halves[..., 0, :][..., first] + halves[..., 1, :][..., second]).topk(chosen, -1)
    slots = places[..., 0, :][..., first] * keys.shape[2] + places[..., 1, :][..., second]
    return scores, slots.gather(-1, which)


def _drawn(seed: int) -> tuple[Tensor, Tensor, int]:
    draw = torch.Generator().manual_seed(seed)
    tokens, heads, count, width, chosen = (
        (1, 2, 7, 5, 3),
        (0, 1, 4, 3, 2),
        (5, 3, 33, 16, 9),
        (3, 1, 64, 40, 32),
        (9, 2, 5, 1, 5),
    )[seed % 5]
    query, keys = (
        torch.randn(tokens, heads, 2, width, generator=draw),
        torch.randn(2 * heads, count, width, generator=draw),
    )
    return query, keys.view(heads, 2, count, width), chosen


fast_paths = (FastPath(best_pairs, plain, _drawn, learns=True),)  # pyright: ignore[reportArgumentType]
