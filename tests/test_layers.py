"""The layer contract: every property of `labkit.contract`, on every layer that the folders hold."""

import pytest
from walk import modules, short

from labkit.contract.check import PROPERTIES
from labkit.contract.proving import prove_on

LAYERS = modules("layers")


def test_the_walk_finds_the_layers():
    assert {"fast_feedforward", "master_leaf_feedforward", "neuron_trees"} <= {
        m.__name__.split(".")[-1] for m in LAYERS
    }


@pytest.mark.parametrize("prove", PROPERTIES, ids=lambda prove: prove.__name__)
@pytest.mark.parametrize("module", LAYERS, ids=short)
def test_layer(module, prove):
    name = prove.__name__.replace("_", " ")
    if name in module.example.exempt:
        pytest.skip(module.example.exempt[name])
    prove_on(prove, module.example)
