"""A trace of torchlens becomes a trace of ours; where the package is not installed, only the refusals are tried."""

import pytest
import torch
from torch import nn

from labkit.errors import LabError
from labkit.recording.from_torchlens import from_torchlens
from labkit.recording.observe import observe


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.same, self.act = nn.Linear(4, 4), nn.ReLU()

    def forward(self, x):
        return self.act(self.same(self.same(x)))


def test_it_equals_our_own_recording():
    torchlens = pytest.importorskip("torchlens")
    model, x = Twice().eval(), torch.randn(3, 4)
    theirs, ours = from_torchlens(torchlens.trace(model, x)), observe(model, x)
    assert set(theirs) == set(ours) == {"", "same", "act"}
    assert len(theirs.calls("same")) == 2
    for name in ours:
        for one, other in zip(theirs.calls(name), ours.calls(name), strict=True):
            torch.testing.assert_close(one, other)
            assert not one.requires_grad


def test_a_trace_that_kept_nothing_says_so():
    torchlens = pytest.importorskip("torchlens")
    traced = torchlens.trace(nn.Sequential(nn.Linear(4, 4)), torch.randn(3, 4), save=torchlens.func("relu"))
    with pytest.raises(LabError, match="holds no output"):
        from_torchlens(traced)


def test_what_is_no_trace_is_refused():
    with pytest.raises(LabError, match="not a dict"):
        from_torchlens({})
