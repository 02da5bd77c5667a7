import resource
import zipfile
from pathlib import Path

import pytest
import torch
from support.runs import small

from distalex.errors import UserError
from distalex.model.freezing import freeze
from distalex.model.initial_weights import build_model
from distalex.optim.average import MovingAverage
from distalex.optim.optimizer import build_optimizer
from distalex.optim.schedule import Schedule
from distalex.parallel.mesh import Mesh
from distalex.parallel.shards import Shards
from distalex.parallel.topology import Topology
from distalex.runs.checkpoint import load, load_newest, read_tensors, save
from distalex.runs.weights import load_weights
from distalex.train.state import TrainState

DESCRIBED = {
    "config": small().model_dump(mode="json"),
    "classes": ["a", "b", "c", "d"],
    "mean": [1.0] * 3,
    "covariance": [[1.0] * 3] * 3,
    "side": 8,
}


def state(seed=0, optimizer="sgd", average=True):
    settings, shards = small(optim__name=optimizer), Shards(Mesh(Topology(), torch.device("cpu")))
    net = build_model(settings.model, 4, 64, seed)
    return TrainState(
        net,
        build_optimizer(net, settings.optim, shards),
        Schedule(settings.optim, 10, 5),
        shards,
        MovingAverage(net, 0.9, shards) if average else None,
        metadata=DESCRIBED,
    )


def learn(trained):
    loss = trained.net(torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))).square().sum()
    trained.optimizer.zero_grad()
    loss.backward()
    trained.optimizer.step()
    trained.step += 1


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw", "lars"])
def test_a_restored_run_goes_on_to_the_bit(tmp_path, optimizer):
    first, second = state(0, optimizer), state(1, optimizer)
    learn(first)
    save(first.state_dict(), tmp_path / "step-00000001.pt")
    second.load_state_dict(load(tmp_path / "step-00000001.pt"))
    assert second.step == 1
    for one in (first, second):
        one.net.eval()
        learn(one)
    for name, value in first.net.state_dict().items():
        assert torch.equal(value, second.net.state_dict()[name])


def test_a_checkpoint_is_plain_and_needs_no_distalex(tmp_path):
    save(state().state_dict(), tmp_path / "x.pt")
    content = torch.load(tmp_path / "x.pt", weights_only=True)
    assert set(content["model"]) == {f"{layer}.{kind}" for layer in LAYERS for kind in ("weight", "bias")}


LAYERS = ["conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7", "fc8"]


@pytest.mark.parametrize("record", ["data.pkl", "largest", "directory"])
def test_one_flipped_bit_is_refused(tmp_path, record):
    path = tmp_path / "step-00000001.pt"
    save(state().state_dict(), path)
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        largest = max(records, key=lambda info: info.file_size)
        pickled = next(info for info in records if info.filename.endswith("data.pkl"))
        start = {"data.pkl": pickled.header_offset + 200, "largest": largest.header_offset + 500, "directory": archive.start_dir + 20}
    content[start[record]] ^= 16
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"damaged|cannot be read"):
        load(path)


def test_a_record_that_one_bit_marks_as_a_folder_is_refused(tmp_path):
    """Of which torch reads nothing, though all checksums are right."""
    path = tmp_path / "step-00000001.pt"
    save(state().state_dict(), path)
    content = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        names = [info.filename.encode() for info in archive.infolist()]
        at = archive.start_dir
    for name in names:
        attributes = content.index(name, at) - 8  # they end 4 bytes before the record's name, with its place between
        changed = bytearray(content)
        changed[attributes] |= 0x10
        path.write_bytes(changed)
        with pytest.raises(UserError, match="is marked as a folder"):
            load(path)


@pytest.mark.parametrize("kept", [0, 4, 0.5, 0.99])
def test_a_truncated_checkpoint_is_refused_in_a_whole_sentence(tmp_path, kept):
    path = tmp_path / "step-00000001.pt"
    save(state().state_dict(), path)
    content = path.read_bytes()
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(UserError, match=r"(is empty|is damaged or ends early, after [\d,]+ bytes); use another checkpoint$"):
        load(path)


def test_a_checkpoint_with_python_objects_is_refused_by_their_name(tmp_path):
    torch.save({"when": Path("/")}, tmp_path / "objects.pt")
    with pytest.raises(UserError, match=r"holds Python objects \(pathlib\..*\).*; save the network's state_dict\(\) alone$"):
        load(tmp_path / "objects.pt")


WITHOUT_COLOURS = {"format": 1, "model": {}, "average": {}, "progress": {}, "config": {}, "classes": []}


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04" + b"\0" * 100, {"weights": torch.ones(2)}, WITHOUT_COLOURS])
def test_what_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "step-00000001.pt"
    if isinstance(content, dict):
        torch.save(content, path)
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"not a distalex checkpoint|cannot be read"):
        load(path)


def test_a_damaged_newest_checkpoint_is_passed_over_aloud(tmp_path):
    trained = state()
    for step in (1, 2):
        trained.step = step
        save(trained.state_dict(), tmp_path / f"step-{step:08d}.pt")
    (tmp_path / "step-00000002.pt").write_bytes(b"half")
    said: list[str] = []
    found = load_newest(tmp_path, said.append)
    assert found is not None
    assert found["progress"]["step"] == 1
    assert "step-00000002.pt" in said[0]


def test_saving_leaves_the_old_file_where_the_new_one_fails(tmp_path, monkeypatch):
    path = tmp_path / "step-00000001.pt"
    save(state().state_dict(), path)
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(OSError, match="No space"):
        save(state().state_dict(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_weights_start_a_network_and_another_classifier_starts_anew(tmp_path):
    save(state(seed=5, average=False).state_dict(), tmp_path / "x.pt")
    net = build_model(small().model, 7, 64, seed=0)
    fresh = net.fc8.weight.detach().clone()
    said: list[str] = []
    load_weights(net, small(model__weights=str(tmp_path / "x.pt")), "abcdefg", said.append)
    assert torch.equal(net.conv1.weight, build_model(small().model, 4, 64, seed=5).conv1.weight)
    assert torch.equal(net.fc8.weight, fresh)
    assert said[1] == f"fc8 re-initialised: {tmp_path / 'x.pt'} has 4 classes, this run 7"


def test_weights_of_another_network_are_refused(tmp_path):
    save(state().state_dict(), tmp_path / "x.pt")
    net = build_model(small(model__name="seed").model, 4, 64, seed=0)
    with pytest.raises(UserError, match=r"conv1\.weight has shape \(24, 3, 11, 11\), this network \(64, 3, 11, 11\)"):
        load_weights(net, small(model__name="seed", model__weights=str(tmp_path / "x.pt")), "abcd", print)


def test_frozen_layers_keep_their_weights_and_all_frozen_is_refused():
    net = build_model(small().model, 4, 64, seed=0)
    freeze(net, ("conv1", "fc6"))
    assert not net.conv1.weight.requires_grad
    assert net.conv2.weight.requires_grad
    with pytest.raises(UserError, match="conv9: no such layer"):
        freeze(net, ("conv9",))
    with pytest.raises(UserError, match=r"model.freeze=.*fc8"):
        freeze(net, tuple(LAYERS))


def test_a_disk_that_takes_no_more_is_an_oserror_and_leaves_what_was_there(tmp_path):
    save({"kept": 1}, tmp_path / "step-00000001.pt")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError):
            save({"large": torch.zeros(1_000_000)}, tmp_path / "step-00000001.pt")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert read_tensors(tmp_path / "step-00000001.pt") == {"kept": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.pt"]
