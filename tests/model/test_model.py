import pytest
import torch
import torchvision
from support.runs import small

from distalex.config.choices import declared_in
from distalex.config.model import ModelConfig
from distalex.model.batch_norm import BatchNorm
from distalex.model.dropout import KeyedDropout
from distalex.model.initial_weights import build_model
from distalex.model.layer_names import find_layers
from distalex.model.network import count_macs
from distalex.plan.layers import layers_of


def net_of(name, classes=1000, size=224, **options):
    return build_model(ModelConfig(name=name, **options), classes, size, seed=0)


@pytest.mark.parametrize(
    ("name", "options", "parameters"),
    [("paper", {}, 60_965_224), ("paper", {"columns": 1}, 62_378_344), ("torchvision", {}, 61_100_840)],
)
def test_parameter_counts_are_the_published_ones(name, options, parameters):
    assert sum(parameter.numel() for parameter in net_of(name, **options).parameters()) == parameters


def test_paper_network_has_the_papers_shapes():
    net = net_of("paper", fc6=64, fc7=64).eval()
    seen = {}
    for name, module in net.named_children():
        module.register_forward_hook(lambda _, __, output, name=name: seen.__setitem__(name, tuple(output.shape[1:])))
    net(torch.zeros(1, 3, 224, 224))
    assert [seen[f"conv{number}"] for number in range(1, 6)] == [(96, 55, 55), (256, 27, 27), (384, 13, 13), (384, 13, 13), (256, 13, 13)]
    assert [seen[f"after{number}"][1] for number in range(1, 6)] == [27, 13, 13, 13, 6]
    assert net.conv1.weight.shape == (96, 3, 11, 11)
    assert net.conv2.weight.shape == (256, 48, 5, 5)
    assert net.conv3.weight.shape == (384, 256, 3, 3)
    assert net.conv4.weight.shape == (384, 192, 3, 3)
    assert net.conv5.weight.shape == (256, 192, 3, 3)
    assert net.fc6.in_features == 9216


def test_seed_network_is_the_tutorials():
    net = net_of("seed", classes=10, size=96)
    assert [tuple(layer.weight.shape) for layer in (net.fc6, net.fc7, net.fc8)] == [(4096, 9216), (1024, 4096), (10, 1024)]
    assert [net.conv1.out_channels, net.conv2.out_channels, net.conv4.out_channels] == [64, 192, 256]
    assert not any("LocalResponseNorm" in str(module) for module in net.modules())


def test_cifar_network_is_as_its_table_says():
    net = net_of("cifar", 10, 32, channels=[16, 24, 32], kernels=[5, 3, 3], pooled=["conv1", "conv3"], batch_norm=True, fc6=0)
    assert [tuple(module.weight.shape) for module in net.modules() if isinstance(module, torch.nn.Conv2d)] == [
        (16, 3, 5, 5),
        (24, 16, 3, 3),
        (32, 24, 3, 3),
    ]
    assert [type(module).__name__ for module in net.after1] == ["MaxPool", "BatchNorm", "ReLU"]
    assert [type(module).__name__ for module in net.after2] == ["BatchNorm", "ReLU"]
    assert net.convolve(torch.randn(2, 3, 32, 32)).shape == (2, 32 * 4 * 4)
    assert (net.fc6, net.fc7) == (None, None)
    assert net(torch.randn(2, 3, 64, 64)).shape == (2, 10)


def test_initial_filters_pass_their_inputs_on_where_asked():
    net = net_of("paper", fc6=64, fc7=64, init="identity", columns=2)
    x = torch.rand(1, 96, 9, 9)
    passed = net.conv2(x)
    assert torch.equal(passed[:, :48], x[:, :48])  # conv2's columns have 48 inputs and 128 filters each
    assert torch.equal(passed[:, 128:176], x[:, 48:])
    assert net.conv2.weight[48].std() > 0


def test_batch_normalisation_is_torchs():
    ours, theirs = BatchNorm(5), torch.nn.BatchNorm2d(5)
    x = 3 * torch.randn(4, 5, 6, 6) + 1
    assert torch.equal(ours(x), theirs(x))
    assert torch.equal(ours.mean, theirs.running_mean)
    assert torch.equal(ours.variance, theirs.running_var)
    assert torch.equal(ours.eval()(x), theirs.eval()(x))


def test_torchvisions_weights_give_torchvisions_logits():
    theirs = torchvision.models.alexnet().eval()
    ours = net_of("torchvision").eval()
    weights = theirs.state_dict()
    (found,) = find_layers(weights, ours.state_dict())
    ours.load_state_dict({name: weights[their_name] for name, their_name in found.names.items()})
    x = torch.randn(2, 3, 224, 224)
    assert torch.equal(ours(x), theirs(x))


@pytest.mark.parametrize("size", [64, 65, 96, 128, 160, 192, 224, 227, 256])
@pytest.mark.parametrize("name", ["paper", "seed", "torchvision"])
def test_every_supported_size_gives_finite_logits_near_zero(name, size):
    net = net_of(name, classes=7, size=size, fc6=64, fc7=64).eval()
    logits = net(torch.randn(2, 3, size, size))
    assert logits.shape == (2, 7)
    assert logits.abs().max() < 5  # soft-max starts near even


@pytest.mark.parametrize(("name", "size"), [("paper", 64), ("paper_cifar", 24), ("paper_cifar", 32)])
def test_a_column_is_the_slice_of_every_parameter(name, size):
    """Two half-width towers with the slices, joined where Figure 2 joins them, are the grouped network."""
    from torch.nn import functional

    net = net_of(name, classes=10, size=size, fc6=32, fc7=32).eval()
    x = torch.randn(2, 3, size, size)
    state = {name: value.chunk(2) for name, value in net.state_dict().items()}

    def layer(name, inputs, column):
        weight, bias = state[f"{name}.weight"][column], state[f"{name}.bias"][column]
        if name.startswith("fc"):
            return functional.linear(inputs, weight, bias)
        original = net.get_submodule(name)
        return functional.conv2d(inputs, weight, bias, original.stride, original.padding)

    def after(number, inputs):
        for module in net.get_submodule(f"after{number}"):
            rectified = "LocalResponse" in str(module)
            inputs = functional.local_response_norm(inputs.relu(), 5, 1e-4, 0.75, 2.0) if rectified else module(inputs)
        return inputs

    own = [after(2, layer("conv2", after(1, layer("conv1", x, column)), column)) for column in range(2)]
    both = torch.cat(own, 1)
    own = [
        after(5, layer("conv5", after(4, layer("conv4", after(3, layer("conv3", both, column)), column)), column)) for column in range(2)
    ]
    both = torch.cat([net.pool(column).flatten(1) for column in own], 1)
    for name in ("fc6", "fc7"):
        both = torch.cat([layer(name, both, column).relu() for column in range(2)], 1)
    logits = torch.cat([layer("fc8", both, column) for column in range(2)], 1)
    assert torch.allclose(logits, net(x), rtol=1e-4, atol=1e-6)  # fp32, another order of summation


@pytest.mark.parametrize("name", declared_in("model/networks"))
def test_every_network_answers_for_its_layers(name):
    config = ModelConfig(name=name, **dict.fromkeys(("fc6", "fc7"), 32))
    smallest = config.facts["SMALLEST"]
    net = build_model(config, 7, smallest, seed=0).eval()
    x = torch.randn(2, 3, smallest, smallest)
    assert net(x).shape == (2, 7)
    torch.testing.assert_close(net.classify(net.convolve(x)), net(x))
    for stage in net.stages().values():
        x = stage(x)
    assert x.shape == (2, 7)
    assert list(net.stages()) == list(net.reads) == [*net.followed_by, *net.linear_layers]
    assert (net.first_layer, net.linear_layers[-1]) == ("conv1", net.classifier)


@pytest.mark.parametrize(("pool", "without", "convolutions"), [("overlapping", (), 5), ("plain", (), 5), ("overlapping", ("conv4",), 4)])
def test_fc6_of_the_papers_network_for_cifar_reads_as_much_with_either_pooling_and_a_layer_less(pool, without, convolutions):
    net = net_of("paper_cifar", size=24, fc6=32, fc7=32, pool=pool, without=without)
    assert net.convolve(torch.randn(1, 3, 24, 24)).shape == (1, 128 * 9)
    assert sum(name.startswith("conv") for name, _ in net.named_children()) == convolutions


def test_weights_depend_on_the_seed_and_not_on_other_layers():
    first, again, narrow, other = (
        build_model(ModelConfig(fc7=width), 10, 64, seed) for width, seed in ((64, 0), (64, 0), (32, 0), (64, 1))
    )
    assert torch.equal(first.fc6.weight, again.fc6.weight)
    assert torch.equal(first.fc6.weight, narrow.fc6.weight)
    assert not torch.equal(first.fc6.weight, other.fc6.weight)


def test_paper_and_released_initial_weights():
    paper, released = (net_of("paper", fc6=512, fc7=512, init=init) for init in ("paper", "released"))
    for net, conv3, fc6 in ((paper, 0.01, 0.01), (released, 0.03, 0.005)):
        assert net.conv3.weight.std().item() == pytest.approx(conv3, rel=0.01)
        assert net.fc6.weight.std().item() == pytest.approx(fc6, rel=0.01)
        ones = {name for name, layer in net.named_children() if hasattr(layer, "bias") and bool((layer.bias == 1).all())}
        assert ones == {"conv2", "conv4", "conv5", "fc6", "fc7"}


@pytest.mark.parametrize("probability", [0.5, 0.3])
def test_dropout_zeroes_its_share_and_keeps_the_mean(probability):
    layer = KeyedDropout(probability, "drop6")
    out = layer(torch.ones(400, 500))
    share = (out == 0).double().mean().item()
    assert share == pytest.approx(probability, abs=5 * 0.5 / (400 * 500) ** 0.5)
    assert out.max().item() == pytest.approx(1 / (1 - probability))
    assert torch.equal(layer.eval()(torch.ones(2, 3)), torch.ones(2, 3))


def test_a_probability_close_to_one_drops_nearly_all():
    layer = KeyedDropout(0.999999, "drop6")
    assert (layer(torch.ones(64, 4096)) != 0).float().mean() < 1e-3


def test_dropout_masks_are_keyed_by_seed_step_layer_and_row():
    net = build_model(small().model, 4, 64, seed=0).train()
    x = torch.ones(8, 32)

    def masks(seed, step, row, rows=8, layer="drop6"):
        net.key_masks(seed, step, row)
        return net.get_submodule(layer)(x[:rows])

    whole = masks(0, 5, 0)
    assert torch.equal(whole[3:6], masks(0, 5, 3, rows=3))
    for other in (masks(1, 5, 0), masks(0, 6, 0), masks(0, 5, 1), masks(0, 5, 0, layer="drop7")):
        assert not torch.equal(whole, other)


def shapes(**changes: object) -> dict[str, tuple[int, ...]]:
    options = ModelConfig(fc6=32, fc7=32, **changes)
    net = build_model(options, 10, 64, 0)
    assert net(torch.zeros(2, 3, 64, 64)).shape == (2, 10)
    return {name: tuple(value.shape) for name, value in net.state_dict().items()}


def test_what_the_paper_compares_with_changes_what_it_names_and_nothing_else():
    paper = shapes()
    assert shapes(lrn=False) == shapes(pool="plain") == shapes(lrn=False, activation="tanh") == paper
    assert {name for name, shape in shapes(exchange=()).items() if shape != paper[name]} == {"conv3.weight"}
    assert shapes(exchange=())["conv3.weight"] == (384, 128, 3, 3)
    assert shapes(exchange="conv3,conv4")["conv4.weight"] == (384, 384, 3, 3)
    without = shapes(without=("conv3",))
    assert paper.keys() - without.keys() == {"conv3.weight", "conv3.bias"}
    assert without["conv4.weight"] == (384, 128, 3, 3)
    half = shapes(columns=1, width=0.5)
    assert (half["conv1.weight"], half["conv2.weight"]) == ((48, 3, 11, 11), (128, 48, 5, 5))


def test_pooling_and_activation_are_the_named_ones():
    net = build_model(ModelConfig(fc6=32, fc7=32, pool="plain", lrn=False, activation="tanh"), 10, 64, 0)
    pools = [module for module in net.modules() if isinstance(module, torch.nn.MaxPool2d)]
    assert [(pool.kernel_size, pool.stride) for pool in pools] == [(2, 2)] * 3
    assert not [module for module in net.modules() if isinstance(module, torch.nn.ReLU)]
    x = torch.randn(2, 3, 64, 64)
    by_hand = x
    for number in range(1, 6):
        layer = net.get_submodule(f"conv{number}")
        by_hand = torch.tanh(torch.nn.functional.conv2d(by_hand, layer.weight, layer.bias, layer.stride, layer.padding, 1, layer.groups))
        by_hand = torch.nn.functional.max_pool2d(by_hand, 2) if number in (1, 2, 5) else by_hand
    by_hand = net.pool(by_hand).flatten(1)
    for name in ("fc6", "fc7"):
        by_hand = torch.tanh(net.get_submodule(name)(by_hand))
    torch.testing.assert_close(net.eval()(x), net.fc8(by_hand))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"activation": "tanh"}, "model.activation=tanh.*--model.lrn=false"),
        ({"exchange": ("conv1",)}, "conv2, conv3, conv4 and conv5 can read other columns"),
        ({"without": ("conv5",)}, "conv3 and conv4 can be left out"),
        ({"width": 0.3}, "model.width=0.3.*e.g. 0.5"),
        ({"name": "seed", "pool": "plain"}, "goes with model.name=paper"),
    ],
)
def test_parts_that_do_not_go_together_are_refused(changes, says):
    with pytest.raises(ValueError, match=says):
        ModelConfig(**changes)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, 224),
        ({"columns": 1, "width": 0.5}, 96),
        ({"name": "seed", "columns": 1}, 96),
        ({"name": "torchvision"}, 224),
        ({"name": "cifar", "channels": (8, 16, 24), "kernels": (5, 3, 3), "pooled": ("conv1", "conv3"), "fc6": 0, "fc7": 0}, 32),
    ],
)
def test_multiplications_are_those_of_the_weights_at_every_place(options, size):
    options = ModelConfig(**options)
    assert count_macs(options, 10, size) == sum(layer.macs for layer in layers_of(options, 10, size, "fp32"))


def test_the_papers_network_takes_724_million_multiplications():
    assert round(count_macs(ModelConfig(), 1000, 224) / 1e5) == 7244
