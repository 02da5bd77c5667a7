"""Speeds of a device are measured once for what they depend on."""

import pytest
import torch

from distalex.machine.speed import matmul_peak


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_a_matmul_peak_is_measured_once_for_each_number_of_threads(threads):
    def peak(count: int) -> float:
        torch.set_num_threads(count)
        return matmul_peak(torch.device("cpu"), torch.float32, 512)

    one, two = peak(1), peak(2)
    assert one != two
    assert (peak(1), peak(2)) == (one, two)
