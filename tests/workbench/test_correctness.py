"""The scoreboard of correctness: the contract judges anyone's layer, fairly, and every new check bites."""

import json
from contextlib import suppress
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import labkit
from labkit.contract import layer_answers, layer_company, layer_tools
from labkit.contract.proving import at_its_best, prove_on
from labkit.example import Example
from labkit.layers.feedforward import fast_feedforward
from labkit.workbench.scoreboard import correctness
from labkit.workbench.scoreboard.correctness import failures, judge, measure, saved
from labkit.workbench.scoreboard.peers import PEERS, FirstOutput, Peer


class Foreign(nn.Module):
    """A layer of somebody else: no shapes are stated. What comes below changes one thing."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 4))

    def forward(self, x):
        return x @ self.weight


def foreign(change):
    """A `Foreign` layer whose answer is `change(layer, its answer, x)`."""

    class Changed(Foreign):
        def forward(self, x):
            return change(self, super().forward(x), x)

    return Changed


def rows(seed: int) -> tuple[Tensor]:
    return (torch.randn(6, 4, generator=torch.Generator().manual_seed(seed)),)


def sequences(seed: int) -> tuple[Tensor]:
    return (torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(seed)),)


def mean_of_the_past(x: Tensor) -> Tensor:
    return x.cumsum(-2) / torch.arange(1, x.shape[-2] + 1, dtype=x.dtype).unsqueeze(-1)


def as_full_as_it_gets(layer, out, x):
    """An expert with three places: those who come later and want the same are dropped."""
    alike = (x.unsqueeze(0) - x.unsqueeze(1)).abs().sum(-1) < 1e-6
    return out * (alike.tril(-1).sum(-1, keepdim=True) < 3)


LOCAL = {"copies and pickles": "a class made in a function cannot be pickled"}

FAULTS = [
    (layer_company.the_past_does_not_see_the_future, sequences, lambda s, out, x: out - out.mean(1, keepdim=True)),
    (layer_company.the_past_does_not_see_the_future, sequences, lambda s, out, x: out + out.flip(1)),
    (layer_company.what_is_not_a_number_stays_in_its_row, rows, lambda s, out, x: out + 0 * x.sum()),
    (layer_company.what_is_not_a_number_stays_in_its_row, rows, lambda s, out, x: out.nan_to_num()),
    (layer_company.rows_do_not_mix, rows, lambda s, out, x: out + out[:1]),
    (layer_company.rows_do_not_mix, rows, as_full_as_it_gets),
    (layer_tools.without_gradients_the_answer_is_the_same, rows, lambda s, out, x: out * (1 + out.requires_grad)),
    (layer_tools.runs_under_autocast, rows, lambda s, out, x: out.index_add(0, torch.arange(len(x)), x)),
    (layer_company.any_leading_dimensions_also_an_empty_batch, rows, lambda s, out, x: out / len(x)),
    (layer_answers.refuses_a_wrong_shape_with_a_sentence, rows, lambda s, out, x: out),
    (layer_answers.shape_fits_its_annotation_and_is_finite, rows, lambda s, out, x: out[:3]),
    (layer_answers.gradients_are_right, rows, lambda s, out, x: out.float() * 2 - out.float().detach()),
]


@pytest.mark.parametrize(("prove", "inputs", "fault"), FAULTS, ids=lambda value: getattr(value, "__name__", None))
def test_a_fault_in_a_foreign_layer_trips(prove, inputs, fault):
    make = foreign(fault)
    if prove is layer_answers.refuses_a_wrong_shape_with_a_sentence:
        make = foreign(lambda layer, out, x: out)
        make.forward = lambda layer, x: x[..., :2] @ layer.weight[:2]
    with pytest.raises((AssertionError, RuntimeError)):
        prove_on(prove, Example(make, inputs))


@pytest.mark.parametrize("inputs", [rows, sequences])
def test_a_sound_foreign_layer_fails_nothing(inputs):
    reference = lambda layer, x: torch.einsum("...i,io->...o", x, layer.weight)  # noqa: E731
    assert failures({"checks": labkit.check(Foreign, Example(Foreign, inputs, reference))}) == {}


def test_a_causal_layer_that_mixes_tokens_keeps_the_past():
    make = foreign(lambda layer, out, x: mean_of_the_past(out))
    prove_on(layer_company.the_past_does_not_see_the_future, Example(make, sequences))


def test_what_says_nothing_about_a_layer_is_exempt_and_says_why():
    report = labkit.check(Foreign, Example(Foreign, rows))
    assert report["equals its reference forward and backward"] == "exempt: no reference was given to compare it with"
    assert report["the past does not see the future"].startswith("exempt: each row stands alone")
    assert report["routing is a choice"].startswith("exempt: ")


def test_a_layer_without_stated_shapes_and_without_inputs_is_asked_for_them():
    report = labkit.check(Foreign)
    assert "Foreign.forward states no shapes" in report["returns only a tensor"]


def test_single_precision_inside_is_judged_by_single_precision():
    make = foreign(lambda layer, out, x: (out.float() * 1.1).to(out.dtype))
    example = Example(make, rows, exempt=LOCAL)
    assert at_its_best(make(), rows(0), example).tolerance == 1e-5
    assert at_its_best(Foreign(), rows(0), Example(Foreign, rows)).tolerance == 1e-9
    report = labkit.check(make, example)
    assert report["gradients are right"] == "passed"
    assert failures({"checks": report}) == {}


def test_frozen_parameters_need_not_learn():
    def make():
        layer = Foreign()
        layer.depth = nn.Parameter(torch.tensor(3), requires_grad=False)
        return layer

    report = labkit.check(make, Example(make, rows))
    assert failures({"checks": report}) == {}


def test_of_a_tuple_the_first_output_is_judged_where_the_adapter_says_so():
    make = foreign(lambda layer, out, x: (out, out.mean()))
    example = Example(make, rows, lambda layer, x: x @ layer.weight, LOCAL)
    plain = judge(Peer("Two", "none", lambda: example), example)
    assert len(failures({"checks": plain})) > 10
    first = judge(Peer("Two", "none", lambda: example, first_output=True), example)
    assert failures({"checks": first}) == {"returns only a tensor": "forward returns a tuple of 2 and not one tensor"}
    assert first["equals its reference forward and backward"] == "passed"
    assert isinstance(FirstOutput(make())(*rows(0)), Tensor)


class ForgetsItsBias(fast_feedforward.FastFeedforward):
    """What fastfeedforward 0.2.1 does: in evaluation the leaf's output bias is left out."""

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out if self.training else out - self.leaves.out_bias[self.gate(x).index.squeeze(-1)]


def test_the_known_fault_of_a_peer_planted_in_a_copy_of_our_layer_is_found():
    def make():
        return ForgetsItsBias(4, 3, depth=2, leaf_width=2)

    report = labkit.check(make, Example(make, rows, fast_feedforward.slowly))
    said = report["equals its reference forward and backward"]
    assert said.startswith("in evaluation: the answer differs from the reference")
    assert "training" not in said


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: f"{peer.package}-{peer.name}".replace(" ", "_"))
def test_an_adapter_makes_its_layer_or_says_that_it_is_not_installed(peer):
    try:
        example = correctness._quietly(peer.example)
    except ImportError as error:
        why = correctness._absence(peer, error)
        pytest.skip(why) if peer.package in why else pytest.fail(why)
    layer, inputs = example.make(), example.inputs(0)
    out = layer(*inputs)
    assert isinstance(out, tuple) == peer.first_output
    assert set(example.exempt) <= set(labkit.check(Foreign, Example(Foreign, rows)))


def test_the_control_passes_everything():
    peer = next(one for one in PEERS if one.package == "torch")
    assert failures({"checks": judge(peer, peer.example())}) == {}


@pytest.fixture
def small(monkeypatch, tmp_path):
    """One layer of ours, two peers of which one is not installed, and a place of its own for what is saved."""

    def missing():
        raise ImportError("No module named 'nowhere'")

    control = next(one for one in PEERS if one.package == "torch")
    monkeypatch.setattr(correctness, "PEERS", (replace(control, name="Control"), Peer("Gone", "nowhere", missing)))
    ours = [one for one in correctness.our_examples() if one[0] == "FastFeedforward"]
    monkeypatch.setattr(correctness, "our_examples", lambda: ours)
    monkeypatch.setenv("LABKIT_ASSETS", str(tmp_path))


def test_all_our_layers_are_found_with_their_papers():
    ours = {name: paper for name, paper, _ in correctness.our_examples()}
    assert {"FastFeedforward": "P120", "NeuronTrees": "P135"}.items() <= ours.items()
    assert all(paper is not None for paper in ours.values())


def test_a_measurement_lists_ours_peers_and_what_is_absent_and_survives_saving(small):
    told = []
    result = measure(lambda name, number, of: told.append((name, number, of)))
    ours = [row for row in result["layers"] if row["ours"]]
    assert [(row["name"], row["paper"], row["package"]) for row in ours] == [("FastFeedforward", "P120", "labkit")]
    assert told == [("FastFeedforward", 0, 3), ("Control", 1, 3), ("Gone", 2, 3)]
    assert result["layers"][-1]["name"] == "Control"
    gone = "nowhere is not installed: pip install 'labkit[peers]'."
    assert result["absent"] == [{"name": "Gone", "package": "nowhere", "why": gone}]
    assert {"date", "commit", "versions", "machine"} <= set(result["made"])
    assert saved() is None
    correctness.save(result)
    assert saved() == json.loads(json.dumps(result))


def test_what_is_recorded_names_every_check_and_stays_small():
    if (recorded := saved()) is None:
        pytest.skip("no contract is recorded")
    names = set(labkit.check(Foreign, Example(Foreign, rows)))
    assert all(set(row["checks"]) == names for row in recorded["layers"])
    assert {row["package"] for row in recorded["layers"]} > {"labkit", "torch", "fastfeedforward", "transformers"}
    fast = next(row for row in recorded["layers"] if row["package"] == "fastfeedforward")
    assert failures(fast)["equals its reference forward and backward"].startswith("in evaluation")
    with suppress(StopIteration):
        broken = next(row for row in recorded["layers"] if row["ours"] and failures(row))
        raise AssertionError(f"{broken['name']} of ours fails: {failures(broken)}")
