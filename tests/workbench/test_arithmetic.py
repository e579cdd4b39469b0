"""Trainings compute on one thread and without numbers that are too small to matter; nobody else notices."""

import threading

import torch

from labkit.workbench.arithmetic import compute_plainly, plainly


def small():
    return float(torch.tensor(1e-39) * 0.5)


def test_within_the_block_small_numbers_are_zero_and_afterwards_they_are_not():
    threads = torch.get_num_threads()
    assert small() != 0
    with plainly():
        assert small() == 0
        assert torch.get_num_threads() == 1
        with plainly():
            assert small() == 0
        assert small() == 0
    assert small() != 0
    assert torch.get_num_threads() == threads


def test_another_thread_computes_as_it_did():
    said = []

    def other():
        compute_plainly()
        said.append(small())

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert said == [0]
    assert small() != 0
