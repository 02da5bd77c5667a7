import pytest
import torch
from torch import nn

from distalex.lrn import local_response_norm


def by_hand(x, alpha, columns=1, window=5, beta=0.75, k=2.0):
    """The text's formula as written, one channel at a time."""
    out = torch.empty_like(x)
    width = x.shape[1] // columns
    for channel in range(x.shape[1]):
        first = channel // width * width
        near = range(max(first, channel - window // 2), min(first + width, channel + window // 2 + 1))
        total = sum(x[:, other] ** 2 for other in near)
        out[:, channel] = x[:, channel] / (k + alpha * total) ** beta
    return out


def test_the_texts_alpha_is_five_times_ours():
    x = torch.randn(2, 8, 3, 3, dtype=torch.float64) * 50
    assert torch.allclose(local_response_norm(x, alpha=5e-4), by_hand(x, alpha=1e-4), rtol=1e-12)


def test_equal_to_torchs_layer():
    x = torch.randn(2, 96, 7, 7)
    assert torch.allclose(
        local_response_norm(x, alpha=1e-4), nn.LocalResponseNorm(5, 1e-4, 0.75, 2.0)(x), rtol=1e-5, atol=1e-6
    )  # fp32 sums


def test_a_column_does_not_see_its_neighbour():
    x = torch.randn(2, 12, 3, 3, dtype=torch.float64) * 50
    both = local_response_norm(x, alpha=0.1, columns=2)
    apart = torch.cat([local_response_norm(half, alpha=0.1) for half in x.chunk(2, dim=1)], dim=1)
    assert torch.equal(both, apart)
    assert not torch.allclose(both, local_response_norm(x, alpha=0.1))


@pytest.mark.parametrize("columns", [1, 2])
@pytest.mark.parametrize("beta", [0.75, 0.5])
def test_gradient_is_that_of_the_formula(columns, beta):
    x = torch.randn(2, 8, 3, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: local_response_norm(x, alpha=0.5, beta=beta, columns=columns), (x,))


def test_keeps_dtype_and_memory_format_and_repeats_to_the_bit():
    x = torch.randn(4, 48, 9, 9).bfloat16().contiguous(memory_format=torch.channels_last)
    first, second = local_response_norm(x), local_response_norm(x)
    assert first.dtype == torch.bfloat16
    assert first.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(first, second)
    assert torch.allclose(first.float(), local_response_norm(x.float()), rtol=2**-6)  # two roundings to 8 bits
