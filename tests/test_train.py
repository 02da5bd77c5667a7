"""Training as a user runs it: accuracy, resuming, stopping, fine-tuning, W&B, and every shipped configuration."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import time
from collections import Counter

import pytest
import torch
import yaml
from conftest import metrics, newest, options
from PIL import Image

from distalex.cli.main import main
from distalex.config.loading import CONFIGS, load_config
from distalex.machine.precision import has_bf16

SHIPPED = sorted(str(path.relative_to(CONFIGS).with_suffix("")) for path in CONFIGS.rglob("*.yaml"))


@pytest.fixture(autouse=True)
def in_own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def train(**changes):
    return main(["train", *options(**changes)])


@pytest.mark.slow
def test_digits_passes_97_percent_and_tools_agree(tmp_path, capsys):
    assert main(["train", "--config=digits", "--name=digits", "--log.wandb=disabled"]) == 0
    run = tmp_path / "runs" / "digits"
    trained = metrics(run, "eval")[-1]
    assert trained["count"] == 359
    assert trained["top1"] > 97
    assert main(["evaluate", "digits"]) == 0
    report = json.loads((run / "evaluation.json").read_text())
    assert report["top1"] == trained["top1"]
    assert report["loss"] == pytest.approx(trained["loss"], rel=1e-3)  # bf16, another batch shape
    assert sum(map(sum, report["confusion"])) == 359
    assert sum(row[number] for number, row in enumerate(report["confusion"])) == round(359 * report["top1"] / 100)
    capsys.readouterr()
    assert main(["predict", "runs/digits", "--count=30", "--save=shown.png"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("- right" in line for line in lines) >= 27
    with Image.open("shown.png") as image:
        assert min(image.size) > 400


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_configuration_runs(name, tmp_path):
    """Two steps on noise, with its own network, optimizer, schedule and augmentation, the wide layers narrowed."""
    size = load_config(name, {"data.name": "synthetic"}).data.image_size
    small = ["--data.name=synthetic", "--data.synthetic_images=8", f"--data.stored_size={size}", "--train.batch_size=4", "--train.epochs=1"]
    narrow = ["--model.fc6=64", "--model.fc7=64", "--name=it", "--log.wandb=disabled", "--log.every=1"]
    assert main(["train", f"--config={name}", *small, *narrow]) == 0
    assert [row["step"] for row in metrics(tmp_path / "runs" / "it")] == [1, 2]


def test_a_run_leaves_what_the_contract_says(tmp_path):
    assert train(name="it", checkpoint__every_steps="1", checkpoint__keep="2") == 0
    run = tmp_path / "runs" / "it"
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.yaml", "metrics.jsonl", "starts.jsonl"]
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best.pt", "step-00000005.pt", "step-00000006.pt"]
    assert load_config(str(run / "config.yaml")).name == "it"
    row = metrics(run)[0]
    assert {"step", "epoch", "loss", "lr", "images_per_second", "data_wait_fraction", "comm_bytes", "comm_exposed_fraction"} <= row.keys()
    assert 0 < row["mfu"] < 1
    assert {"step", "epoch", "loss", "top1", "top5", "count"} <= metrics(run, "eval")[0].keys()
    assert len(metrics(run)) == 6
    assert [row["epoch"] for row in metrics(run, "eval")] == [1, 2]


def test_the_kept_configuration_reproduces_the_run(tmp_path):
    assert train(name="first") == 0
    assert main(["train", "--config=runs/first/config.yaml", "--name=second"]) == 0
    losses = [[row["loss"] for row in metrics(tmp_path / "runs" / name)] for name in ("first", "second")]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("stop", ["2", "3", "4"])
def test_a_stopped_run_goes_on_to_the_bit(tmp_path, stop):
    """fp32, one process: in the middle of an epoch, at its end, and in the next."""
    more = {"train__ema": "0.9", "optim__name": "adam", "optim__lr": "0.001"}
    assert train(name="whole", **more) == 0
    assert train(name="parts", train__max_steps=stop, **more) == 0
    assert train(name="parts", checkpoint__resume="auto", **more) == 0
    runs = tmp_path / "runs"
    assert [row["loss"] for row in metrics(runs / "parts")] == [row["loss"] for row in metrics(runs / "whole")]
    first, second = newest(runs / "whole"), newest(runs / "parts")
    for part in ("model", "average"):
        assert all(torch.equal(value, second[part][name]) for name, value in first[part].items())


def test_a_finished_run_that_is_resumed_changes_nothing(tmp_path):
    assert train(name="it") == 0
    before = (tmp_path / "runs" / "it" / "metrics.jsonl").read_text()
    assert train(name="it", checkpoint__resume="auto") == 0
    assert (tmp_path / "runs" / "it" / "metrics.jsonl").read_text() == before


def test_going_on_from_a_damaged_or_an_older_checkpoint_leaves_the_later_ones_aside(tmp_path):
    assert train(name="it", train__epochs="3", checkpoint__keep="1") == 0
    folder = tmp_path / "runs" / "it" / "checkpoints"
    damaged = folder / "step-00000099.pt"
    damaged.write_bytes(b"no checkpoint")
    assert train(name="it", train__epochs="3", checkpoint__keep="1", checkpoint__resume="auto") == 0
    assert sorted(path.name for path in folder.glob("step-*")) == ["step-00000009.pt", "step-00000099.stale"]


def test_an_evaluation_in_mid_epoch_does_not_count_for_the_plateau(tmp_path):
    slow = {"optim__schedule": "plateau", "optim__patience": "1", "train__epochs": "3"}
    assert train(name="whole", **slow) == 0
    for steps in ("1", "2", "5", "9"):
        assert train(name="parts", train__max_steps=steps, checkpoint__resume="auto", **slow) == 0
    rates, expected = ([row["lr"] for row in metrics(tmp_path / "runs" / name)] for name in ("parts", "whole"))
    assert rates == expected


def test_resuming_with_other_options_is_refused_naming_them(capsys):
    assert train(name="it") == 0
    assert train(name="it", checkpoint__resume="auto", optim__lr="0.5") == 2
    assert "optim.lr was 0.01 and is 0.5" in capsys.readouterr().err


def test_a_run_goes_on_from_a_checkpoint_of_another(tmp_path):
    assert train(name="first", train__max_steps="3") == 0
    assert train(name="second", checkpoint__resume="first") == 0
    assert [row["step"] for row in metrics(tmp_path / "runs" / "second")] == [4, 5, 6]


def test_an_epoch_begun_in_one_order_is_not_finished_in_another(tmp_path, capsys):
    assert train(name="first", train__max_steps="4") == 0  # three steps an epoch
    assert train(name="second", checkpoint__resume="first", train__batch_size="20") == 2
    said = capsys.readouterr().err
    assert "step-00000004.pt stands 1 steps into an epoch, and train.batch_size was 16 and is 20" in said
    assert not (tmp_path / "runs" / "second").exists()
    assert train(name="whole", train__epochs="1") == 0
    assert train(name="third", checkpoint__resume="whole", train__batch_size="20") == 0
    assert [row["step"] for row in metrics(tmp_path / "runs" / "third")] == [4, 5]


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_sigterm_saves_and_ends_with_143(tmp_path, processes):
    launcher = [] if processes == 1 else ["torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    command = [sys.executable, "-m", *launcher, "distalex.train", *options(name="it", train__epochs="10000")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    file = tmp_path / "runs" / "it" / "metrics.jsonl"
    for _ in range(600):
        if file.is_file() and file.read_text().count("\n") > 3:
            break
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=60)
    if processes == 1:
        assert process.returncode == 143
        assert "and saved; go on with --name=it --checkpoint.resume=auto" in out
    step = newest(tmp_path / "runs" / "it")["progress"]["step"]
    assert step >= metrics(tmp_path / "runs" / "it")[-1]["step"] - 1
    assert train(name="it", train__epochs="10000", checkpoint__resume="auto", train__max_steps=str(step + 1)) == 0
    steps = [row["step"] for row in metrics(tmp_path / "runs" / "it")]
    assert steps == list(range(1, step + 2))


def test_a_loss_that_is_not_finite_ends_the_run_naming_the_step(capsys):
    assert train(name="it", optim__lr="100", log__every="3", train__epochs="20") == 1
    error = capsys.readouterr().err
    assert "the loss is not finite (first at step" in error
    assert "optim.lr=100" in error
    assert "Traceback" not in error


def test_a_network_learns_a_handful_of_images_by_heart(tmp_path):
    learn = {"optim__name": "adamw", "optim__lr": "0.001", "train__epochs": "12", "data__augment": "none", "model__dropout": "0"}
    assert train(name="it", model__fc6="256", model__fc7="256", **learn) == 0
    losses = [row["loss"] for row in metrics(tmp_path / "runs" / "it")]
    assert losses[0] == pytest.approx(1.386, abs=0.1)  # ln 4
    assert losses[-1] < 0.1


@pytest.mark.slow
@pytest.mark.parametrize("size", ["64", "96", "227"])
def test_the_default_initial_weights_train_at_every_size(tmp_path, size):
    steps = {"train__epochs": "1", "data__synthetic_images": "640", "data__stored_size": "64", "optim__name": "adamw", "optim__lr": "3e-4"}
    assert train(name="it", data__image_size=size, data__augment="none", model__fc6="512", model__fc7="512", **steps) == 0
    losses = [row["loss"] for row in metrics(tmp_path / "runs" / "it")]
    assert sum(losses[-5:]) / 5 < 0.7 * losses[0]


def test_bf16_goes_on_in_fp32_where_the_processor_lacks_it(launch, tmp_path):
    """PyTorch's stand-in is hundreds of times slower. oneDNN is told to see an old processor."""
    for precision in ("fp32", "bf16"):
        words = options(name=precision, train__precision=precision, train__max_steps="3", device="cpu")
        done = launch("train", *words, ONEDNN_MAX_CPU_ISA="AVX2")
        assert done.returncode == 0, done.stderr
    assert "fp32 (asked for bf16, which this device has no instructions for)" in done.stdout
    fp32, bf16 = ([row["loss"] for row in metrics(tmp_path / "runs" / name)] for name in ("fp32", "bf16"))
    assert bf16 == fp32


@pytest.mark.skipif(not has_bf16(torch.device("cpu")), reason="this processor has no bf16 instructions")
def test_precision_bf16_stays_near_fp32(tmp_path):
    for precision in ("fp32", "bf16"):
        assert train(name=precision, train__precision=precision, optim__lr="0.001") == 0  # a curve that errors do not leave
    fp32, bf16 = ([row["loss"] for row in metrics(tmp_path / "runs" / name)] for name in ("fp32", "bf16"))
    assert fp32 != bf16
    assert bf16 == pytest.approx(fp32, rel=0.01)  # 8 bits of mantissa, averaged over a batch


@pytest.mark.slow
def test_compiled_is_the_same_network(tmp_path):
    for name, compiled in (("plain", "false"), ("compiled", "true")):
        assert train(name=name, train__compile=compiled, train__epochs="1") == 0
    plain, compiled = ([row["loss"] for row in metrics(tmp_path / "runs" / name)] for name in ("plain", "compiled"))
    assert compiled == pytest.approx(plain, abs=1e-4)  # fused kernels round elsewhere
    assert newest(tmp_path / "runs" / "compiled")["model"].keys() == newest(tmp_path / "runs" / "plain")["model"].keys()


def test_fine_tuning_keeps_frozen_layers_and_renews_the_classifier(tmp_path, photographs, capsys):
    assert train(name="first") == 0
    folder = {"data__name": "folder", "data__root": str(photographs), "data__stored_size": "72", "train__epochs": "1"}
    assert train(name="tuned", model__weights="first", model__freeze="conv1,conv2", optim__layer_lr="fc8:10", **folder) == 0
    before, after = newest(tmp_path / "runs" / "first"), newest(tmp_path / "runs" / "tuned")
    assert torch.equal(before["model"]["conv1.weight"], after["model"]["conv1.weight"])
    assert not torch.equal(before["model"]["conv3.weight"], after["model"]["conv3.weight"])
    assert after["model"]["fc8.weight"].shape == (3, 32)
    assert after["classes"] == ["ant", "bee", "cat"]
    assert "conv1.weight" not in after["optimizer"]
    said = "model.weights=first: saw its images with data.normalize=standard"
    assert said not in capsys.readouterr().out
    assert train(name="other", model__weights="first", data__normalize="tutorial", train__max_steps="1", **folder) == 0
    assert said in capsys.readouterr().out


@pytest.mark.slow
def test_torchvisions_weights_file_starts_a_run(tmp_path, photographs):
    import torchvision

    torch.save(torchvision.models.alexnet().state_dict(), tmp_path / "alexnet.pth")
    folder = ["--data.name=folder", f"--data.root={photographs}", "--data.stored_size=72", "--data.image_size=64", "--train.batch_size=12"]
    start = ["--model.name=torchvision", "--model.weights=alexnet.pth", "--train.max_steps=1", "--name=it", "--log.wandb=disabled"]
    assert main(["train", *folder, *start]) == 0
    assert newest(tmp_path / "runs" / "it")["model"]["fc8.weight"].shape == (3, 4096)


def test_prepared_files_train_and_evaluate(tmp_path, photographs, capsys):
    assert main(["prepare", "folder", f"--root={photographs}", "--out=mine.beton", "--size=72"]) == 0
    assert "mine.beton: 36 images of 72x72 in 3 classes" in capsys.readouterr().out
    assert sorted(path.name for path in tmp_path.glob("*.beton")) == ["mine.beton", "mine.test.beton"]
    assert train(name="it", data__name="beton", data__train="mine.beton") == 0
    assert metrics(tmp_path / "runs" / "it", "eval")[-1]["count"] == 12
    image = next((photographs / "test" / "cat").iterdir())
    capsys.readouterr()
    assert main(["predict", "it", str(image), "--json_lines"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    prediction = json.loads(line)
    assert set(prediction["labels"]) == {"ant", "bee", "cat"}
    assert sum(prediction["probabilities"]) == pytest.approx(1, abs=1e-4)
    (tmp_path / "bad.jpg").write_bytes(b"no image")
    assert main(["predict", "it", "bad.jpg"]) == 2
    assert "bad.jpg: not a readable image" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["digits"], ["synthetic", "--size=64"]])
def test_prepare_without_a_place_puts_files_where_train_looks(arguments, capsys):
    assert main(["prepare", *arguments]) == 0
    assert f"--data.name={arguments[0]}" in capsys.readouterr().out


def wandb_records(content):
    """Records of a .wandb file: LevelDB's log format, blocks of 32 KiB after a file header of 7 bytes."""
    place, record = 7, b""
    while place + 7 <= len(content):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + 7])
        record += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or its last part
            yield record
            record = b""


def test_wandb_offline_holds_the_losses_tables_and_checkpoints(tmp_path):
    import wandb
    from wandb.proto import wandb_internal_pb2

    assert train(name="it", log__wandb="offline", log__artifacts="true", log__images="5") == 0
    wandb.teardown()  # W&B's own process writes the file's end after run.finish() has returned
    (file,) = (tmp_path / "runs" / "it" / "wandb").glob("offline-run-*/run-*.wandb")
    logged, models = {}, {}
    for data in wandb_records(file.read_bytes()):
        record = wandb_internal_pb2.Record()
        record.ParseFromString(data)
        items = {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        if "train/loss" in items:
            logged[items["_step"]] = items
        if record.HasField("artifact") and record.artifact.type == "model":
            models |= {entry.path: set(record.artifact.aliases) for entry in record.artifact.manifest.contents}
            assert record.artifact.name == "it-checkpoint"
    says = (file.parent / "logs" / "debug-internal.log").read_text()
    run = tmp_path / "runs" / "it"
    assert {step: items["train/loss"] for step, items in logged.items()} == {row["step"]: row["loss"] for row in metrics(run)}, says
    for row in metrics(run, "eval"):
        items = logged[row["step"]]
        assert (items["eval/top1"], items["eval/confusion_table/nrows"]) == (row["top1"], 16)
    assert logged[6]["eval/predictions/nrows"] == 5
    assert models == {"step-00000006.pt": {"last", "latest"}, "best.pt": {"best", "latest"}}, "the better one was the first"
    tables = [json.loads(path.read_text()) for path in file.parent.rglob("predictions_*.table.json")]
    (table,) = tables
    for _, name, actual, predicted, right, probability, others in table["data"]:
        assert name.startswith("test ") and right == (actual == predicted) and 0.25 <= probability <= 1
        assert sorted([predicted, *others.split(", ")]) == [f"class{number:03d}" for number in range(4)]
    assert {path.name for path in (run / "wandb").iterdir()} >= {"artifacts"}, "what waits for an upload lies with the run"


def test_wandb_hears_of_the_data_a_checkpoint_was_trained_on(tmp_path, monkeypatch):
    from distalex.train.wandb import WeightsAndBiases

    class Service:
        def __init__(self):
            self.used, self.logged = [], []

        def use_artifact(self, artifact):
            self.used.append(artifact)

        def log_artifact(self, artifact, aliases):
            self.logged.append((artifact, aliases))

    monkeypatch.setenv("WANDB_DATA_DIR", str(tmp_path))
    (tmp_path / "step-00000006.pt").write_bytes(b"weights")
    board = WeightsAndBiases(load_config(None, {"log.wandb": "disabled", "name": "a+b"}), tmp_path / "a+b", console=None)
    board.run, board.mode = Service(), "online"
    board.keep({tmp_path / "step-00000006.pt": ["last"]}, {"name": "digits"}, "digits")
    (data,), ((model, aliases),) = board.run.used, board.run.logged
    assert (data.name, data.type, data.metadata) == ("digits-data", "dataset", {"name": "digits"})
    assert (model.name, model.type, aliases) == ("a-b-checkpoint", "model", ["last"])


def test_runs_that_differ_by_seed_and_place_alone_are_one_experiment():
    from distalex.train.wandb import experiment

    first = experiment(load_config("digits"))
    assert first.startswith("digits-paper-")
    assert first == experiment(load_config("digits", {"seed": "1", "parallel": "model", "name": "it", "checkpoint.keep": "9"}))
    assert first != experiment(load_config("digits", {"optim.lr": "0.5"}))


def test_sizes_of_layers_are_those_of_plain_gradient_descent(tmp_path):
    """Without momentum and decay, an update is the rate times the gradient, and weights move by it."""
    words = {"optim__name": "sgd", "optim__momentum": "0", "optim__weight_decay": "0", "optim__lr": "0.01", "optim__schedule": "constant"}
    assert train(name="it", log__layers="true", log__every="2", optim__bias_lr="1", **words) == 0
    rows = metrics(tmp_path / "runs" / "it")
    assert [row["step"] for row in rows if "updates" in row] == [2, 4, 6]
    for row in rows:
        if "updates" in row:
            assert list(row["updates"]) == ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]
            for layer, update in row["updates"].items():
                assert update == pytest.approx(0.01 * row["gradients"][layer], rel=1e-3)
    last = newest(tmp_path / "runs" / "it")["model"]
    norm = torch.cat([last["conv3.weight"].flatten(), last["conv3.bias"]]).norm()
    assert rows[-1]["weights"]["conv3"] == pytest.approx(float(norm), rel=1e-6)


def test_the_sweep_names_options_that_exist(capsys):
    sweep = yaml.safe_load((CONFIGS.parent / "launch" / "sweep.yaml").read_text())
    values = {name: choice.get("value", choice.get("min", choice.get("values", [None])[0])) for name, choice in sweep["parameters"].items()}
    words = []
    for word in sweep["command"]:
        words += [f"--{name}={value}" for name, value in values.items()] if word == "${args}" else [word]
    assert words[:4] == ["${env}", "python", "-m", "distalex.train"]
    assert main(["train", *words[4:], "--dry_run"]) == 0
    assert sweep["metric"]["name"] == "eval/top1"


def test_wandb_failing_does_not_stop_a_run(tmp_path, monkeypatch, capsys):
    import wandb

    def fail(**_):
        raise RuntimeError("the service is down")

    monkeypatch.setattr(wandb, "init", fail)
    assert train(name="it", log__wandb="offline") == 0
    assert "Weights & Biases is off from here (RuntimeError: the service is down)" in capsys.readouterr().out
    assert len(metrics(tmp_path / "runs" / "it")) == 6


def test_a_refusing_disk_does_not_lose_the_run(tmp_path, monkeypatch, capsys):
    from distalex.runs import writer
    from distalex.runs.checkpoint import save

    real, calls = save, []

    def sometimes(state, path):
        calls.append(path)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        real(state, path)

    monkeypatch.setattr(writer, "save", sometimes)
    assert train(name="it") == 0
    assert "No space left on device; training goes on" in capsys.readouterr().out
    assert newest(tmp_path / "runs" / "it")["progress"]["step"] == 6


@pytest.mark.slow
def test_the_tutorials_job_on_real_images(tmp_path, cifar10_jpeg):
    """Ten steps of seed_cifar10 on all of CIFAR-10: prepared, trained, evaluated on all 10,000."""
    options_ = [
        "--config=seed_cifar10",
        f"--data.root={cifar10_jpeg}",
        "--train.max_steps=10",
        "--name=it",
        "--log.wandb=disabled",
        "--log.every=1",
    ]
    assert main(["train", *options_]) == 0
    run = tmp_path / "runs" / "it"
    assert metrics(run, "eval")[-1]["count"] == 10_000
    assert metrics(run)[0]["loss"] == pytest.approx(2.303, abs=0.01)
    assert metrics(run)[-1]["loss"] < 2.303


@pytest.mark.parametrize(("processes", "parallel"), [(1, "none"), (2, "model")])
def test_a_trace_names_layers_loading_exchange_and_optimizer(processes, parallel, launch, tmp_path):
    """Of the asked steps only, in a file for each process that Perfetto reads: a list of events with names and times."""
    words = options(name="it", train__profile="2", train__max_steps="6", train__epochs="9")
    done = launch("train", *words, f"--parallel={parallel}", processes=processes)
    assert done.returncode == 0, done.stderr
    names = ["loading", "forward conv1", "backward conv1", "forward fc8", "backward fc8", "Optimizer.step#SGD.step"]
    names += ["waiting for conv3", "waiting for fc6"] * (processes > 1)
    for rank in range(processes):
        events = json.loads((tmp_path / "runs" / "it" / f"trace-rank{rank}.json").read_text())["traceEvents"]
        counts = Counter(event["name"] for event in events if event.get("cat") == "user_annotation" and event["ph"] == "X")
        assert [name for name in names if counts[name] < 2] == []
        assert counts["Optimizer.step#SGD.step"] == 2
    assert done.stdout.count("2 steps traced; open it at ui.perfetto.dev") == 1
    table = done.stdout.partition("2 steps traced")[2]
    for row, limit in (("optimizer SGD", "memory's speed"), ("forward conv2", "the matmul peak"), ("backward after1", "memory's speed")):
        assert re.search(rf"^  {row} .* \d+ % of {limit}$", table, re.MULTILINE)


def test_a_run_that_is_resumed_online_goes_on_in_the_same_wandb_run(tmp_path, monkeypatch):
    import wandb

    asked = []
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setattr(wandb, "init", lambda **given: asked.append(given) or wandb.sdk.wandb_run.Run(wandb.Settings(mode="disabled")))
    for steps in ("2", "4"):
        assert train(name="it", log__wandb="online", train__max_steps=steps, checkpoint__resume="auto") == 0
    assert train(name="other", log__wandb="online", train__max_steps="2") == 0
    first, second, other = (given["id"] for given in asked)
    assert first == second != other
    assert {given["resume"] for given in asked} == {"allow"}
