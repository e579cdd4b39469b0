"""Which tokens hear of which: gates along the channels keep tokens apart, gates along the tokens do not."""

import pytest
import torch

from labkit import Example, check
from labkit.layers.attention.gated_token_mixing import GatedTokenMixing, slowly
from labkit.studies.attention import gated_token_mixing as measured
from labkit.workbench.backbones.mixing_transformer import MixingTransformer
from labkit.workbench.find import study
from labkit.workbench.tasks.classification import Classification


def moved(axis: str) -> torch.Tensor:
    """How far each token's answer moves when the second of five is another."""
    layer, x = GatedTokenMixing(5, 4, hidden=6, axis=axis), torch.randn(3, 5, 4)
    other = x.clone()
    other[:, 1] = torch.randn(3, 4)
    return (layer(other) - layer(x)).norm(dim=-1).mean(0)


def test_along_the_channels_tokens_stand_alone():
    apart = moved("channels")
    assert apart[1] > 0.01
    assert (apart[[0, 2, 3, 4]] == 0).all()


def test_along_the_tokens_each_hears_of_the_others():
    assert (moved("tokens") > 1e-3).all()


def test_along_the_channels_the_order_of_tokens_does_not_matter():
    layer, x, order = GatedTokenMixing(5, 4, hidden=6, axis="channels"), torch.randn(3, 5, 4), torch.randperm(5)
    assert torch.allclose(layer(x[:, order]), layer(x)[:, order], atol=1e-6)


def test_gates_along_channels_keep_the_contract():
    example = Example(lambda: GatedTokenMixing(5, 4, hidden=6, axis="channels"), reference=slowly)
    report = check(None, example)
    assert {name: said for name, said in report.items() if said != "passed" and not said.startswith("exempt")} == {}


def test_an_unknown_axis_is_refused():
    with pytest.raises(ValueError, match="tokens or channels, not 'rows'"):
        GatedTokenMixing(5, 4, hidden=6, axis="rows")


@pytest.mark.parametrize(("arm", "mixes"), [("attention", True), ("channel gates", False), ("token gates", True)])
def test_who_hears_whom_is_measured(arm, mixes):
    task = Classification("fashion_mnist", test_rows=40)
    model = MixingTransformer(
        task, measured.Sublayers(measured.MIXERS[arm], False), mixer=measured.MIXERS[arm], width=32
    )
    table = measured.hearing(model.train(), task).values
    assert model.training
    assert table.diagonal() == pytest.approx(1)
    table = table - torch.eye(16).numpy()
    assert (table > 1e-3).sum() == (240 if mixes else 0)


def test_the_arms_are_matched_by_parameters():
    one = study("gated_token_mixing")
    task = Classification("fashion_mnist", test_rows=10)
    sizes = {
        name: sum(value.numel() for value in one.backbone(task, arm.layer).parameters())
        for name, arm in one.arms.items()
    }
    assert max(sizes.values()) < 1.05 * min(sizes.values()), sizes
