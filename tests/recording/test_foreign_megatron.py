"""Megatron router traces, written here as its tracer writes them; every malformed one says file, line and reason."""

import itertools
import json
import tracemalloc

import numpy as np
import pytest
import torch

from labkit.analysis.routing.balance import balance_of
from labkit.analysis.routing.choice_flow import flow_of
from labkit.analysis.routing.choice_load import load_of
from labkit.analysis.routing.dtype_flips import choice_flips
from labkit.errors import LabError
from labkit.recording.foreign import megatron_lines
from labkit.recording.foreign.megatron import read_steps
from labkit.recording.foreign.open_routing import open_routing

EXPERTS, CHOSEN = 8, 2


class Tracer:
    """Writes what `RouterTracer` of Megatron-LM writes: one line for each step and layer, logits beside it."""

    def __init__(self, folder, rank=0, logits=True, seed=0):
        self.folder, self.rank, self.logits = folder, rank, logits
        self.draws = torch.Generator().manual_seed(seed + rank)
        self.offset, self.truth = 0, {}
        self.path = folder / f"router_trace_rank{rank}.jsonl"
        self.side = folder / f"logits_rank{rank}.bin"

    def record(self, step, layer, tokens=10, block="decoder", **more):
        scores = torch.randn(tokens, EXPERTS, generator=self.draws).bfloat16()
        index = scores.float().topk(CHOSEN, -1).indices.sort(-1).values  # in the order of the experts, as from a mask
        line = {"step": step, "stage": "pre_dispatch", "block": block, "layer": layer, "rank": self.rank}
        line |= {"num_tokens": tokens, "topk": CHOSEN} | more
        if self.logits:
            data = scores.view(torch.int16).numpy().tobytes()
            with self.side.open("ab") as file:
                file.write(data)
            line |= {"logit_offset": self.offset, "logit_bytes": len(data), "logit_shape": [tokens, EXPERTS]}
            self.offset += len(data)
        line["top_indices"] = index.tolist()
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        self.truth.setdefault((block, layer), []).append((step, scores.float(), index))
        return line


def whole(tracer, key):
    return (torch.cat([part[place] for part in tracer.truth[key]]) for place in (1, 2))


@pytest.fixture
def traced(tmp_path):
    tracer = Tracer(tmp_path)
    for step, layer in itertools.product([100, 101, 102], [2, 10]):
        for _microbatch in range(2):
            tracer.record(step, layer)
    return tracer


def test_reads_choices_in_order_of_their_logits_and_weighs_them(traced):
    found = open_routing(traced.folder)
    assert list(found) == ["decoder.layers.2", "decoder.layers.10"]
    scores, index = whole(traced, ("decoder", 10))
    routing = found["decoder.layers.10"]
    assert torch.equal(routing.scores, scores)
    assert torch.equal(routing.index.sort(-1).values, index)
    best = scores.topk(CHOSEN, -1)
    assert torch.allclose(routing.weights, best.values.softmax(-1))
    assert routing.choices == EXPERTS
    assert found.aligned
    assert found.ordered


def test_sigmoid_weights_where_asked(traced):
    routing = open_routing(traced.path, score_function="sigmoid")["decoder.layers.2"]
    shares = routing.scores.gather(-1, routing.index).sigmoid()
    assert torch.allclose(routing.weights, shares / shares.sum(-1, keepdim=True))
    with pytest.raises(LabError, match="softmax or sigmoid, not 'relu'"):
        open_routing(traced.path, score_function="relu")


def test_measurements_start_from_the_file(traced):
    found = open_routing(traced.folder)
    assert load_of(found).sum("choice").values == pytest.approx([1, 1])
    assert flow_of(found).sum().item() == pytest.approx(1, abs=1e-5)
    assert balance_of(found).sel(quantity="auxiliary loss").notnull().all()
    assert "before dispatch" in load_of(found).note


def test_without_logits_it_says_what_is_not_known(tmp_path):
    tracer = Tracer(tmp_path, logits=False)
    tracer.record(0, 0)
    found = open_routing(tracer.path)
    assert not found.ordered
    assert not found.weighted
    assert found["decoder.layers.0"].weights.unique().tolist() == [0.5]
    assert sum("not recorded" in sentence for sentence in found.says) == 2
    with pytest.raises(LabError, match="any_place=True"):
        choice_flips(found, found)


def test_some_steps_or_one_after_the_other(traced):
    scores, _ = whole(traced, ("decoder", 2))
    assert torch.equal(open_routing(traced.path, steps=101)["decoder.layers.2"].scores, scores[20:40])
    assert len(open_routing(traced.path, steps=range(101, 200))["decoder.layers.2"].index) == 40
    seen = {step: routings["decoder.layers.2"].scores for step, routings in read_steps(traced.folder)}
    assert list(seen) == [100, 101, 102]
    assert torch.equal(seen[102], scores[40:])
    with pytest.raises(LabError, match="no routing of step 7"):
        open_routing(traced.path, steps=7)


def test_ranks_of_a_directory_are_put_together(tmp_path):
    for rank in (0, 2, 10):
        tracer = Tracer(tmp_path, rank=rank)
        for step, layer in itertools.product([0, 1], [0, 1]):
            tracer.record(step, layer, tokens=3 + rank)
    found = open_routing(tmp_path)
    assert len(found["decoder.layers.0"].index) == 2 * (3 + 5 + 13)
    assert found.aligned
    assert [len(routings["decoder.layers.1"].index) for _, routings in read_steps(tmp_path)] == [21, 21]
    assert torch.equal(found["decoder.layers.0"].scores[16:29], tracer.truth["decoder", 0][0][1])  # rank 10 last


def test_layers_of_different_ranks_do_not_pretend_to_share_tokens(tmp_path):
    Tracer(tmp_path, rank=0).record(0, 0)
    Tracer(tmp_path, rank=1).record(0, 1)
    found = open_routing(tmp_path)
    assert not found.aligned
    with pytest.raises(LabError, match="did not see the same tokens"):
        flow_of(found)


def test_heads_for_multi_token_prediction_have_their_own_name(tmp_path):
    tracer = Tracer(tmp_path)
    tracer.record(0, 1)
    tracer.record(0, 1, block="mtp", mtp_idx=0)
    assert list(open_routing(tracer.path)) == ["decoder.layers.1", "mtp.0.layers.1"]


def test_side_files_that_stayed_behind_are_missed_politely(traced):
    traced.side.unlink()
    found = open_routing(traced.folder)
    assert not found.weighted
    assert any("logits_rank0.bin is not beside the trace" in sentence for sentence in found.says)


def test_a_side_file_that_is_too_short_is_named_with_the_line(traced):
    traced.side.write_bytes(traced.side.read_bytes()[:-10])
    with pytest.raises(
        LabError, match=r"line 12: its logits stand at bytes \d+ to 1920 of logits_rank0.bin, which has only 1910"
    ):
        open_routing(traced.folder)


def spoilt(**change):
    """A line as it should be, but for this."""
    line = {
        "step": 0,
        "block": "decoder",
        "layer": 0,
        "rank": 0,
        "num_tokens": 2,
        "topk": 2,
        "top_indices": [[0, 1], [2, 3]],
    }
    return json.dumps({key: value for key, value in (line | change).items() if value is not ...})


GOOD = spoilt()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (GOOD + "\n" + GOOD[:40], r"line 2 is no whole JSON record .*, and the file ends in the middle of it"),
        (GOOD + "\n" + GOOD[:40] + "\n" + GOOD, r"line 2 is no whole JSON record \([^)]*\)\."),
        (GOOD + "\n\n[1, 2]\n", "line 3 holds list, not a record"),
        (spoilt(step=...), "line 1 lacks step"),
        (spoilt(top_indices=...), "line 1 lacks top_indices"),
        (spoilt(num_tokens=...), "line 1 lacks num_tokens"),
        (spoilt(layer="three"), "layer is 'three', not a whole number"),
        (spoilt(layer=True), "layer is True, not a whole number"),
        (spoilt(step=-1), "step is -1"),
        (spoilt(block=3), "block is 3, not a name"),
        (spoilt(block="mtp"), "lacks mtp_idx"),
        (spoilt(num_tokens=3), "top_indices has 2 tokens, num_tokens says 3"),
        (spoilt(top_indices=[[0, 1], [2]]), "token 1 has 1 experts, topk says 2"),
        (spoilt(top_indices=[[0, 1], 5]), "token 1 has 5 experts"),
        (spoilt(top_indices=[[0, 1], [2, 3.5]]), r"token 1 names expert 3\.5, which is no whole number"),
        (spoilt(top_indices=[[0, 1], ["2", 3]]), "token 1 names expert '2'"),
        (spoilt(top_indices=[[0, 1], [2, 9]]), "token 1 names expert 9, but there are 8"),
        (spoilt(top_indices=[[0, 1], [2, -1]]), "token 1 names expert -1"),
        (spoilt(top_indices=[[0, 1], [2, 10**30]]), "beyond all bounds"),
        (spoilt(top_indices=[[0, 1], [3, 3]]), r"token 1 names one expert twice: \[3, 3\]"),
        (spoilt(top_indices="none"), "top_indices is no list"),
        (spoilt(logit_offset=0, logit_bytes=32, logit_shape=[2]), r"logit_shape is \[2\]"),
        (spoilt(logit_offset=0, logit_bytes=30, logit_shape=[2, 8]), "in 30 bytes do not fit 2 tokens"),
        (spoilt(logit_offset=0), "lacks logit_bytes"),
        ("[" * 100_000, "no whole JSON record"),
    ],
)  # fmt: skip
def test_a_malformed_line_says_file_line_and_reason(tmp_path, text, reason):
    (tmp_path / "router_trace_rank0.jsonl").write_text(text)
    with pytest.raises(LabError, match=reason) as told:
        open_routing(tmp_path / "router_trace_rank0.jsonl", choices=8)
    assert "router_trace_rank0.jsonl, line" in str(told.value)


def test_files_that_are_no_traces_at_all(tmp_path):
    empty, junk, torn = (tmp_path / name for name in ("empty.jsonl", "junk.jsonl", "torn.jsonl"))
    empty.touch()
    junk.write_bytes(bytes(range(128, 256)) * 10)
    torn.write_bytes(GOOD.encode() + b"\n{\xff\xfe}\n")
    for source, reason in [
        (empty, "empty.jsonl is empty"),
        (junk, "junk.jsonl, line 1 is no text: byte 0"),
        (torn, "line 2 is no text: byte 1"),
        (tmp_path, "is a directory without router_trace_rank"),
        (tmp_path / "gone.jsonl", "gone.jsonl cannot be read: No such file"),
    ]:
        with pytest.raises(LabError, match=reason):
            open_routing(source)


def test_a_line_without_end_is_not_swallowed(tmp_path, monkeypatch):
    monkeypatch.setattr(megatron_lines, "LONGEST", 1000)
    (tmp_path / "a.jsonl").write_text('{"step": 0, ' + " " * 2000)
    with pytest.raises(LabError, match="line 1 is longer than"):
        open_routing(tmp_path / "a.jsonl")


def test_steps_are_streamed_and_not_held(tmp_path):
    tracer = Tracer(tmp_path, logits=False)
    for step in range(60):
        tracer.record(step, 0, tokens=2000)
    size = tracer.path.stat().st_size
    tracemalloc.start()
    total = sum(len(routings["decoder.layers.0"].index) for _, routings in read_steps(tracer.path))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total == 120_000
    assert most < size / 2


def test_steps_that_go_back_are_named(tmp_path):
    (tmp_path / "a.jsonl").write_text(spoilt(step=3) + "\n" + spoilt(step=2) + "\n")
    with pytest.raises(LabError, match="line 2: step 2 comes after step 3"):
        list(read_steps(tmp_path / "a.jsonl"))
    assert len(open_routing(tmp_path / "a.jsonl")["decoder.layers.0"].index) == 4


def test_numbers_of_experts_that_contradict_are_refused(traced):
    with pytest.raises(LabError, match=r"logits are of \[8\] experts, not of 16"):
        open_routing(traced.folder, choices=16)
    assert np.isfinite(load_of(open_routing(traced.folder, choices=8))).all()
