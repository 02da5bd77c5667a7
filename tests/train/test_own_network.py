"""`model.name=FILE.py:FUNCTION`: what is refused, what a run keeps, and that a run needs its file no more."""

import pytest
import torch
from support.runs import newest

from distalex.cli.main import main
from distalex.config.model import ModelConfig
from distalex.model.initial_weights import build_model

SMALL = [
    *("--data.name=synthetic", "--data.image_size=32", "--data.synthetic_images=24", "--data.synthetic_classes=4", "--train.threads=1"),
    *("--train.epochs=2", "--train.batch_size=8", "--train.max_steps=2", "--parallel=none", "--log.wandb=disabled", "--name=mine"),
]
HEAD = "import torch\nfrom torch import nn\nfrom torch.nn import functional as F\n"
NET = """
class Net(nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 8, 5, 4), nn.BatchNorm2d(8), nn.Dropout(0.25)
        self.out = nn.Linear(8, classes)
        self.register_buffer("mean", torch.zeros(8))
        self.register_buffer("count", torch.zeros(()), persistent=False)
        self.attention = nn.MultiheadAttention(8, 2, dropout=0.1)

    def forward(self, x):
        x = self.drop(self.norm(self.conv(x)).mean((2, 3)))
        {line}
        return self.out(x)

def build(*, classes, image_size, width=8):
    return Net(classes)

def other(number, side, depth):
    return Net(number)

layer = nn.Linear(8, 8)
"""


def write(path, line="x = self.drop(x)"):
    path.write_text(HEAD + NET.replace("{line}", line))


MISTAKES = {  # what is wrong in the file or the options: words of the one line that answers
    "x = F.dropout(x, 0.5, self.training)": ["draws random numbers", "nn.Dropout"],
    "x = x + torch.rand(8)": ["draws random numbers"],
    "x = x - x.mean(0) if self.training else x": ["images beside it"],
    "self.mean = self.mean + (x.detach().mean(0) if self.training else 0)": ["buffer mean"],
    "self.count += 1": ["buffer count", "persistent=True"],
    "x = self.attention(x, x, x)[0]": ["attention (nn.MultiheadAttention) draws random numbers", "dropout=0"],
    "return x": ["shape (2, 8)", "(images, 4)"],
    "return self.out(x), x": ["tuple of 2", "logits alone"],
    "x = self.nothing(x)": ["fails on images of 32x32", "line"],
    "--model.name=net.py": ["net.py:build"],
    "--model.name=net.py:layer": ["is a network, not a function"],
    "--model.name=net.py:other": ["takes (number, side, depth)", "build(classes, image_size)"],
    "--model.name=other.py:build": ["other.py", "cannot be read"],
    "--model.name=net.py:bild": ["no function bild", "build"],
    "--model.name=torchvision:resnet81": ["did you mean torchvision:resnet18"],
    "--model.name=torchvision:inception_v3": ["32x32", "data.image_size"],
    "--model.fc6=4096": ["model.fc6=4096", "remove it"],
    "--model.dropout=0.5": ["model.dropout=0.5", "own layers"],
    "--train.accumulate=2": ["train.accumulate", "batch normalisation"],
    "--model.freeze=conv9": ["conv9", "conv, norm, out"],
}


@pytest.mark.parametrize("wrong", MISTAKES)
def test_a_mistake_is_one_line_and_creates_nothing(wrong, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "net.py", wrong if not wrong.startswith("--") else "pass")
    typed = [wrong] if wrong.startswith("--") else []
    named = [] if "model.name" in wrong else ["--model.name=net.py:build"]
    assert main(["train", *SMALL, *named, *typed]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    for word in MISTAKES[wrong]:
        assert word in error, error
    assert not (tmp_path / "runs").exists()


def test_a_run_needs_its_file_no_more(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "net.py")
    assert main(["train", *SMALL, "--model.name=net.py:build", "--train.ema=0.9"]) == 0
    assert {"conv.weight", "norm.running_mean", "norm.num_batches_tracked"} <= newest(tmp_path / "runs" / "mine")["model"].keys()
    assert (tmp_path / "runs" / "mine" / "network.py").read_text() == (tmp_path / "net.py").read_text()
    (tmp_path / "net.py").unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = str(tmp_path / "runs" / "mine")
    assert main(["evaluate", run, "--parallel=none", "--ten_crop"]) == 0
    assert main(["predict", run, "--neighbours=2"]) == 0
    assert main(["report", run]) == 0
    for out in ("net.pt2", "net.safetensors"):
        assert main(["export", run, f"--out={out}"]) == 0
    resume = ["train", "--name=mine", f"--runs_dir={tmp_path / 'runs'}", "--checkpoint.resume=auto"]
    assert main([*resume, "--train.max_steps=3"]) == 0
    write(tmp_path / "elsewhere" / "net.py", "pass")
    capsys.readouterr()
    assert main([*resume, "--train.max_steps=4"]) == 2
    assert "net.py has changed" in capsys.readouterr().err
    assert main([*resume, "--train.max_steps=4", f"--model.name={run}/network.py:build"]) == 0


def test_a_moving_average_swaps_tied_layers_once():
    from torch import nn

    from distalex.optim.average import MovingAverage
    from distalex.parallel.shards import Shards
    from distalex.parallel.start import start_processes

    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    with start_processes("none", device="cpu") as mesh:
        average = MovingAverage(net, 0.5, Shards(mesh))
    before = net[0].weight.detach().clone()
    with torch.no_grad():
        net[0].weight.add_(1.0)
    average.update(net)
    average.swap(net)
    assert torch.allclose(net[0].weight, before + 0.5)
    average.swap(net)
    assert torch.allclose(net[0].weight, before + 1.0)


def test_initial_weights_are_keyed_by_the_seed_alone(tmp_path):
    write(tmp_path / "net.py")
    config, generator = ModelConfig(name=f"{tmp_path}/net.py:build"), torch.get_rng_state()
    one, two = (build_model(config, 4, 32, 0) for _ in range(2))
    assert torch.equal(torch.get_rng_state(), generator)
    torch.manual_seed(7)
    assert all(torch.equal(value, build_model(config, 4, 32, 0).state_dict()[name]) for name, value in one.state_dict().items())
    assert not torch.equal(two.get_parameter("conv.weight"), build_model(config, 4, 32, 1).get_parameter("conv.weight"))


def test_its_layers_thaw_after_some_epochs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "net.py")
    before = build_model(ModelConfig(name=f"{tmp_path}/net.py:build"), 4, 32, 0).state_dict()
    torch.save(before, "weights.pt")
    given = ["--model.name=net.py:build", "--model.freeze=conv", "--model.thaw=1", "--model.weights=weights.pt", "--log.report=false"]
    given += ["--train.max_steps=6"]
    assert main(["train", *[option for option in SMALL if "max_steps" not in option], *given]) == 0
    frozen, thawed = (torch.load(tmp_path / f"runs/mine/checkpoints/step-0000000{step}.pt")["model"] for step in (3, 6))
    assert torch.equal(frozen["conv.weight"], before["conv.weight"])
    assert not torch.equal(thawed["conv.weight"], before["conv.weight"])
