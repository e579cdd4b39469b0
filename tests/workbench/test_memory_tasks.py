"""Tasks that ask what is remembered, and the memories that they compare."""

import itertools

import pytest
import torch

from labkit.errors import LabError
from labkit.studies.memory.product_key_memory import KEYS, WIDTH, as_wide, cost, memory
from labkit.workbench.budget import flops, parameters
from labkit.workbench.memories import Classic, Modern, Nearest, Projection, Storing
from labkit.workbench.quick_values import QuickValues
from labkit.workbench.slot_search import FlatSearch, Search
from labkit.workbench.tasks.bags_of_digits import BagsOfDigits
from labkit.workbench.tasks.recall_table import RecallTable
from labkit.workbench.tasks.stored_digits import StoredDigits


def first(task, seed, count, after=0):
    return [one[0] for one in itertools.islice(task.batches(seed, after), count)]


@pytest.fixture(params=["table", "bags", "digits"])
def make(request):
    makers = {
        "table": lambda: RecallTable(pairs=70, batch=16),
        "bags": lambda: BagsOfDigits(instances=4, bags=70, test_bags=20, batch=16),
        "digits": lambda: StoredDigits(pictures=70, asked=16),
    }

    def seeded(seed=0):
        torch.manual_seed(seed)
        return makers[request.param]()

    return seeded


def test_batches_are_those_of_their_seed_and_can_be_passed_over(make):
    task = make()
    whole = first(task, 3, 12)
    assert all(torch.equal(*pair) for pair in zip(first(task, 3, 5, after=7), whole[7:], strict=True))
    assert all(torch.equal(*pair) for pair in zip(first(make(), 3, 12), whole, strict=True))


def test_the_same_seed_gives_the_same_task_and_another_gives_another(make):
    one, same, other = make(0), make(0), make(1)
    assert torch.equal(first(one, 0, 1)[0], first(same, 0, 1)[0])
    assert not torch.equal(first(one, 0, 1)[0], first(other, 0, 1)[0])


def test_a_bag_is_positive_when_it_holds_exactly_one_wanted_digit():
    task = BagsOfDigits(instances=5, bags=40, test_bags=30)
    digits = torch.arange(1000) % 10
    bags, label = task._bags(digits[:, None].float(), digits, 60, torch.Generator().manual_seed(0))
    assert ((bags[..., 0] == 9).sum(-1) == label).all()
    assert label.float().mean() == 0.5
    assert task.test_x.shape == (30, 5, 196)


def test_test_bags_do_not_depend_on_the_seed():
    torch.manual_seed(1)
    one = BagsOfDigits(instances=3, bags=10, test_bags=10)
    torch.manual_seed(2)
    other = BagsOfDigits(instances=3, bags=10, test_bags=10)
    assert torch.equal(one.test_x, other.test_x)
    assert not torch.equal(one.train_x, other.train_x)


def test_damage_leaves_what_it_should():
    task = StoredDigits(pictures=30, asked=10)
    masked, wanted = task.damaged(30, "half masked")
    assert torch.equal(masked[:, :392], wanted[:, :392])
    assert not masked[:, 392:].any()
    noisy, wanted = task.damaged(5, "noisy")
    assert len(noisy) == 5
    assert 0.2 < (noisy != wanted).float().mean() < 0.4
    with pytest.raises(LabError, match="half masked or noisy"):
        task.damaged(5, "torn")


def test_impossible_tasks_are_refused():
    for make, word in (
        (lambda: RecallTable(pairs=0), "a pair or more"),
        (lambda: BagsOfDigits(wanted=10), "0 to 9"),
        (lambda: StoredDigits(pictures=10**6), "asked for"),
    ):
        with pytest.raises(LabError, match=word):
            make()


@pytest.mark.parametrize("make", [Nearest, Classic, Projection, lambda width: Modern(width, beta=1.0, most=5)])
def test_a_memory_recalls_the_few_patterns_that_it_was_given(make):
    stored = torch.randint(2, (4, 200), generator=torch.Generator().manual_seed(0)) * 2.0 - 1
    store = make(200)
    for one in stored.split(1):
        store.store(one)
    assert store.pictures == 4
    assert torch.equal(store(stored).sign(), stored)


def test_room_grows_and_what_was_stored_stays():
    store, stored = Nearest(8), torch.randn(300, 8)
    for part in stored.split(7):
        store.store(part)
    assert torch.equal(store.patterns, stored)


def test_the_projection_rule_keeps_only_what_is_new():
    store, stored = Projection(50), torch.randint(2, (3, 50)) * 2.0 - 1
    for _ in range(3):
        store.store(stored)
    assert store.kept <= 3
    assert store.pictures == 9


def test_storing_begins_with_the_first_picture():
    task = StoredDigits(pictures=10, asked=4)
    model = torch.nn.Module()
    model.slot = Nearest(784)
    model.forward = lambda x: model.slot(x)
    trainer, batches = Storing(), task.batches(0)
    trainer.start(model, task, 3)
    said = [trainer.step(model, next(batches))["training_loss"] for _ in range(3)]
    assert torch.equal(model.slot.patterns, task.patterns[:4])
    assert said == [0, 0, 0]


def test_product_keys_and_all_keys_find_the_same_slots():
    torch.manual_seed(0)
    flat, queries = FlatSearch(16, 64, 5).double(), torch.randn(50, 16).double()
    assert torch.equal(Search.forward(flat, queries), flat(queries))


def test_what_is_matched_costs_the_same():
    whole = memory()(WIDTH, WIDTH)
    wide, large = as_wide(cost)(WIDTH, WIDTH), as_wide(parameters)(WIDTH, WIDTH)
    assert abs(cost(wide) / cost(whole) - 1) < 0.02
    assert abs(parameters(large) / parameters(whole) - 1) < 0.02
    assert cost(wide) == flops(wide, torch.randn(1, WIDTH))
    assert whole.gate.keys == KEYS


def test_only_the_values_of_a_memory_learn_more_quickly():
    for layer, rates in ((memory()(WIDTH, WIDTH), 2), (torch.nn.Linear(4, 4), 1)):
        trainer = QuickValues(learning_rate=0.01, times=10.0)
        trainer.start(layer, RecallTable(pairs=10), 10)
        groups = trainer.optimizer.param_groups
        assert len(groups) == rates
        assert sum(len(group["params"]) for group in groups) == len(list(layer.parameters()))
        assert groups[-1]["max_lr"] == pytest.approx(0.01 * (10 if rates == 2 else 1))
