"""Weights & Biases."""

import json
import struct

import yaml
from support.runs import REPOSITORY, metrics
from support.train import train

from distalex.cli.main import main
from distalex.config.loading import load_config


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

    assert train(name="it", optim__lr="0.3", log__wandb="offline", log__artifacts="true", log__images="5") == 0
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
        assert "test " in name and right == (actual == predicted) and 0.25 <= probability <= 1
        assert sorted([predicted, *others.split(", ")]) == [f"class{number:03d}" for number in range(4)]
    assert {path.name for path in (run / "wandb").iterdir()} >= {"artifacts"}, "what waits for an upload lies with the run"


def test_wandb_records_the_data_a_checkpoint_was_trained_on(tmp_path, monkeypatch):
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


def test_the_sweep_names_options_that_exist(capsys):
    sweep = yaml.safe_load((REPOSITORY / "launch" / "sweep.yaml").read_text())
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
    assert "Weights & Biases logging stopped (RuntimeError: the service is down)" in capsys.readouterr().out
    assert len(metrics(tmp_path / "runs" / "it")) == 6


def test_a_run_resumed_online_continues_the_same_wandb_run(tmp_path, monkeypatch):
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


def test_what_weights_and_biases_would_refuse_later_is_refused_at_the_start(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert train(name="it", log__wandb="offline") == 2
    assert "WANDB_MODE=online: no key" in capsys.readouterr().err
    monkeypatch.setenv("WANDB_MODE", "sometimes")
    assert train(name="it", log__wandb="offline") == 2
    assert "WANDB_MODE=sometimes" in capsys.readouterr().err
    monkeypatch.delenv("WANDB_MODE")
    assert train(name="it", log__wandb="offline", log__project="a/b") == 2
    assert "log.project=a/b" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
