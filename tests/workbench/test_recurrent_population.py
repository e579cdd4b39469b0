"""Networks side by side: each says and learns what it would alone, and units that only fill up stay nothing."""

import itertools

import pytest
import torch
from torch import nn

from labkit.workbench.backbones.recurrent_population import Plan, RecurrentPopulation
from labkit.workbench.backprop import Backprop
from labkit.workbench.random_graphs import FAMILIES, mask_of
from labkit.workbench.tasks.reber_strings import ReberStrings


def plans(many=3):
    found = [mask_of(way(nodes, 5)) for nodes in range(10, 10 + many) for way in FAMILIES.values()]
    return [Plan(mask, widths, widths[0] + at % 2) for at, (mask, widths) in enumerate(found)]


def alone(model: RecurrentPopulation, network: int, x: torch.Tensor) -> torch.Tensor:
    """One network in torch's own recurrent layers: (rows, classes)."""
    at = int(model.back[network])
    plan, said = model.plans[at], []
    table, read, read_bias, *layers = model.padded()
    order = [one for layer in range(len(plan.widths)) for one in [layer] * plan.widths[layer]]
    wide = [shape[-1] for shape in model.shapes[-len(model.reach) :]]
    places = [sum(wide[: order[node]]) + node - sum(plan.widths[: order[node]]) for node in range(len(order))]
    heard = table[at, :, : plan.embedded][x]
    for layer, width in enumerate(plan.widths):
        first = sum(plan.widths[:layer])
        rows = places[:first] if layer else list(range(plan.embedded))
        into, along, bias = layers[layer :: len(model.reach)]
        cell = nn.RNN(len(rows), width, batch_first=True)
        mask = plan.mask[first : first + width, :first] if layer else torch.ones(width, len(rows))
        with torch.no_grad():
            cell.weight_ih_l0.copy_(into[at][rows, :width].T * mask)
            cell.weight_hh_l0.copy_(along[at, :width, :width].T)
            cell.bias_ih_l0.copy_(bias[at, 0, :width])
            cell.bias_hh_l0.zero_()
        said.append(cell(torch.cat(said, -1) if layer else heard)[0])
    return said[-1][:, -1] @ read[at, : plan.widths[-1]] + read_bias[at]


def strings(rows=40):
    return ReberStrings(rows=rows, test_rows=20, longest=12, batch=10)


def trained(model, steps=8):
    task = strings()

    def loss(prediction, target):
        return nn.functional.cross_entropy(prediction.flatten(0, 1), target.repeat_interleave(prediction.shape[1]))

    task.loss = loss
    trainer = Backprop(0.03, clip=0.0)
    trainer.start(model, task, steps)
    for batch in itertools.islice(task.batches(0), steps):
        trainer.step(model, batch)
    return model


def test_each_network_is_what_torch_makes_of_its_layers():
    torch.manual_seed(0)
    model, x = trained(RecurrentPopulation(plans(), 8, 2)), strings().test_x
    with torch.no_grad():
        together = model(x)
        for network in range(len(plans())):
            assert torch.allclose(together[:, network], alone(model, network, x), atol=1e-5), network


def test_neighbours_do_not_disturb_each_other():
    torch.manual_seed(0)
    both = RecurrentPopulation([plans()[0], plans()[1]], 8, 2)
    other = RecurrentPopulation([plans()[0], plans()[1]], 8, 2)
    deepest = int(both.back[0])  # where the first network is kept
    which = torch.cat([torch.arange(len(one)).view(-1, 1, 1).expand(one.shape).flatten() for one in both.padded()])
    mine = torch.zeros(len(both.values), dtype=torch.bool)
    mine[both.index[(which == deepest) & (both.index < len(both.values))]] = True
    with torch.no_grad():
        other.values[mine] = both.values[mine]
    x = strings().test_x
    one, two = trained(both)(x).detach(), trained(other)(x).detach()
    assert torch.allclose(one[:, 0], two[:, 0], atol=1e-5)
    assert not torch.allclose(one[:, 1], two[:, 1], atol=1e-2)


def test_it_learns_as_many_numbers_as_the_plans_say():
    model = RecurrentPopulation(plans(), 8, 2)
    assert sum(weight.numel() for weight in model.parameters()) == sum(plan.weights(8, 2) for plan in plans())


def test_refuses_a_graph_that_is_not_layered():
    mask = torch.zeros(3, 3, dtype=torch.bool)
    mask[0, 2] = True
    with pytest.raises(ValueError, match="leads back"):
        RecurrentPopulation([Plan(mask, [2, 1], 4)], 8, 2)
    with pytest.raises(ValueError, match=r"\(4, 4\)"):
        RecurrentPopulation([Plan(mask, [2, 2], 4)], 8, 2)
