"""The guided layer: where it starts, what each share computes, and what is left when the guide is gone."""

import copy

import pytest
import torch
from torch import nn

from labkit.layers.structured.block_dense_linear import BlockDenseLinear
from labkit.layers.structured.block_shuffle_linear import BlockShuffleLinear
from labkit.layers.structured.guided_linear import GuidedLinear
from labkit.layers.structured.low_rank_linear import LowRankLinear
from labkit.studies.structured.low_rank_training import RANK, DenseFirst
from labkit.studies.structured.structured_feedforward import AsDear, feedforward, low_rank
from labkit.workbench.backbones.character_transformer import CharacterTransformer
from labkit.workbench.backbones.formed_feedforward import dense
from labkit.workbench.budget import flops, parameters
from labkit.workbench.guiding import Guided, guide_share
from labkit.workbench.tasks.classification import Classification
from labkit.workbench.tasks.masked_characters import MaskedCharacters

STRUCTURES = {
    "low rank": lambda: LowRankLinear(8, 12, rank=3, bias=False),
    "block dense": lambda: BlockDenseLinear(8, 12, blocks=2, rank=4, bias=False),
    "block shuffle": lambda: BlockShuffleLinear(8, 12, blocks=4, bias=False),
}


@pytest.fixture(params=STRUCTURES)
def layer(request):
    torch.manual_seed(0)
    return GuidedLinear(8, 12, STRUCTURES[request.param]())


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_it_starts_as_its_structure_whatever_the_share(layer, share):
    x = torch.randn(5, 8)
    layer.share = share
    assert torch.allclose(layer.train()(x), layer.structured(x), atol=1e-5)


def test_the_share_mixes_guide_and_structure_but_not_the_bias(layer):
    x = torch.randn(5, 8)
    nn.init.normal_(layer.guide)
    nn.init.normal_(layer.bias)
    layer.share = 0.25
    wanted = 0.25 * x @ layer.guide + 0.75 * layer.structured(x) + layer.bias
    assert torch.allclose(layer.train()(x), wanted, atol=1e-5)


def test_in_evaluation_and_after_fading_only_the_structure_is_computed(layer):
    x = torch.randn(5, 8)
    nn.init.normal_(layer.guide)
    alone = flops(layer.structured, x)
    assert flops(layer, x) == alone
    assert torch.equal(layer.eval()(x), layer.structured.eval()(x))
    assert flops(layer, x, training=True) == alone + 2 * 5 * 8 * 12
    layer.share = 0.0
    assert flops(layer, x, training=True) == alone


def test_with_the_whole_share_the_structure_does_not_learn(layer):
    layer.train()(torch.randn(5, 8)).square().sum().backward()
    assert all(parameter.grad.abs().sum() == 0 for parameter in layer.structured.parameters())
    assert layer.guide.grad.abs().sum() > 0


def test_let_go_leaves_the_structure_and_the_bias(layer):
    own = parameters(layer.structured)
    layer.let_go()
    assert parameters(layer) == own + 12
    assert layer.share == 0
    assert torch.equal(layer.train()(x := torch.randn(2, 8)), layer.structured(x))


def test_the_share_is_part_of_the_state(layer):
    layer.share = 0.125
    other = GuidedLinear(8, 12, copy.deepcopy(layer.structured))
    other.load_state_dict(layer.state_dict())
    assert other.share == 0.125


def test_a_structure_with_a_bias_or_of_another_shape_is_refused():
    biased = LowRankLinear(8, 12, rank=3)
    nn.init.ones_(biased.bias)
    with pytest.raises(ValueError, match="bias=False"):
        GuidedLinear(8, 12, biased)
    with pytest.raises(ValueError, match=r"\(8, 8\) to \(8, 13\).*\(8, 12\)"):
        GuidedLinear(8, 13, LowRankLinear(8, 12, rank=3, bias=False))
    with pytest.raises(ValueError, match="between 0 and 1"):
        GuidedLinear(8, 12, LowRankLinear(8, 12, rank=3, bias=False), share=1.5)


def test_the_share_falls_as_a_cosine_to_the_middle_of_the_training():
    assert guide_share(0, 0.5) == 1
    assert guide_share(0.25, 0.5) == pytest.approx(0.5)
    assert guide_share(0.125, 0.5) == pytest.approx(0.5 * (1 + 0.5**0.5))
    assert guide_share(0.5, 0.5) == guide_share(0.9, 0.5) == 0


@pytest.mark.parametrize("resting", [False, True])
def test_the_trainer_fades_the_guide_and_lets_it_go(resting):
    torch.manual_seed(0)
    task = Classification("mnist", rows=64, test_rows=16)
    model = GuidedLinear(784, 10, LowRankLinear(784, 10, rank=3, bias=False))
    trainer, batches = Guided(0.01, resting=resting), task.batches(0)
    start = model.guide.detach().clone()
    trainer.start(model, task, 8)
    shares = []
    for _ in range(8):
        trainer.step(model, next(batches))
        shares.append(model.share)
        if len(shares) == 1:
            assert not torch.equal(model.guide, start)
    assert shares == [guide_share(step / 8, 0.5) for step in range(8)]
    assert model.guide is None
    assert len(list(model.parameters())) == 3


def test_as_dear_takes_as_many_more_steps_as_the_guides_would_cost():
    task = MaskedCharacters(batch=2, windows=4)
    x = task.test()[0]
    model = CharacterTransformer(task, feedforward(low_rank), depth=1)
    trainer, batches = AsDear(0.01), task.batches(0)
    trainer.start(model, task, 20)
    for _ in range(20):
        trainer.step(model, next(batches))
    guides = 2 * 2 * 64 * 256 * 0.5 * 0.5  # two of 64 x 256, in half of the steps, resting in half of those
    assert trainer.taken == int(20 * (1 + guides / (flops(model, x) / x.numel())))


def test_dense_first_becomes_low_rank_and_goes_on_learning():
    torch.manual_seed(0)
    task = MaskedCharacters(batch=2, windows=4)
    model = CharacterTransformer(task, feedforward(dense), depth=1)
    slot, trainer, batches = model.blocks[0].slot, DenseFirst(0.01, until=0.5), task.batches(0)
    trainer.start(model, task, 8)
    for _ in range(5):
        trainer.step(model, next(batches))
    assert isinstance(slot.into, LowRankLinear)
    assert slot.out.down.shape == (256, RANK)
    before = slot.out.down.detach().clone()
    rates = [group["lr"] for group in trainer.optimizer.param_groups]
    assert rates[0] == rates[1]
    trainer.step(model, next(batches))
    assert not torch.equal(before, slot.out.down)
