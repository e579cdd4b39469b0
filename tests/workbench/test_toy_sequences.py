"""Toy sequences and the transformer that writes them: what is asked, what no place may see, what it writes by itself."""

import itertools

import pytest
import torch
from torch import nn

from labkit.errors import LabError
from labkit.workbench.backbones.encoder_decoder import Attention, EncoderDecoder, beside, prefixes, whole, writing
from labkit.workbench.tasks.toy_sequences import KINDS, ToySequences


@pytest.mark.parametrize("kind", KINDS)
def test_each_target_is_what_its_sign_asks_for(kind):
    task = ToySequences(kind, length=5, rows=40)
    x, target = task.test()
    for (source, written), wanted in zip(x.tolist(), target.tolist(), strict=True):
        assert wanted == (sorted(source) if written[0] == task.symbols + 1 else source[::-1])
        assert written[1:] == wanted[:-1]
    signs = set(x[:, 1, 0].tolist())
    assert signs == {"reverse": {10}, "sort": {11}, "both": {10, 11}}[kind]


def test_the_same_seed_gives_the_same_batches_and_can_go_on():
    task = ToySequences()
    first = [x for x, _ in itertools.islice(task.batches(3), 4)]
    assert all(torch.equal(*pair) for pair in zip(first, (x for x, _ in task.batches(3)), strict=False))
    assert torch.equal(first[2], next(task.batches(3, after=2))[0])
    assert not torch.equal(first[0], next(task.batches(4))[0])


def test_test_sequences_do_not_depend_on_the_seed():
    torch.manual_seed(1)
    one = ToySequences().test()[0]
    torch.manual_seed(2)
    assert torch.equal(one, ToySequences().test()[0])
    assert not torch.equal(one, ToySequences().train()[0])


@pytest.mark.parametrize("wrong", [{"kind": "shuffle"}, {"length": 1}, {"symbols": 1}])
def test_a_task_that_makes_no_sense_is_refused(wrong):
    with pytest.raises(LabError):
        ToySequences(**wrong)


SLOTS = {"attention": {}, "networks": {"encoder": whole(5), "decoder": prefixes(5), "cross": beside(5)}}


@pytest.mark.parametrize("slots", SLOTS)
def test_no_place_sees_what_comes_later(slots):
    task = ToySequences(rows=6)
    torch.manual_seed(0)
    model, (x, _) = EncoderDecoder(task, **SLOTS[slots]).eval(), task.test()
    before = model(x)
    for place in range(1, task.length):
        other = x.clone()
        other[:, 1, place:] = (other[:, 1, place:] + 3) % task.symbols
        after = model(other)
        assert torch.allclose(after[:, :place], before[:, :place], atol=1e-5)
        assert not torch.allclose(after[:, place:], before[:, place:], atol=1e-5)


@pytest.mark.parametrize("slots", SLOTS)
def test_every_place_hears_of_the_whole_source(slots):
    task = ToySequences(rows=6)
    torch.manual_seed(0)
    model, (x, _) = EncoderDecoder(task, **SLOTS[slots]).eval(), task.test()
    for token in range(task.length):
        other = x.clone()
        other[:, 0, token] = (other[:, 0, token] + 3) % task.symbols
        assert ((model(other) - model(x)).abs().amax((0, 2)) > 1e-6).all()


@pytest.mark.parametrize("slots", SLOTS)
def test_writing_goes_on_from_what_was_written(slots):
    """Given what it wrote, the network finds the same most likely symbols again."""
    task = ToySequences(rows=20)
    torch.manual_seed(0)
    model, (x, _) = EncoderDecoder(task, **SLOTS[slots]).eval(), task.test()
    wrote = model.write(x)
    forced = torch.stack((x[:, 0], torch.cat((x[:, 1, :1], wrote[:, :-1]), 1)), 1)
    assert torch.equal(model(forced).argmax(-1), wrote)


def test_writing_reads_nothing_of_the_answer_but_the_sign():
    task = ToySequences(rows=20)
    model, (x, _) = EncoderDecoder(task).eval(), task.test()
    blind = x.clone()
    blind[:, 1, 1:] = 0
    assert torch.equal(model.write(blind), model.write(x))


def test_attention_is_that_of_torch():
    torch.manual_seed(0)
    own, torchs = Attention(8, causal=True).double(), nn.MultiheadAttention(8, 4, batch_first=True).double()
    with torch.no_grad():
        torchs.in_proj_weight.copy_(torch.cat((own.query.weight, own.look.weight)))
        torchs.in_proj_bias.copy_(torch.cat((own.query.bias, own.look.bias)))
        torchs.out_proj.weight.copy_(own.gather.weight)
        torchs.out_proj.bias.copy_(own.gather.bias)
    x = torch.randn(3, 5, 8).double()
    mask = torch.ones(5, 5).triu(1).bool()
    assert torch.allclose(own(x), torchs(x, x, x, attn_mask=mask)[0])


def test_what_is_written_is_scored_by_task_and_place():
    task = ToySequences(rows=50)
    x, target = task.test()

    class Reverser(nn.Module):
        def write(self, x):
            return x[:, 0].flip(-1)

    table = writing(Reverser(), task)
    assert table.sel(asked="backwards").values == pytest.approx(1)
    in_order = x[:, 1, 0] == task.symbols + 1
    share = (x[in_order, 0].flip(-1) == target[in_order]).float().mean(0).numpy()
    assert table.sel(asked="in order").values == pytest.approx(share)
