"""One thread and fixed seeds for every test: the tensors are small, and the machine may be busy."""

import pytest
import torch


@pytest.fixture(autouse=True)
def _fixed_seed():
    torch.manual_seed(0)


def pytest_configure():
    torch.set_num_threads(1)
