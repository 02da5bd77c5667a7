import pytest
import torch
from torch import nn

from distalex.model.lrn import local_response_norm


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


def test_what_no_kernel_takes_is_computed_in_fp32_for_bf16_too():
    """As a compiled network does, whose arithmetic must be the plain one's."""
    x = torch.randn(2, 16, 3, 3).bfloat16() * 30
    with torch.autocast("cpu", torch.bfloat16):
        ours = local_response_norm(x, window=3, alpha=1.0)
    assert torch.equal(ours, torch.nn.LocalResponseNorm(3, 1.0, k=2.0)(x.float()).bfloat16())


def test_a_column_does_not_see_its_neighbour():
    x = torch.randn(2, 12, 3, 3, dtype=torch.float64) * 50
    both = local_response_norm(x, alpha=0.1, columns=2)
    apart = torch.cat([local_response_norm(half, alpha=0.1) for half in x.chunk(2, dim=1)], dim=1)
    assert torch.allclose(both, apart, rtol=1e-12)  # a convolution may sum another number of channels in another order
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


@pytest.mark.parametrize("rectifies", [False, True])
@pytest.mark.parametrize("columns", [1, 2, 4])
@pytest.mark.parametrize("size", [1.0, 300.0, 1e6])
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 2e-6), (torch.bfloat16, 2**-8)])
@pytest.mark.parametrize("order", [torch.channels_last, torch.contiguous_format])
def test_the_compiled_kernel_is_the_formula_forward_and_backward(order, columns, size, dtype, tolerance, rectifies):
    """Against float64, from activations of a new network to absurd ones; bf16 is rounded once each way."""
    torch.manual_seed(0)
    x = (torch.randn(3, 48, 9, 7) * size).to(dtype).contiguous(memory_format=order).requires_grad_()
    exact = x.detach().double().requires_grad_()
    out, expected = (local_response_norm(tensor, alpha=1e-4, columns=columns, rectifies=rectifies) for tensor in (x, exact))
    assert out.is_contiguous(memory_format=torch.channels_last)
    gradient = torch.randn(out.shape).to(dtype)  # contiguous
    out.backward(gradient)
    expected.backward(gradient.double())
    assert torch.allclose(out.double(), expected, rtol=tolerance, atol=0)
    largest = exact.grad.abs().max().item()
    # Its two terms cancel: over 180 seeds the error was 3.2e-6 of the largest at most.
    assert torch.allclose(x.grad.double(), exact.grad, rtol=tolerance, atol=2 * tolerance * largest)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("side", [1, 12])
def test_what_is_not_finite_stays_so(bad, side):
    x = torch.ones(1, 8, side, side)
    x[0, 4] = bad
    assert not torch.isfinite(local_response_norm(x, rectifies=True)[0, 4]).any()


def test_threads_change_no_bit():
    x, before = torch.randn(5, 48, 12, 12).contiguous(memory_format=torch.channels_last), torch.get_num_threads()
    results = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        results.append(local_response_norm(x))
    torch.set_num_threads(before)
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])
