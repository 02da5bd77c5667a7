"""What only a GPU computes with: kernels of its own, and convolutions laid out for it.

Where there is no GPU, Triton's interpreter runs the kernels (conftest.py). It cuts bf16 off instead of rounding it.
"""

import pytest
import torch
from support.crops import crop_arguments
from torch.nn import functional

from distalex.config.model import ModelConfig
from distalex.kernels import crops
from distalex.kernels.available import _triton_compiles
from distalex.model.dropout import KeyedDropout
from distalex.model.freezing import freeze
from distalex.model.initial_weights import build_model
from distalex.model.lrn import local_response_norm
from distalex.parallel import gpu_after, gpu_convolutions
from distalex.parallel.mesh import Mesh
from distalex.parallel.topology import Topology

pytest.importorskip("triton")
GPU = torch.cuda.is_available()
DEVICE = torch.device("cuda" if GPU else "cpu")
torch.backends.cudnn.allow_tf32 = False  # as in a run
PRECISIONS = [(torch.float32, 1e-6), (torch.bfloat16, 2**-8 if GPU else 2**-6)]


def normal(*shape, dtype=torch.float32, size=1.0):
    generator = torch.Generator().manual_seed(sum(shape))
    return (torch.randn(shape, generator=generator) * size).to(DEVICE, dtype).contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS, ids=["fp32", "bf16"])
@pytest.mark.parametrize(("channels", "columns", "rectifies"), [(48, 1, True), (48, 2, False), (32, 4, True), (8, 1, False)])
def test_lrn_is_the_formula_forward_and_backward(channels, columns, rectifies, dtype, tolerance):
    from distalex.kernels import lrn_triton

    x = normal(2, channels, 7, 5, dtype=dtype, size=30.0)
    exact = x.double().requires_grad_()
    expected = local_response_norm(exact, alpha=0.1, columns=columns, rectifies=rectifies)
    gradient = normal(2, channels, 7, 5, dtype=dtype)
    expected.backward(gradient.double())
    out = lrn_triton.forward(x, 0.1, 2.0, columns, rectifies)
    through = lrn_triton.backward(gradient, x, 0.1, 2.0, columns, rectifies)
    assert torch.allclose(out.double(), expected, rtol=tolerance, atol=1e-30)
    assert torch.allclose(through.double(), exact.grad, rtol=tolerance, atol=tolerance * exact.grad.abs().max().item())
    assert out.stride() == through.stride() == x.stride()


@pytest.mark.parametrize("rectifies", [False, True])
def test_lrn_keeps_what_is_not_finite(rectifies):
    from distalex.kernels import lrn_triton

    x = normal(1, 16, 2, 2)
    x[0, 4, 1, 1] = float("nan")
    out = lrn_triton.forward(x, 1e-4, 2.0, 1, rectifies)
    assert torch.isnan(out[0, 2:7, 1, 1]).all()
    assert torch.isfinite(out[0, :, 0]).all()


@pytest.mark.parametrize(("channels", "columns"), [(16, 2), (12, 2), (3, 1)])
def test_lrn_of_channels_that_the_kernel_cannot_take_is_a_convolution(channels, columns, monkeypatch):
    """As on a GPU: eight channels of a column are one thread's."""
    from distalex.kernels import lrn_triton
    from distalex.model import lrn

    monkeypatch.setattr(lrn, "_kernel", lambda x, *_: lrn_triton if x.dtype == torch.float32 and channels == 16 else None)
    assert lrn_triton.can_take(channels, columns) == (channels == 16)
    x = normal(2, channels, 4, 3, size=30.0).contiguous().requires_grad_()  # which the kernel takes after converting it
    exact = x.detach().double().requires_grad_()
    gradient = normal(2, channels, 4, 3)
    for tensor in (x, exact):
        local_response_norm(tensor, alpha=0.1, columns=columns, rectifies=True).backward(gradient.to(tensor.dtype))
    assert torch.allclose(x.grad.double(), exact.grad, rtol=1e-5, atol=1e-5 * exact.grad.abs().max().item())


@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS, ids=["fp32", "bf16"])
@pytest.mark.parametrize(("window", "margin"), [(3, 0), (3, 1), (2, 0), (2, 1)])
@pytest.mark.parametrize(("channels", "side"), [(40, 13), (5, 6)])
def test_pooling_is_torchs_with_ties(channels, side, window, margin, dtype, tolerance):
    from distalex.kernels.pool_triton import max_pool

    ours = normal(2, channels, side, side, size=2.0).round().to(dtype).requires_grad_()
    theirs = ours.detach().clone().requires_grad_()
    pooled, expected = max_pool(ours, window, margin), functional.max_pool2d(theirs, window, 2, margin)
    assert torch.equal(pooled, expected)
    gradient = normal(*expected.shape, dtype=dtype)
    pooled.backward(gradient)
    expected.backward(gradient)
    assert torch.allclose(ours.grad, theirs.grad, rtol=tolerance, atol=4 * tolerance)  # sums of up to four in another order


def test_pooling_keeps_nan_and_takes_no_images():
    from distalex.kernels.pool_triton import max_pool

    x = normal(1, 8, 7, 7)
    x[0, 3, 2, 2] = float("nan")
    assert torch.equal(torch.isnan(max_pool(x, 3, 0)), torch.isnan(functional.max_pool2d(x, 3, 2)))
    assert max_pool(normal(0, 8, 7, 7), 3, 0).shape == (0, 8, 3, 3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_crops_are_those_by_indexing(dtype):
    from distalex.kernels import crops_triton

    arguments = crop_arguments(DEVICE)
    ours, theirs = crops_triton.normalised_crops(*arguments, dtype), crops.normalised_crops(*arguments, dtype)
    assert torch.allclose(ours.float(), theirs.float(), rtol=1e-6 if dtype == torch.float32 else 2**-6, atol=1e-5)


@pytest.mark.parametrize("norm", [True, False], ids=["lrn", "no lrn"])
@pytest.mark.parametrize("pools", [True, False], ids=["pool", "no pool"])
@pytest.mark.parametrize(("dtype", "tolerance"), PRECISIONS, ids=["fp32", "bf16"])
def test_what_follows_a_convolution_in_one_pass_has_the_gradients_of_torchs_layers(norm, pools, dtype, tolerance):
    """Of the second of two columns in one tensor, with a row and a column that lie in no window."""
    from distalex.kernels import after_triton

    constants = after_triton.Norm(0.1, 2.0) if norm else None
    before = normal(2, 32, 14, 12, dtype=dtype, size=5.0)[:, 16:]
    y = functional.relu(before)
    exact = before.double().requires_grad_()
    expected = functional.relu(exact)
    if norm:
        expected = local_response_norm(expected, alpha=0.1)
    if pools:
        expected = functional.max_pool2d(expected, 3, 2)
    gradient = normal(*expected.shape, dtype=dtype)
    expected.backward(gradient.double())
    kept = None
    if pools:
        out = normal(*expected.shape, dtype=dtype)
        kept = after_triton.forward(y, out, constants)
        assert torch.allclose(out.double(), expected, rtol=2 * tolerance, atol=1e-6)
    through = normal(2, 32, 14, 12, dtype=dtype)
    untouched = through[:, :16].clone()
    sums = after_triton.backward(gradient, kept, y, through[:, 16:], constants)
    size = exact.grad.abs().max().item()
    assert torch.allclose(through[:, 16:].double(), exact.grad, rtol=2 * tolerance, atol=2 * tolerance * size)
    assert torch.equal(through[:, :16], untouched)
    assert torch.allclose(sums.double(), exact.grad.sum((0, 2, 3)), rtol=1e-4, atol=100 * tolerance * size)


@pytest.mark.parametrize("first_unit", [0, 5])
@pytest.mark.parametrize("probability", [0.5, 0.3, 0.999])
def test_dropout_drops_the_units_that_the_key_names(probability, first_unit):
    from distalex.kernels.dropout_triton import keyed_mask

    layer, x = KeyedDropout(probability, "drop6"), torch.ones(9, 37)
    layer.first_unit = first_unit
    layer.draw.copy_(torch.tensor([-5, 7, 77], dtype=torch.int32))
    size = 8 if (probability * 2**8).is_integer() else 16
    below = min(round(probability * 2**size), 2**size - 1) - 2 ** (size - 1)
    mask = keyed_mask(layer.draw.to(DEVICE), 9, 37, first_unit, size, below, 1.0 / (1.0 - probability), torch.float32)
    assert torch.equal(mask.cpu(), layer(x))


@pytest.mark.parametrize(("kernel", "stride", "padding"), [(11, 4, 2), (5, 2, 1), (7, 3, 0)])
def test_blocks_of_pixels_are_those_of_torchs_operations(kernel, stride, padding, monkeypatch):
    from distalex.kernels import blocks_triton

    monkeypatch.setattr(gpu_convolutions, "has_triton", lambda _: False)
    x = normal(2, 3, 30, 30)
    expected = gpu_convolutions._in_blocks(x, kernel, stride, padding)
    assert torch.equal(blocks_triton.in_blocks(x, expected.shape[2], stride, padding), expected)


ON_A_GPU = Mesh(Topology(), torch.device("cuda"), "none")
SPREAD = Mesh(Topology(0, 2, 0, 2), torch.device("cuda"), "owt", column=0, columns=2)  # One Weird Trick: all columns on each


@pytest.mark.parametrize(
    ("model", "size", "mesh"),
    [
        ({"columns": 2}, 224, ON_A_GPU),
        ({"columns": 2}, 96, SPREAD),
        ({"columns": 4}, 96, ON_A_GPU),
        ({"columns": 1}, 64, ON_A_GPU),
        ({"exchange": ("conv4", "conv5"), "without": ("conv3",)}, 64, ON_A_GPU),
        ({"exchange": (), "pool": "plain", "activation": "tanh", "lrn": False}, 64, ON_A_GPU),
        ({"name": "torchvision", "columns": 1}, 224, ON_A_GPU),
        ({"name": "seed", "columns": 1}, 96, ON_A_GPU),
    ],
)
def test_layout_for_a_gpu_changes_no_logit_and_no_gradient(model, size, mesh):
    options = ModelConfig(dropout=0, fc6=32, fc7=32, freeze=("conv2",), **model)
    plain, adapted = (build_model(options, 10, size, 0).double() for _ in range(2))
    for net in (plain, adapted):
        freeze(net, options.freeze)
    gpu_convolutions.adapt(adapted, mesh)
    assert gpu_convolutions.ConvOfColumns in {type(layer) for layer in adapted.modules()}
    assert list(adapted.state_dict()) == list(plain.state_dict())
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    logits, expected = adapted(x), plain(x)
    assert torch.allclose(logits, expected, rtol=1e-10, atol=1e-14)
    logits.square().sum().backward()
    expected.square().sum().backward()
    for (key, parameter), other in zip(adapted.named_parameters(), plain.parameters(), strict=True):
        assert parameter.requires_grad == other.requires_grad == (not key.startswith("conv2"))
        if parameter.requires_grad:
            assert torch.allclose(parameter.grad, other.grad, rtol=1e-9, atol=1e-12 * other.grad.abs().max().item()), key
    assert adapted(x[:0]).shape == (0, 10)


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ({"columns": 2, "lrn_alpha": 0.1, "width": 1 / 2}, 64),
        ({"columns": 4, "lrn": False, "exchange": ("conv2", "conv5"), "without": ("conv3",)}, 64),
        ({"columns": 1, "lrn": False, "width": 1 / 4}, 64),
    ],
)
def test_biases_relus_lrn_and_pooling_in_one_pass_change_no_logit_and_no_gradient(model, size, monkeypatch):
    from distalex.kernels import after_triton

    options = ModelConfig(dropout=0, fc6=32, fc7=32, freeze=("conv2",), **model)
    plain, fused = (build_model(options, 10, size, 0) for _ in range(2))
    for net in (plain, fused):
        freeze(net, options.freeze)
    gpu_convolutions.adapt(fused, ON_A_GPU)
    assert all(layer.fused for layer in fused.modules() if isinstance(layer, gpu_convolutions.ConvOfColumns))
    if not GPU:
        monkeypatch.setattr(after_triton, "STRIP", 2)  # the interpreter walks along whole strips
        for module in (gpu_after, gpu_convolutions):
            monkeypatch.setattr(module, "can_fuse", lambda x: x.dtype == torch.float32)
    fused.to(DEVICE, memory_format=torch.channels_last)
    plain.to(DEVICE).double()
    x = normal(1, 3, size, size)
    logits, expected = fused(x), plain(x.double())
    assert torch.allclose(logits.double(), expected, rtol=1e-4, atol=1e-6)
    logits.square().sum().backward()
    expected.square().sum().backward()
    for (key, parameter), other in zip(fused.named_parameters(), plain.parameters(), strict=True):
        if parameter.requires_grad:
            assert torch.allclose(parameter.grad.double(), other.grad, rtol=1e-4, atol=1e-5 * other.grad.abs().max().item()), key


def test_a_gpu_without_a_compiler_is_told_and_takes_pytorchs_kernels(monkeypatch, capsys):
    from distalex.kernels import probe

    monkeypatch.setattr(probe, "works", lambda: (_ for _ in ()).throw(RuntimeError("Failed to find C compiler.\nSet CC")))
    assert not _triton_compiles.__wrapped__()
    assert "(Failed to find C compiler. Set CC)" in capsys.readouterr().err
    monkeypatch.setattr(probe, "works", lambda: True)
    assert _triton_compiles.__wrapped__()
    assert capsys.readouterr().err == ""
