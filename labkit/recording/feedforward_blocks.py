"""Finds feed-forward blocks and convolutions of any model by their structure, and where their hidden units are read.

Three rules, in this order for each module that holds projections (linear maps, convolutions):

1. in a Sequential, a nonlinearity behind a projection: its output, under the nonlinearity's own name;
2. an up-projection whose output is as wide as a down-projection's input beside it (gated: two up, one down): what
   enters the down-projection, under the name of the module that holds both;
3. convolutions with nonlinearities beside them: what the nonlinearity returns after each, under the nonlinearity's
   name, or under the convolution's where one nonlinearity serves several.
"""

import itertools
import re
from collections.abc import Collection, Iterator, Sequence

from torch import nn

from labkit.recording.block import Block, Kind, Site
from labkit.recording.materials import (
    Child,
    Projection,
    children,
    named,
    nonlinear,
    norm,
    places_of,
    plain,
    transparent,
)

OUTPUT = (nn.Sigmoid, nn.Tanh, nn.Softplus, nn.Hardsigmoid)
HEAD = re.compile(r"(^|\.)(cls|head|lm_head|pooler|classifier|predictions|score|qa_outputs|transform)(\.|$)")
PARALLEL = re.compile(r"(projection|head|classifier|embed\w*)$", re.IGNORECASE)
DOWN = re.compile(r"^(down_proj|c_proj|fc2|linear2|lin2|wo|w2|out_proj|proj_out)$", re.IGNORECASE)


def feedforward_blocks(model: nn.Module, taken: Collection[nn.Module]) -> list[Block]:
    """Every feed-forward block and convolution outside the modules that are `taken` already."""
    found: list[Block] = []
    used: set[nn.Module] = set(taken)
    for name, module in named(model):
        if module in used:
            continue
        inside = [child for child in children(module, name) if not (child.module in used and _claimed(child, taken))]
        if isinstance(module, nn.Sequential):
            blocks = _in_sequence(inside, root=not name)
        elif norm(module):
            blocks = _in_norm(module, inside)
        else:
            blocks = _side_by_side(name, module, inside) if plain(module) else []
        for block in blocks:
            used.update(part for _, part in block.parts)
            found.append(block)
    return found


def _claimed(child: Child, taken: Collection[nn.Module]) -> bool:
    """Whether a module that is in use may not serve again: a nonlinearity may, a projection may not."""
    return child.module in taken or child.projection is not None


def _in_sequence(inside: Sequence[Child], root: bool) -> Iterator[Block]:
    """Rule 1."""
    last = max((place for place, child in enumerate(inside) if not transparent(child.module)), default=-1)
    several = {child.module for child in inside if [other.module for other in inside].count(child.module) > 1}
    for place, child in enumerate(inside):
        if not child.nonlinear or (root and place > last and place > 1 and isinstance(child.module, OUTPUT)):
            continue
        source = _before(inside[:place])
        if source is None:
            following = next((later.projection for later in inside[place:] if later.projection), None)
            if following is None:
                continue
            source = Child(child.short, child.name, child.module, Projection(0, following.into, following.places))
        assert source.projection is not None
        block = _spoken(child, source, after=source.module if child.module in several else None)
        reader = _after(inside[place + 1 :])
        yield block._replace(parts=(*block.parts, (reader.name, reader.module))) if reader else block


def _before(earlier: Sequence[Child]) -> Child | None:
    """The projection whose output a nonlinearity is given, looking back over norms, dropout and pooling."""
    for child in reversed(earlier):
        if child.projection:
            return child
        if not transparent(child.module):
            held = [inner for inner in _leaves(child) if inner.projection]
            return held[-1] if held else None
    return None


def _after(later: Sequence[Child]) -> Child | None:
    """The projection that reads what a nonlinearity says, where nothing else stands between them."""
    following = next((child for child in later if not transparent(child.module)), None)
    return following if following and following.projection else None


def _leaves(child: Child) -> Iterator[Child]:
    yield child
    for inner in children(child.module, child.name):
        yield from _leaves(inner)


def _in_norm(module: nn.Module, inside: Sequence[Child]) -> Iterator[Block]:
    """A norm that holds its nonlinearity, as `BatchNormAct2d`."""
    width = getattr(module, "num_features", None)
    for child in inside:
        if child.nonlinear and isinstance(width, int):
            yield _spoken(child, Child(child.short, child.name, module, Projection(0, width, places_of(module))))


def _side_by_side(name: str, module: nn.Module, inside: Sequence[Child]) -> list[Block]:
    """Rules 2 and 3."""
    projections = [child for child in inside if child.projection]
    speaking = [child for child in inside if child.nonlinear and not child.short.startswith("pooler")]
    spatial = any(child.projection and child.projection.spatial for child in projections)
    if spatial and speaking:
        pairs = _around(speaking, inside)
    else:
        pairs = _pairs(inside) if len(projections) > 1 else _held_apart(inside)
    if pairs:
        return [_entering(name, ups, down, alone=len(pairs) == 1) for ups, down in pairs]
    if not speaking or not projections or (not spatial and HEAD.search(name)):
        return []
    if len(speaking) >= len(projections) or all(re.search(r"\d$", child.short) for child in speaking):
        sources = [(child, _before(inside[: inside.index(child)])) for child in speaking]
        found = [_spoken(child, source) for child, source in sources if source]
        if found or not norm(inside[0].module):
            return found
        return [_spoken(child, _behind(child, inside)) for child in speaking if _behind(child, inside)]
    served = projections[:-1] if not name and inside[-1] is projections[-1] else projections
    return [_spoken(speaking[0], source, after=source.module, holder=module) for source in served]


def _behind(child: Child, inside: Sequence[Child]) -> Child:
    """Norm, nonlinearity, convolution: the units are what the convolution is given."""
    following = next((later for later in inside[inside.index(child) :] if later.projection), child)
    given = following.projection or Projection(0, 0)
    return Child(child.short, child.name, child.module, Projection(0, given.into, given.places))


def _pairs(inside: Sequence[Child]) -> list[tuple[list[Child], Child]]:
    """Up-projections and the down-projection that reads them, in the order in which they were given."""
    linear = [child for child in inside if child.projection and not child.projection.spatial]
    gated = _gated(linear)
    if gated:
        return [gated]
    found: list[tuple[list[Child], Child]] = []
    up: Child | None = None
    for child in inside:
        if child.projection:
            if up and _reads(child, up):
                found.append(([up], child))
            up = child
        elif not transparent(child.module) or (norm(child.module) and child.module._modules):
            up = None
    return found


def _around(speaking: Sequence[Child], inside: Sequence[Child]) -> list[tuple[list[Child], Child]]:
    """Two linear layers on both sides of a nonlinearity, in a block that has a convolution too, as in ConvNeXt."""
    found = []
    for child in speaking:
        place = inside.index(child)
        up, down = _before(inside[:place]), _after(inside[place:])
        flat = up and down and not any(one.projection and one.projection.places for one in (up, down))
        if up and down and flat and _reads(down, up):
            found.append(([up], down))
    return found


def _reads(down: Child, up: Child) -> bool:
    """Whether the width fits: the same, half of it (gated in one matrix), or channels and places in one axis."""
    assert up.projection
    assert down.projection
    out, into = up.projection.out, down.projection.into
    if PARALLEL.search(up.short) and PARALLEL.search(down.short):
        return False
    if up.projection.places and not down.projection.places:
        return into % out == 0
    return up.projection.places == down.projection.places and into in (out, out / 2)


def _gated(linear: Sequence[Child]) -> tuple[list[Child], Child] | None:
    """Two projections up and one down: the down-projection is the one with the other shape, or the one called so."""
    if len(linear) != 3:
        return None
    shapes = [child.projection[:2] for child in linear if child.projection]
    odd = [child for child, shape in zip(linear, shapes, strict=True) if shapes.count(shape) == 1]
    if len(odd) == 1 and odd[0].projection:
        twice = next(shape for shape in shapes if shapes.count(shape) == 2)
        if twice[0] == twice[1] or (twice[1], twice[0]) != odd[0].projection[:2]:
            return None
    elif shapes[0][0] != shapes[0][1] or len(set(shapes)) > 1:
        return None
    else:
        odd = [child for child in linear if DOWN.search(child.short)]
        if len(odd) != 1:
            return None
    return [child for child in linear if child is not odd[0]], odd[0]


def _held_apart(inside: Sequence[Child]) -> list[tuple[list[Child], Child]]:
    """Up and down in two modules side by side, as BERT's `intermediate` and `output`."""
    for first, second in itertools.pairwise(inside):
        up, down = ([leaf for leaf in _leaves(child) if leaf.projection] for child in (first, second))
        if len(up) == len(down) == 1 and first.projection is None and second.projection is None:
            wide, back = up[0].projection, down[0].projection
            assert wide
            assert back
            if not wide.places and wide.out == back.into > wide.into == back.out:
                return [(up, down[0])]
    return []


def _entering(name: str, ups: list[Child], down: Child, alone: bool) -> Block:
    """A block read at the entrance of its down-projection."""
    assert down.projection
    assert ups[0].projection
    flattened = bool(ups[0].projection.places and not down.projection.places)
    units = ups[0].projection.out if flattened else down.projection.into
    convolves = any(up.projection and up.projection.spatial for up in ups)
    full = name if alone and name and not convolves else ups[0].name
    kind: Kind = "convolution" if convolves else "feedforward"
    says = f"what enters {_own(down.name, name)}" + (", after the product of gate and value" if len(ups) > 1 else "")
    return Block(
        full,
        kind,
        ups[0].module if full == ups[0].name else down.module,
        units,
        says,
        Site(down.module, "input", down.projection.places, flattened),
        tuple((child.name, child.module) for child in (*ups, down)),
    )


def _spoken(child: Child, source: Child, after: nn.Module | None = None, holder: nn.Module | None = None) -> Block:
    """A block read at the exit of its nonlinearity."""
    assert source.projection
    units, places = source.projection.out, source.projection.places
    if type(child.module).__name__ == "GLU":
        units //= 2
    kind: Kind = "convolution" if places else "feedforward"
    shared = after is not None and holder is not None
    says = f"what {child.short} returns" + (" after it" if shared else "")
    return Block(
        source.name if shared else child.name,
        kind,
        source.module if shared else child.module,
        units or None,
        says,
        Site(child.module, "output", places, after=after, holder=holder),
        tuple({(part.name, part.module) for part in (source, child) if nonlinear(part.module) or part.projection}),
    )


def _own(full: str, holder: str) -> str:
    return full.removeprefix(f"{holder}.") if holder else full
