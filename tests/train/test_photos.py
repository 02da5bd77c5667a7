"""Fine-tuning as config `photos` does it: what follows from the weights, freezing and thawing, stopping early, and the end of a run."""

import shlex

import pytest
import torch
import torchvision
from support.runs import metrics, newest, options
from support.train import train

from distalex.cli.main import main
from distalex.config.loading import load_config
from distalex.errors import UserError
from distalex.runs import published
from distalex.runs.metrics import read_metrics

NORMED = {"model__name": "cifar", "model__batch_norm": "true", "model__channels": "8,8", "model__kernels": "3,3", "model__pooled": "conv1"}
THAWED = {"model__freeze": "convolutions", "model__thaw": "1", "train__epochs": "3"}
# A run whose second and third evaluations are worse than the first: the rate is far too high after the first epoch's warm-up.
WORSE = {"optim__lr": "30", "optim__warmup_epochs": "2", "train__clip_norm": "1", "train__epochs": "9", "data__validation": "0"}


def best(run):
    return torch.load(run / "checkpoints" / "best.pt", weights_only=True)


def test_the_config_trains_on_photographs_alone_and_from_a_run(tmp_path, photographs, capsys):
    quick = ["--config=photos", "--data.stored_size=72", "--train.epochs=3", "--train.threads=1", "--log.wandb=disabled"]
    quick += ["--log.report=false", "--model.fc6=32", "--model.fc7=32"]
    assert main(["train", str(photographs), "--data.image_size=64", "--name=first", *quick]) == 0
    assert main(["train", str(photographs), "--model.weights=first", "--name=second", *quick]) == 0
    said = capsys.readouterr().out
    assert "model.weights=first: 16 tensors taken from runs/first/checkpoints/best.pt" in said
    assert "64x64" in said.partition("run runs/second")[2]
    before, after = best(tmp_path / "runs" / "first"), newest(tmp_path / "runs" / "second")
    assert not torch.equal(before["model"]["conv1.weight"], after["model"]["conv1.weight"])


def test_network_size_and_normalisation_are_the_runs_unless_typed(tmp_path):
    assert train(name="first", data__normalize="tutorial", train__max_steps="1") == 0
    taken = load_config("cifar10_fast", {"model.weights": "first"})
    assert (taken.model.name, taken.model.width, taken.data.image_size, taken.data.normalize) == ("paper", 0.25, 64, "tutorial")
    typed = load_config("cifar10_fast", {"model.weights": "first", "model.lrn": "false", "data.image_size": "96"})
    assert (typed.model.name, typed.model.lrn, typed.data.image_size) == ("paper", False, 96)
    (tmp_path / "own.yaml").write_text(typed.dump())
    assert load_config("own.yaml") == typed


@pytest.mark.parametrize("network", [{}, {"model__name": "torchvision"}, NORMED])
def test_one_command_of_fine_tuning_fits_every_network(tmp_path, network):
    assert train(name="first", train__max_steps="1", **network) == 0
    own = "--data.name=synthetic --data.synthetic_images=20 --data.synthetic_classes=3 --log.wandb=disabled --log.report=false --name=tuned"
    words = "--model.weights=first --model.freeze=convolutions --optim.layer_lr=classifier:10,first:0.1 --train.max_steps=1"
    assert main(["train", *own.split(), *words.split(), "--train.batch_size=8"]) == 0
    before, after = best(tmp_path / "runs" / "first")["model"], newest(tmp_path / "runs" / "tuned")["model"]
    kept = [name for name in before if name.startswith(("conv", "after"))]
    assert kept and all(torch.equal(before[name], after[name]) for name in kept)
    assert after["fc8.weight"].shape[0] == 3


def test_an_unknown_layer_is_refused_with_the_words_that_fit(capsys):
    assert train(name="it", model__freeze="head") == 2
    assert "model.freeze=head: no such layer" in (said := capsys.readouterr().err)
    assert "classifier, first, convolutions fit every network" in said


@pytest.mark.parametrize("network", [{}, NORMED])
def test_thawed_layers_train_from_their_epoch_on_and_resume_to_the_bit(tmp_path, network):
    assert train(name="start", **network, train__max_steps="1", seed="1") == 0
    more = {**THAWED, **network, "model__weights": "start", "optim__name": "adam", "optim__lr": "0.001"}
    assert train(name="frozen", **more, train__max_steps="3") == 0
    assert train(name="whole", **more) == 0
    for stop in ("2", "4"):
        assert train(name="parts", checkpoint__resume="auto", train__max_steps=stop, **more) == 0
    assert train(name="parts", checkpoint__resume="auto", **more) == 0
    runs = tmp_path / "runs"
    frozen, whole, parts = (newest(runs / name) for name in ("frozen", "whole", "parts"))
    assert "conv1.weight" not in frozen["optimizer"] and "conv1.weight" in whole["optimizer"]
    assert all(torch.equal(value, parts["model"][name]) for name, value in whole["model"].items())
    assert not torch.equal(frozen["model"]["conv1.weight"], whole["model"]["conv1.weight"])


def test_nothing_is_frozen_for_some_epochs_where_training_starts_from_random_weights(tmp_path):
    assert train(name="anew", **THAWED, train__max_steps="1") == 0
    assert train(name="free", train__max_steps="1") == 0
    anew, free = (newest(tmp_path / "runs" / name)["model"] for name in ("anew", "free"))
    assert all(torch.equal(value, free[name]) for name, value in anew.items())


@pytest.mark.slow(30)
@pytest.mark.parametrize("topology", ["data-3", "model-2", "owt-2", "hybrid-4"])
def test_thawing_gives_the_same_curve_on_every_topology(launch, tmp_path, topology):
    parallel, processes = topology.split("-")
    assert train(name="start", train__max_steps="1", seed="1") == 0
    for name, more, count in (("alone", ("--parallel=none",), 1), ("divided", (f"--parallel={parallel}",), int(processes))):
        done = launch("train", *options(name=name, **THAWED, model__weights="start"), *more, processes=count)
        assert done.returncode == 0, done.stderr
    alone, divided = ([row["loss"] for row in metrics(tmp_path / "runs" / name)] for name in ("alone", "divided"))
    assert divided == pytest.approx(alone, abs=2e-5)  # fp32 sums in another order


def test_a_run_that_gets_no_better_stops_early_also_in_parts(tmp_path, capsys):
    more = {**WORSE, "train__early_stop": "2"}
    assert train(name="whole", **more) == 0
    said = capsys.readouterr().out
    rows = metrics(tmp_path / "runs" / "whole", "eval")
    assert len(rows) < 9
    better = [row["epoch"] for place, row in enumerate(rows) if all(row["loss"] < other["loss"] for other in rows[:place])]
    better += [row["epoch"] for place, row in enumerate(rows) if all(row["top1"] > other["top1"] for other in rows[:place])]
    assert rows[-1]["epoch"] == max(better) + 2
    assert f"stopped early: no epoch after {max(better)} was better" in said
    for steps in ("2", "5", "100"):
        assert train(name="parts", checkpoint__resume="auto", train__max_steps=steps, **more) == 0
    parts = [row for row in metrics(tmp_path / "runs" / "parts", "eval") if row["step"] % 3 == 0]
    assert [(row["epoch"], row["loss"]) for row in parts] == [(row["epoch"], row["loss"]) for row in rows]
    assert train(name="whole", checkpoint__resume="auto", **more) == 0
    assert "nothing left to train: train.early_stop=2 stopped it" in capsys.readouterr().out
    assert metrics(tmp_path / "runs" / "whole", "eval") == rows
    assert train(name="whole", checkpoint__resume="auto", **more, train__max_steps="100") == 0
    assert main(["train", "--name=whole", "--checkpoint.resume=auto", "--train.early_stop=0"]) == 0
    assert metrics(tmp_path / "runs" / "whole", "eval")[-1]["epoch"] == 9


def test_evaluations_further_apart_than_the_patience_still_end_with_one(tmp_path):
    assert train(name="it", **WORSE, train__early_stop="1", train__evaluate_every="2") == 0
    rows = read_metrics(tmp_path / "runs" / "it" / "metrics.jsonl")
    assert rows[-1]["kind"] == "eval" and rows[-1]["epoch"] % 2 == 0


@pytest.mark.slow(12)
def test_every_command_that_the_end_of_a_run_prints_works(tmp_path, photographs, launch):
    data = {"data__name": "folder", "data__root": str(photographs), "data__stored_size": "72", "train__max_steps": "1"}
    done = launch("train", *options(name="it", runs_dir="my runs", log__report="true", **data), processes=2)
    assert done.returncode == 0, done.stderr
    assert "report  my runs/it/report.html" in done.stdout
    assert "Predictions" in (tmp_path / "my runs" / "it" / "report.html").read_text()
    commands = [shlex.split(line) for line in done.stdout.partition("next:\n")[2].splitlines()]
    assert [words[2] for words in commands] == ["distalex.predict", "distalex.evaluate", "distalex.export"]
    for words in commands:
        done = launch(words[2].removeprefix("distalex."), *words[3:])
        assert done.returncode == 0, (words, done.stderr)


def test_a_report_that_cannot_be_written_does_not_fail_the_run(tmp_path, capsys):
    assert train(name="it", train__max_steps="1") == 0
    (tmp_path / "runs" / "it" / "report.html").mkdir()
    assert train(name="it", checkpoint__resume="auto", log__report="true", train__max_steps="1") == 0
    assert "report  not written (" in capsys.readouterr().out


def test_the_table_of_epochs_has_training_and_test_figures_and_the_time_left(tmp_path, capsys):
    assert train(name="it") == 0
    lines = capsys.readouterr().out.splitlines()
    (head,) = [number for number, line in enumerate(lines) if line.split()[:2] == ["epoch", "step"]]
    row, (trained, tested) = lines[head + 2], (metrics(tmp_path / "runs" / "it", kind)[-1] for kind in ("epoch", "eval"))
    assert row.split()[:3] == ["2/2", "6", f"{trained['loss']:.4f}"]
    assert f"{tested['loss']:.4f}{tested['top1']:>8.2f} %" in row
    assert row.endswith("0.0 s")


def write_torchvisions(folder):
    folder.mkdir(parents=True, exist_ok=True)
    net = torchvision.models.alexnet(weights=None)
    net.classifier[1], net.classifier[4], net.classifier[6] = torch.nn.Linear(9216, 8), torch.nn.Linear(8, 8), torch.nn.Linear(8, 1000)
    torch.save(net.state_dict(), folder / "alexnet-owt-7be5be79.pth")
    return net.state_dict()


TORCHVISION = ["--model.weights=torchvision", "--train.max_steps=1", "--log.wandb=disabled", "--log.report=false", "--name=it"]
SHORT = [*TORCHVISION, "--data.name=synthetic", "--data.synthetic_images=8", "--train.batch_size=4", "--data.image_size=64"]


@pytest.mark.parametrize("place", ["TORCH_HOME", "XDG_CACHE_HOME", "DISTALEX_DATA"])
def test_torchvisions_file_is_taken_where_it_lies(tmp_path, monkeypatch, capsys, place):
    """A file of our own in its place, with narrower layers: another checksum is reported."""
    monkeypatch.delenv("TORCH_HOME", raising=False)
    monkeypatch.setenv(place, str(tmp_path / "own"))
    below = {"TORCH_HOME": "hub/checkpoints", "XDG_CACHE_HOME": "torch/hub/checkpoints", "DISTALEX_DATA": ""}[place]
    weights = write_torchvisions(tmp_path / "own" / below)
    assert main(["train", *SHORT, "--model.freeze=convolutions", "--model.fc6=8", "--model.fc7=8"]) == 0
    assert "its checksum is not that of torchvision's file" in capsys.readouterr().out
    state = newest(tmp_path / "runs" / "it")
    assert torch.equal(state["model"]["conv1.weight"], weights["features.0.weight"])
    assert (state["config"]["model"]["name"], state["config"]["data"]["normalize"]) == ("torchvision", "imagenet")
    assert load_config("photos", {"model.weights": "torchvision"}).data.image_size == 224


def test_without_the_file_and_a_network_one_line_says_where_it_goes(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(published, "places", lambda: [tmp_path / "cache"])
    monkeypatch.setattr(torch.hub, "download_url_to_file", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
    assert main(["train", *SHORT]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "alexnet-owt-7be5be79.pth (233 MB) is in none of" in line and "no network" in line
    assert f"put it into {tmp_path / 'cache'}" in line
    assert not (tmp_path / "runs").exists()


def test_another_file_in_its_place_and_another_network_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    write_torchvisions(folder := tmp_path / "cache" / "hub" / "checkpoints")
    assert main(["train", *SHORT, "--model.name=paper", "--model.fc6=8", "--model.fc7=8"]) == 2
    assert "it fits with --model.name=" in capsys.readouterr().err
    (folder / "alexnet-owt-7be5be79.pth").write_text("<html>")
    assert main(["train", *SHORT]) == 2
    assert "is a web page" in capsys.readouterr().err


def test_tensorboard_has_the_rows_once_after_resuming(tmp_path, monkeypatch):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert train(name="it", log__tensorboard="true", train__epochs="3", train__max_steps="5") == 0
    (tmp_path / "runs" / "it" / "checkpoints" / "step-00000005.pt").unlink()
    assert train(name="it", log__tensorboard="true", train__epochs="3", checkpoint__resume="auto") == 0
    found = accumulators.EventAccumulator(str(tmp_path / "runs" / "it" / "tensorboard")).Reload()
    for kind in ("train", "epoch", "eval"):
        rows = metrics(tmp_path / "runs" / "it", kind)
        assert [(one.step, one.value) for one in found.Scalars(f"{kind}/loss")] == [
            (row["step"], pytest.approx(row["loss"])) for row in rows
        ]


def test_without_tensorboard_a_run_does_not_start(tmp_path, monkeypatch, capsys):
    find = __import__("importlib.util").util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name, *more: None if name == "tensorboard" else find(name, *more))
    assert train(name="it", log__tensorboard="true") == 2
    assert "pip install tensorboard" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_none_empties_a_list_and_removes_a_value_that_a_config_gives(tmp_path, capsys):
    config = load_config("photos", {"model.freeze": "none", "train.max_steps": "none", "optim.layer_lr": "classifier=3"})
    assert (config.model.freeze, config.model.thaw, config.optim.layer_lr) == ((), None, {"classifier": 3.0})
    assert load_config("photos", {"model.thaw": "null"}).model.freeze == ("convolutions",)
    assert load_config("digits", {"parallel": "none", "data.augment": "none"}).parallel == "none"
    with pytest.raises(UserError, match=r"model\.thaw=2: no layer is frozen; .*--model\.thaw=none"):
        load_config("digits", {"model.thaw": "2"})


def test_a_dry_run_looks_for_the_weights(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["train", "--data.name=synthetic", "--model.weights=torchvision", "--dry_run"]) == 0
    assert f"in none of {tmp_path}" in (said := capsys.readouterr().out) and "training downloads https://" in said
    assert main(["train", "--data.name=synthetic", "--model.weights=nowhere", "--dry_run"]) == 2
    assert "nowhere: no such run" in capsys.readouterr().err


def test_a_longer_schedule_counts_the_epochs_without_gain_anew(tmp_path, capsys):
    more = {**WORSE, "train__early_stop": "2"}
    assert train(name="short", **more) == 0
    assert "stopped early" in capsys.readouterr().out
    assert train(name="long", **{**more, "train__epochs": "12"}, checkpoint__resume="short") == 0
    first = metrics(tmp_path / "runs" / "short", "eval")[-1]["epoch"]
    assert metrics(tmp_path / "runs" / "long", "eval")[-1]["epoch"] >= first + 2
