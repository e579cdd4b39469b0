"""vLLM's routed_experts as array, file and answer; every malformed one says where and why."""

import base64
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from labkit.analysis.routing.choice_load import load_of
from labkit.analysis.routing.token_choices import choices_of
from labkit.analysis.routing.token_entropy import token_entropy_of
from labkit.errors import LabError
from labkit.recording.foreign.open_routing import open_routing


def routed(tokens=11, layers=3, chosen=2, experts=8, kind=np.int16, seed=0):
    """Different experts for each token, as a router takes them."""
    draws = np.random.default_rng(seed)
    return draws.permuted(np.tile(np.arange(experts), (tokens, layers, 1)), axis=-1)[..., :chosen].astype(kind)


def as_text(array):
    """How vLLM's server sends an array: base64 of the bytes of a .npy file."""
    held = io.BytesIO()
    np.save(held, array)
    return base64.b64encode(held.getvalue()).decode()


@pytest.mark.parametrize("kind", [np.int16, np.int32, np.uint8, np.uint16, np.int64])
def test_an_array_and_its_file_say_the_same(tmp_path, kind):
    array = routed(kind=kind)
    np.save(tmp_path / "request.npy", array)
    for found in (open_routing(array, choices=8), open_routing(tmp_path / "request.npy", choices=8)):
        assert list(found) == ["layers.0", "layers.1", "layers.2"]
        assert (torch.stack([routing.index for routing in found.values()], 1).numpy() == array).all()
        assert all(routing.choices == 8 for routing in found.values())


def test_what_was_not_recorded_is_said_and_not_invented():
    found = open_routing(routed())
    assert found["layers.0"].weights.unique().tolist() == [0.5]
    assert not found.weighted
    assert any("records no weights" in sentence for sentence in found.says)
    assert any("8 is the largest number that occurs, plus 1" in sentence for sentence in found.says)
    assert "records no weights" in load_of(found).note
    assert np.isnan(token_entropy_of(found)).all()
    assert load_of(found).choice.attrs == {"long_name": "expert"}
    assert "records no weights" in str(found)


def test_the_answer_of_the_server_is_read_from_base64(tmp_path):
    array = routed()
    answer = {"choices": [{"index": 0, "routed_experts": as_text(routed(seed=1))}, {"routed_experts": as_text(array)}]}
    (tmp_path / "answer.json").write_text(json.dumps(answer, indent=1))
    found = open_routing(tmp_path / "answer.json", completion=1, choices=8)
    assert (found["layers.1"].index.numpy() == array[:, 1]).all()


def test_prompt_and_answer_given_apart_are_put_together():
    prompt, answer = routed(tokens=4), routed(tokens=3, seed=1)
    parsed = {"prompt_routed_experts": prompt.tolist(), "choices": [{"routed_experts": answer.tolist()}]}
    own = SimpleNamespace(prompt_routed_experts=prompt, outputs=[SimpleNamespace(routed_experts=answer)])
    for source in (parsed, own):
        found = open_routing(source, choices=8)
        assert (found["layers.2"].index.numpy() == np.concatenate([prompt, answer])[:, 2]).all()
    alone = SimpleNamespace(routed_experts=answer)
    assert len(open_routing(alone)["layers.0"].index) == 3


def test_rows_that_vllm_did_not_fill_are_left_out_and_counted():
    array = routed()
    array[:, 1] = 0  # a dense layer
    array[:4] = -1  # a prompt from the prefix cache
    found = open_routing(array, choices=8)
    assert list(found) == ["layers.0", "layers.2"]
    assert found.positions == list(range(4, 11))
    assert choices_of(found).position.values.tolist() == list(range(4, 11))
    assert any("1 of 3 layers hold only zeros" in sentence for sentence in found.says)
    assert any("4 of 11 tokens were not recorded" in sentence for sentence in found.says)


def test_expert_0_alone_is_a_choice():
    found = open_routing(np.zeros((5, 2, 1), dtype=np.int16), choices=4)
    assert load_of(found).values[:, 0].tolist() == [1, 1]


def broken(**places):
    array = routed()
    for where, value in places.values():
        array[where] = value
    return array


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (broken(a=((5, 2, 1), 99)), r"token 5, layer 2 names expert 99, but there are 8, numbered 0 to 7"),
        (broken(a=((5, 2, 1), 8)), "token 5, layer 2 names expert 8, but there are 8"),
        (broken(a=(slice(0, 3), -1), b=((5, 2, 1), 99)), "token 5, layer 2 names expert 99"),
        (broken(a=((5, 2, 1), -7)), "token 5, layer 2 names expert -7"),
        (broken(a=((3, 0), 4)), r"token 3, layer 0 names one expert twice: \[4, 4\]"),
        (broken(a=((6, 1), -1)), "token 6 has no choice in layer 1, but has one in other layers"),
        (np.zeros((4, 2, 2), dtype=np.int16), "holds no routing: every entry is 0 or -1"),
        (routed()[0], r"int16 of shape \(3, 2\)"),
        (routed()[:0], "is empty"),
        (np.zeros((2, 2, 2), dtype=bool), "holds bool of shape"),
    ],
)
def test_a_malformed_array_says_where_and_why(tmp_path, array, reason):
    np.save(tmp_path / "request.npy", array)
    with pytest.raises(LabError, match=reason) as told:
        open_routing(tmp_path / "request.npy", choices=8)
    assert "request.npy" in str(told.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"choices": [\n{"routed_experts": ', r"answer.json, line 2: no JSON from column"),
        ('{"choices": []}', "has no completion 0"),
        ('{"choices": [{"text": "hello"}]}', "holds no routed_experts: run vLLM with"),
        ('{"choices": [{"routed_experts": "%%%"}]}', "no base64 of a .npy file"),
        ('{"choices": [{"routed_experts": "aGVsbG8="}]}', "no base64 of a .npy file"),
        ('{"choices": [{"routed_experts": [[[1, 2]], [[1]]]}]}', "ragged"),
        ('{"choices": [{"routed_experts": [[["a", "b"]]]}]}', "are whole numbers"),
        ('{"prompt_routed_experts": [[[1, 2]]], "choices": [{"routed_experts": [[[1, 2, 3]]]}]}', "does not fit"),
    ],
)
def test_a_malformed_answer_says_why(tmp_path, text, reason):
    (tmp_path / "answer.json").write_text(text)
    with pytest.raises(LabError, match=reason):
        open_routing(tmp_path / "answer.json")


def test_a_torn_file_is_no_array(tmp_path):
    np.save(tmp_path / "request.npy", routed())
    whole = (tmp_path / "request.npy").read_bytes()
    (tmp_path / "request.npy").write_bytes(whole[: len(whole) - 20])
    with pytest.raises(LabError, match=r"is no whole .npy file"):
        open_routing(tmp_path / "request.npy")


def test_a_pickle_in_npy_clothes_is_not_opened(tmp_path):
    np.save(tmp_path / "request.npy", np.array([{"a": 1}]), allow_pickle=True)
    with pytest.raises(LabError, match=r"is no whole .npy file|are whole numbers"):
        open_routing(tmp_path / "request.npy")


def test_names_of_layers_must_fit():
    assert list(open_routing(routed(), names=["a", "b", "c"])) == ["a", "b", "c"]
    with pytest.raises(LabError, match="3 layers, but 2 names"):
        open_routing(routed(), names=["a", "b"])
