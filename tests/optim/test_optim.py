import math
import subprocess
import sys

import pytest
import torch
from support.runs import options, small
from torch import nn

from distalex.config.choices import declared_in
from distalex.config.optim import OptimConfig
from distalex.errors import UserError
from distalex.model.initial_weights import build_model
from distalex.optim.average import MovingAverage
from distalex.optim.optimizer import build_optimizer, find_optimizer
from distalex.optim.optimizers.lars import LARS
from distalex.optim.schedule import Schedule
from distalex.parallel.mesh import Mesh
from distalex.parallel.shards import Shards
from distalex.parallel.topology import Topology
from distalex.train.roofline import update_work

WHOLE = Shards(Mesh(Topology(), torch.device("cpu")))


def schedule(total=100, epoch=10, **options):
    return Schedule(OptimConfig(**options), total, epoch)


def test_schedules_have_their_shapes():
    assert schedule().at(50) == 1
    step = schedule(schedule="step", milestones=(0.5, 0.75))
    assert [step.at(at) for at in (0, 49, 50, 74, 75, 99)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
    cosine = schedule(schedule="cosine")
    assert [cosine.at(at) for at in (0, 50, 100)] == pytest.approx([1, 0.5, 0])
    one_cycle = schedule(schedule="one_cycle", peak=0.25)
    assert [one_cycle.at(at) for at in (0, 25, 100)] == pytest.approx([0.04, 1, 0])
    warm = schedule(schedule="cosine", warmup_epochs=2)
    assert [warm.at(at) for at in (0, 19, 20)] == pytest.approx([0.05, 1, 1])


def test_plateau_divides_by_ten_three_times_and_no_more():
    plateau = schedule(schedule="plateau", patience=2)
    rates = []
    for _ in range(20):
        plateau.evaluated(1.0)
        rates.append(plateau.at(0))
    assert rates[:5] == pytest.approx([1, 1, 0.1, 0.1, 0.01])
    assert rates[-1] == pytest.approx(0.001)
    restored = schedule(schedule="plateau", patience=2)
    restored.load_state_dict(plateau.state_dict())
    assert restored.at(0) == plateau.at(0)


def test_released_biases_learn_twice_as_fast_and_do_not_decay():
    net = build_model(small().model, 4, 64, 0)
    options = OptimConfig(bias_lr=2.0, bias_decay=False, layer_lr={"fc8": 10.0})
    optimizer = build_optimizer(net, options, WHOLE)
    Schedule(options, 10, 10).apply(optimizer, 0, 0)
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    of = {name: groups[id(parameter)] for name, parameter in net.named_parameters()}
    assert (of["conv1.weight"]["lr"], of["conv1.weight"]["weight_decay"]) == (0.01, 5e-4)
    assert (of["conv1.bias"]["lr"], of["conv1.bias"]["weight_decay"]) == (0.02, 0.0)
    assert of["fc8.weight"]["lr"] == pytest.approx(0.1)
    assert of["fc8.bias"]["lr"] == pytest.approx(0.2)


def test_a_layer_that_is_none_is_named_with_those_there_are():
    with pytest.raises(UserError, match=r"fc9: no such layer; there are conv1, .*fc8"):
        build_optimizer(build_model(small().model, 4, 64, 0), OptimConfig(layer_lr={"fc9": 2.0}), WHOLE)


def test_lars_is_its_formula():
    layer = nn.Linear(3, 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[3.0, 0, 0], [0, 4.0, 0]]))  # norm 5
    optimizer = LARS(layer.parameters(), lr=0.1, momentum=0.9, weight_decay=0.01, trust=0.02)
    layer.weight.grad = torch.tensor([[0.0, 0, 2.0], [0, 0, 0]])
    optimizer.step()
    local = 0.02 * 5 / (2 + 0.01 * 5)
    expected = torch.tensor([[3.0, 0, 0], [0, 4.0, 0]])
    expected -= 0.1 * local * (layer.weight.grad + 0.01 * expected)
    assert torch.allclose(layer.weight, expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "lars"])
def test_optimizers_are_torchs(name):
    """But for not importing its compiler; LARS is ours."""
    kind = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam, "adamw": torch.optim.AdamW, "lars": LARS}[name]
    wanted = OptimConfig(name=name, lr=0.1, weight_decay=0.01)
    net = nn.Sequential(nn.Linear(3, 2, bias=False))
    start = net[0].weight.detach().clone()
    ours = build_optimizer(net, wanted, WHOLE)
    assert isinstance(ours, kind)
    assert kind.__name__ == type(ours).__name__  # which a profile shows
    if name == "lars":
        return
    others = {"momentum": wanted.momentum, "nesterov": wanted.nesterov} if name == "sgd" else {"betas": wanted.betas, "eps": wanted.eps}
    weight = nn.Parameter(start)
    theirs = kind([weight], lr=0.1, weight_decay=0.01, fused=True, **others)
    for step in range(3):
        for optimizer, parameter in ((ours, net[0].weight), (theirs, weight)):
            optimizer.zero_grad()
            (parameter * torch.arange(6.0).view(2, 3) + step).square().sum().backward()
            optimizer.step()
    assert torch.equal(net[0].weight, weight)
    ours.load_state_dict(theirs.state_dict())


@pytest.mark.parametrize("name", declared_in("optim/optimizers"))
def test_every_optimizer_keeps_the_state_and_moves_the_bytes_that_the_planner_counts(name):
    for momentum in (0.0, 0.9):
        config, net = OptimConfig(name=name, momentum=momentum), nn.Linear(16, 8, bias=False)
        optimizer = build_optimizer(nn.Sequential(net), config, WHOLE)
        net.weight.grad = torch.ones_like(net.weight)
        optimizer.step()
        kept = sum(value.nbytes for value in optimizer.state[net.weight].values() if isinstance(value, torch.Tensor) and value.ndim)
        assert kept == find_optimizer(name).state_bytes(config) * net.weight.numel()
    least = update_work(optimizer).traffic / net.weight.numel()
    is_fused = optimizer.param_groups[0].get("fused", False)
    assert least == find_optimizer(name).UPDATE_BYTES if is_fused else least < find_optimizer(name).UPDATE_BYTES


@pytest.mark.parametrize("name", declared_in("optim/schedules"))
def test_every_schedule_is_a_share_throughout_a_run(name):
    shares = [schedule(schedule=name, total=20).at(step) for step in range(21)]
    assert all(0 <= share <= 1 for share in shares)
    assert max(shares) > 0.9


def test_a_run_does_not_import_the_compiler(tmp_path):
    """It takes two seconds, of a process that uses nothing of it."""
    program = (
        "import sys\n"
        "from distalex.cli import main\n"
        "assert main.main(['train', *sys.argv[1:]]) == 0\n"
        "sys.exit(sorted({'torch._dynamo', 'torch._inductor', 'sympy', 'sklearn'} & set(sys.modules)) or 0)\n"
    )
    words = [*options(data__name="digits", data__image_size="64", train__max_steps="2"), f"--runs_dir={tmp_path}", "--name=it"]
    done = subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_moving_average_follows_its_formula_and_swaps_back():
    layer = nn.Linear(2, 2)
    start = layer.weight.detach().clone()
    average = MovingAverage(layer, 0.9, WHOLE)
    with torch.no_grad():
        layer.weight.add_(1.0)
    average.update(layer)
    assert torch.allclose(average.weights["weight"], start + 0.1)
    average.swap(layer)
    assert torch.allclose(layer.weight, start + 0.1)
    average.swap(layer)
    assert torch.allclose(layer.weight, start + 1.0)


def test_the_expected_loss_of_knowing_nothing_is_the_logarithm_of_the_classes():
    net = build_model(small().model, 10, 64, 0).eval()
    loss = nn.functional.cross_entropy(net(torch.randn(32, 3, 64, 64)), torch.arange(32) % 10)
    assert loss.item() == pytest.approx(math.log(10), rel=0.05)
