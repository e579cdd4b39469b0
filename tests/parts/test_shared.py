"""Shared weights: one set of numbers in several places, in copies and files too, and a transformer built by a plan."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn
from torch.func import functional_call

from labkit.parts.shared import Lender, Lent, Nothing, places
from labkit.recording.record import record
from labkit.workbench.backbones.character_transformer import CharacterTransformer
from labkit.workbench.backbones.sharing_transformer import Plan, SharingTransformer
from labkit.workbench.budget import parameters
from labkit.workbench.tasks.masked_characters import MaskedCharacters

TASK = MaskedCharacters(windows=3)
X = TASK.test()[0]


class Chain(nn.Module):
    """Each place adds what it says."""

    def __init__(self, pattern: str):
        super().__init__()
        self.places = nn.ModuleList(places(lambda: nn.Linear(5, 5), pattern))

    def forward(self, x):
        for place in self.places:
            x = x + place(x)
        return x


def two_layers(i: int, o: int) -> nn.Module:
    return nn.Sequential(nn.Linear(i, 2 * i), nn.GELU(), nn.Linear(2 * i, o))


def small(pattern: str) -> SharingTransformer:
    torch.manual_seed(0)
    return SharingTransformer(TASK, Plan(two_layers, pattern), width=8, heads=2)


def test_a_letter_is_one_set_of_weights():
    found = places(lambda: nn.Linear(5, 5), "aba-")
    assert [type(one) for one in found] == [Lender, nn.Linear, Lent, Nothing]
    x = torch.randn(2, 5)
    assert torch.equal(found[2](x), found[0](x))
    assert not torch.equal(found[1](x), found[0](x))
    assert torch.equal(found[3](x), torch.zeros(2, 5))


def test_it_is_computed_as_if_written_out():
    chain, x = Chain("aab"), torch.randn(2, 5)
    first, _, second = chain.places
    by_hand = x + first(x)
    by_hand = by_hand + first(by_hand)
    assert torch.equal(chain(x), by_hand + second(by_hand))


def test_parameters_and_state_hold_each_number_once():
    assert parameters(Chain("aaaa")) == parameters(Chain("a")) == 30
    assert parameters(Chain("aabb")) == 60
    assert list(Chain("aaaa").state_dict()) == ["places.0.module.weight", "places.0.module.bias"]


def test_every_place_teaches_the_shared_weights():
    chain, x = Chain("aa"), torch.randn(4, 5, dtype=torch.float64)
    chain.double()
    chain(x).sum().backward()
    whole = chain.places[0].module.weight.grad
    first, second = (copy.deepcopy(chain.places[0].module) for _ in range(2))
    first.zero_grad()
    second.zero_grad()
    hidden = x + first(x)
    (hidden + second(hidden)).sum().backward()
    assert torch.allclose(whole, first.weight.grad + second.weight.grad)


def test_moved_to_another_type_they_move_together():
    assert Chain("aa").double()(torch.randn(2, 5, dtype=torch.float64)).dtype == torch.float64


def copied(model):
    return copy.deepcopy(model)


def pickled(model):
    return pickle.loads(pickle.dumps(model))


def saved(model):
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    other = Chain("aab")
    other.load_state_dict(torch.load(file, weights_only=True))
    return other


@pytest.mark.parametrize("again", [copied, pickled, saved])
def test_a_copy_says_the_same_and_shares_with_itself_only(again):
    chain, x = Chain("aab"), torch.randn(2, 5)
    other = again(chain)
    before = chain(x)
    assert torch.equal(other(x), before)
    with torch.no_grad():
        for value in other.places[0].parameters():
            value.zero_()
    assert torch.equal(other.places[1](x), torch.zeros(2, 5))
    assert torch.equal(chain(x), before)


def test_it_runs_with_other_weights():
    chain, x = Chain("aa"), torch.randn(2, 5)
    none = {name: torch.zeros_like(value) for name, value in chain.named_parameters()}
    assert torch.equal(functional_call(chain, none, (x,)), x)


def test_it_compiles_as_one_graph():
    chain, x = Chain("aa-"), torch.randn(2, 5)
    assert torch.equal(torch.compile(chain, fullgraph=True, backend="eager")(x), chain(x))


def test_every_place_is_recorded_by_its_own_name():
    chain, x = Chain("aa"), torch.randn(2, 5)
    with record(chain, None, "places.?") as trace:
        chain(x)
    first = chain.places[0](x)
    assert list(trace) == ["places.0", "places.1"]
    assert torch.equal(trace["places.0"], first)
    assert torch.equal(trace["places.1"], chain.places[0](x + first))


def test_one_place_is_silenced_without_the_others():
    chain, x = Chain("aa"), torch.randn(2, 5)
    wanted = x + chain.places[0](x)
    chain.places[0].register_forward_hook(lambda _module, _inputs, said: torch.zeros_like(said))
    assert torch.equal(chain(x), wanted)


@pytest.mark.parametrize("pattern", ["", "a b", "a1"])
def test_a_pattern_that_says_nothing_is_refused(pattern):
    with pytest.raises(ValueError, match="a pattern is made of letters"):
        places(lambda: nn.Linear(5, 5), pattern)


def test_a_plan_of_layers_of_their_own_is_the_usual_transformer():
    torch.manual_seed(0)
    usual = CharacterTransformer(TASK, two_layers, width=8, depth=3, heads=2)
    planned = small("abc")
    assert parameters(planned) == parameters(usual)
    planned.load_state_dict(usual.state_dict())
    assert torch.equal(planned.eval()(X), usual.eval()(X))


def test_a_plan_shares_layers_and_leaves_norms_and_attention_alone():
    layer = sum(value.numel() for value in two_layers(8, 8).parameters())
    own, shared, none = (parameters(small(pattern)) for pattern in ("abcd", "aaaa", "----"))
    assert own - shared == 3 * layer
    assert shared - none == layer + 4 * 2 * 8  # and the norm before each


def test_a_block_with_nothing_is_attention_alone():
    model = small("a-")
    block, x = model.blocks[1], torch.randn(2, TASK.length, 8)
    mixed = x + block.near(x.transpose(-1, -2)).transpose(-1, -2)
    query, key, value = block.look(block.before(mixed)).unflatten(-1, (3, 2, 4)).permute(2, 0, 3, 1, 4)
    weights = (query @ key.transpose(-1, -2) / 4**0.5).softmax(-1)
    by_hand = mixed + block.gather((weights @ value).transpose(1, 2).flatten(-2))
    assert torch.allclose(block(x), by_hand, atol=1e-5)


def test_a_plan_makes_one_layer_where_a_layer_is_asked_for():
    assert parameters(Plan(two_layers, "aaaa")(8, 8)) == parameters(two_layers(8, 8))
