"""Isotropy of token states and the share of a residual's updates, against what is known by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labkit.analysis.geometry.isotropy import isotropy, isotropy_of
from labkit.analysis.geometry.residual_share import residual_share
from labkit.errors import LabError
from labkit.recording.record import NothingRecorded
from labkit.workbench.backbones.parallel_transformer import ALONE, PARALLEL, SERIES, Design, ParallelTransformer
from labkit.workbench.tasks.masked_characters import MaskedCharacters

TASK = MaskedCharacters(windows=3)
X = TASK.test()[0]


def two_layers(i: int, o: int) -> nn.Module:
    return nn.Sequential(nn.Linear(i, 2 * i), nn.GELU(), nn.Linear(2 * i, o))


def small(order: str) -> ParallelTransformer:
    torch.manual_seed(0)
    return ParallelTransformer(TASK, Design(two_layers, order, 2), width=8, heads=2)


def test_tokens_that_are_one_have_none():
    assert isotropy_of(torch.ones(2, 5, 4) * torch.tensor([1.0, 2, 3, 4])).abs() < 1e-6


def test_tokens_at_right_angles_have_all():
    assert torch.isclose(isotropy_of(torch.eye(4).unsqueeze(0)), torch.tensor(1.0))


def test_opposite_tokens_have_the_most_there_is():
    states = torch.stack((torch.ones(3), -torch.ones(3))).unsqueeze(0)
    assert torch.isclose(isotropy_of(states), torch.tensor(2.0))


def test_it_is_the_mean_over_all_pairs():
    states = torch.randn(3, 6, 5)
    pairs = [F.cosine_similarity(one[i], one[j], dim=0) for one in states for i in range(6) for j in range(6) if i != j]
    assert torch.isclose(isotropy_of(states), 1 - torch.stack(pairs).mean(), atol=1e-6)


def test_length_does_not_count():
    states = torch.randn(3, 6, 5)
    assert torch.isclose(isotropy_of(states), isotropy_of(states * torch.rand(3, 6, 1).add(0.1)), atol=1e-5)


def test_padding_is_left_out():
    states, real = torch.randn(1, 6, 5), torch.tensor([[True] * 4 + [False] * 2])
    assert torch.isclose(isotropy_of(states, real), isotropy_of(states[:, :4]), atol=1e-6)


def test_every_block_has_its_number_in_order():
    model = small(SERIES)
    found = isotropy(model, (X,))
    assert list(found.layer.values) == ["blocks.0", "blocks.1"]
    hidden = model.symbol(X) + model.place
    for block, value in zip(model.blocks, found.values, strict=True):
        hidden = block(hidden)
        assert value == pytest.approx(isotropy_of(hidden.detach()).item(), abs=1e-5)


def test_a_model_without_blocks_says_so():
    with pytest.raises(NothingRecorded, match=r"no nn\.ModuleList"):
        isotropy(nn.Linear(4, 4), (torch.randn(2, 3, 4),))
    with pytest.raises(LabError, match="it has blocks"):
        isotropy(small(SERIES), (X,), blocks="layers")


def shares_by_hand(model: ParallelTransformer) -> list[float]:
    """Norms of updates over norms of what they are added to, block by block."""
    found, x = [], model.symbol(X) + model.place
    for block in model.blocks:
        x = x + block.near(x.transpose(-1, -2)).transpose(-1, -2)
        said = block.attention(block.before(x))
        found.append((said.norm(dim=-1) / x.norm(dim=-1)).mean().item())
        seen = x + said
        if block.order != ALONE:
            said = block.slot(block.between(x if block.order == PARALLEL else seen))
            found.append((said.norm(dim=-1) / seen.norm(dim=-1)).mean().item())
            seen = seen + said
        x = seen
    return found


@pytest.mark.parametrize("order", [SERIES, PARALLEL, ALONE])
def test_the_share_is_the_norm_of_the_update_over_that_of_its_input(order):
    model = small(order)
    assert residual_share(model, (X,)).values.tolist() == pytest.approx(shares_by_hand(model), rel=1e-4)


def test_updates_are_named_and_in_the_order_of_use():
    found = residual_share(small(PARALLEL), (X,))
    names = [f"blocks.{place}.add_{part}" for place in range(2) for part in ("attention", "slot")]
    assert list(found.layer.values) == names


def test_a_plain_sum_cannot_be_seen():
    with pytest.raises(NothingRecorded, match="adds two tensors"):
        residual_share(nn.Sequential(nn.Linear(4, 4), nn.ReLU()), (torch.randn(2, 4),))


def test_in_parallel_the_feedforward_layer_does_not_see_attention():
    series, parallel = small(SERIES).blocks[0], small(PARALLEL).blocks[0]
    x, heard = torch.randn(2, TASK.length, 8), {}
    for name, block in (("series", series), ("parallel", parallel)):
        block.load_state_dict(series.state_dict())
        nn.init.zeros_(block.near.weight)
        nn.init.zeros_(block.near.bias)
        block.slot.register_forward_pre_hook(lambda _module, inputs, name=name: heard.setdefault(name, inputs[0]))
        block(x)
    assert torch.equal(heard["parallel"], parallel.between(x))
    assert not torch.allclose(heard["series"], heard["parallel"])


def test_an_order_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match="series, parallel or attention only, not 'sideways'"):
        small("sideways")
