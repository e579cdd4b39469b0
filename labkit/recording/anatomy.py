"""What a model is made of: `anatomy(model)` names its feed-forward blocks, attentions, routers and convolutions.

Nothing of another package is imported and nothing is run: structure, names and shapes tell. What is not recognised is
listed with the reason. With `inputs` the model runs once, and only blocks that were heard remain, with their widths.
"""

import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from torch import nn

from labkit.recording.attention_blocks import attention_blocks
from labkit.recording.block import Block
from labkit.recording.feedforward_blocks import feedforward_blocks
from labkit.recording.materials import named, plain
from labkit.recording.router_blocks import Bank, routers_and_banks

RECURRENT = (nn.RNNBase, nn.RNNCellBase)


class Row(NamedTuple):
    """One line of the table: blocks that differ in their number only."""

    name: str
    times: int
    kind: str
    size: str
    says: str


class Anatomy:
    """The recognised blocks of a model, in the model's own order, and what was not recognised."""

    def __init__(
        self, model: str, blocks: Iterable[Block], unknown: Iterable[tuple[str, str]], plain: Mapping[str, int]
    ):
        self.model = model
        self.blocks = tuple(blocks)
        self.unknown = tuple(unknown)
        """Name and reason of every module with parameters that is neither in a block nor of a plain kind."""
        self.plain = dict(plain)
        """How many modules are of a plain kind: embedding, norm, projection, own parameters."""

    def of(self, kind: str) -> tuple[Block, ...]:
        """The blocks of one kind: "feedforward", "attention", "router" or "convolution"."""
        return tuple(block for block in self.blocks if block.kind == kind)

    def rows(self) -> list[Row]:
        """The table: equal blocks of numbered layers share a line."""
        lines: dict[tuple, list[Block]] = {}
        for block in self.blocks:
            key = (re.sub(r"\d+", "*", block.name), block.kind, block.units, re.sub(r"\d+", "*", block.says))
            lines.setdefault(key, []).append(block)
        return [
            Row(_spread([block.name for block in held]), len(held), key[1], _size(held[0]), held[0].says)
            for key, held in lines.items()
        ]

    def __str__(self) -> str:
        header = Row("block", 0, "kind", "size", "what a recording holds")
        rows = self.rows()
        cells = [[row.name, str(row.times or "times"), row.kind, row.size, row.says] for row in (header, *rows)]
        widths = [max(len(row[place]) for row in cells) for place in range(5)]
        lines = [f"{self.model}: {len(self.blocks)} blocks"]
        if rows:
            lines += ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
        lines += _grouped(self.unknown, self.model)
        return "\n".join([*lines, *self._also()])

    def _also(self) -> list[str]:
        counted = ", ".join(f"{count} {kind}" for kind, count in self.plain.items())
        return [f"also: {counted}"] if counted else []

    def __repr__(self) -> str:
        counts = ", ".join(f"{count} {kind}" for kind, count in Counter(block.kind for block in self.blocks).items())
        return f"Anatomy({self.model}: {counts or 'no blocks'}; {len(self.unknown)} not recognised)"

    def _repr_html_(self) -> str:
        def row(cells: Iterable[object], tag: str = "td") -> str:
            inside = "".join(
                f"<{tag} style='text-align:left;padding:2px 12px 2px 0;vertical-align:top'>{html.escape(str(cell))}</{tag}>"
                for cell in cells
            )
            return f"<tr>{inside}</tr>"

        head = row(("block", "times", "kind", "size", "what a recording holds"), "th")
        body = "".join(map(row, self.rows()))
        rest = _grouped(self.unknown, self.model) + self._also()
        below = "".join(f"<div>{html.escape(line)}</div>" for line in rest)
        caption = f"<caption style='text-align:left'>{html.escape(self.model)}: {len(self.blocks)} blocks</caption>"
        style = "color:inherit;font:inherit;border-collapse:collapse"
        return f"<table style='{style}'>{caption}<thead>{head}</thead><tbody>{body}</tbody></table>{below}"


def anatomy(model: nn.Module, inputs: Any = None) -> Anatomy:
    """The feed-forward blocks, attentions, routers and convolutions of any model.

    `inputs` is optional: a Tensor, a tuple (model(*inputs)) or a Mapping (model(**inputs)). With it the model runs once
    in evaluation, widths are read off, and a block that was not heard is listed as not recognised.
    """
    blocks, banks = blocks_and_banks(model)
    unknown, counts = _rest(model, blocks, banks)
    found = Anatomy(type(model).__name__, blocks, unknown, counts)
    return found if inputs is None else _heard(model, inputs, found)


def blocks_and_banks(model: nn.Module) -> tuple[list[Block], list[Bank]]:
    """All blocks in the model's own order, and the experts whose units lie in tables."""
    attentions = attention_blocks(model)
    routed = routers_and_banks(model)
    routers, banks = [block for block, _ in routed if block], [bank for _, bank in routed if bank]
    taken = {inner for block in (*attentions, *routers) for _, part in block.parts for inner in part.modules()}
    taken |= {inner for bank in banks for inner in bank.module.modules()}
    blocks = [*attentions, *routers, *feedforward_blocks(model, taken)]
    order = {module: place for place, (_, module) in enumerate(named(model))}
    return sorted(blocks, key=lambda block: order.get(block.module, -1)), banks


def _heard(model: nn.Module, inputs: Any, found: Anatomy) -> Anatomy:
    """The same with the widths that a run shows, and without what the run does not use."""
    from labkit.recording.kinds import Activations
    from labkit.recording.observe import observe

    spoken = [block for block in found.blocks if block.site]
    trace = observe(model, inputs, Activations) if spoken else {}
    blocks, silent = [], []
    for block in found.blocks:
        if block.site is None:
            blocks.append(block)
        elif block.name in trace:
            value = trace[block.name]
            first = value[0] if isinstance(value, list) else value
            blocks.append(block._replace(units=first.values.shape[-1]))
        else:
            silent.append((block.name, "its hidden units were not heard when the model ran on these inputs."))
    return Anatomy(found.model, blocks, (*found.unknown, *silent), found.plain)


def _rest(model: nn.Module, blocks: Iterable[Block], banks: Iterable[Bank]) -> tuple[list[tuple[str, str]], Counter]:
    """Modules with parameters outside all blocks: why they are not read, or how many there are of each plain kind."""
    inside = {inner for block in blocks for _, part in block.parts for inner in part.modules()}
    unknown, counts = [], Counter()
    for bank in banks:
        inside.update(bank.module.modules())
        many = f"the weights of {bank.experts} experts lie" if bank.experts else "all experts' weights lie"
        unknown.append((bank.name, f"{many} in one table, so no module sees their hidden units; record the Routing."))
    for name, module in named(model):
        own = [part for part in module._parameters.values() if part is not None]
        if not own or module in inside:
            continue
        kind = plain(module)
        if kind:
            counts[kind] += 1
        elif isinstance(module, RECURRENT):
            unknown.append((name, f"{type(module).__name__}: states inside a recurrent layer are not seen by hooks."))
        else:
            shapes = ", ".join(
                f"{key} {tuple(part.shape)}" for key, part in module._parameters.items() if part is not None
            )
            unknown.append((name, f"{type(module).__name__} computes with parameters of its own ({shapes})."))
    return unknown, counts


COUNTED = {"feedforward": "units", "convolution": "channels", "attention": "heads", "router": "choices"}


def _size(block: Block) -> str:
    return f"? {COUNTED[block.kind]}" if block.units is None else f"{block.units} {COUNTED[block.kind]}"


def _spread(names: list[str]) -> str:
    """Names that differ in their numbers as one: layers.0-5.mlp."""
    if len(names) == 1:
        return names[0] or "(the model itself)"
    pieces, numbers = re.split(r"\d+", names[0]), [list(map(int, re.findall(r"\d+", name))) for name in names]
    said = [_run(sorted(set(column))) for column in zip(*numbers)]
    return "".join(piece + (said[place] if place < len(said) else "") for place, piece in enumerate(pieces))


def _run(numbers: list[int]) -> str:
    if len(numbers) == 1:
        return str(numbers[0])
    if numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(map(str, numbers)) if len(numbers) < 5 else f"{numbers[0]},{numbers[1]}..{numbers[-1]}"


def _grouped(unknown: Iterable[tuple[str, str]], model: str) -> list[str]:
    """Lines on what was not recognised; modules of numbered layers share a line."""
    lines: dict[tuple[str, str], list[str]] = {}
    for name, why in unknown:
        lines.setdefault((re.sub(r"\d+", "*", name), why), []).append(name)
    return [f"not recognised: {_spread(names) if names[0] else model}: {why}" for (_, why), names in lines.items()]
