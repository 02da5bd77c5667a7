import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import numba
import numpy as np
import pytest
import torch
from conftest import options, small, write_cifar10
from PIL import Image

from distalex.cli.main import main
from distalex.config.data import DataConfig
from distalex.data import images, order
from distalex.data.beton import sidecar as described
from distalex.data.beton.estimate import How
from distalex.data.beton.files import Encoding, write, write_all
from distalex.data.beton.sidecar import checksums, read_info, read_prepared, sidecar
from distalex.data.open import open_data
from distalex.data.readers import FFCVReader
from distalex.data.sources import find
from distalex.data.sources.source import Source
from distalex.data.sources.statistics import measure
from distalex.errors import UserError

QUIET = partial(lambda *_: None)
CPU = torch.device("cpu")


@pytest.mark.parametrize("replicas", [1, 2, 3, 5, 8])
@pytest.mark.parametrize(("count", "batch_size"), [(70, 16), (17, 5), (3, 8), (64, 64), (100, 7)])
def test_every_sample_falls_to_one_replica_once_an_epoch(count, batch_size, replicas):
    parts = [list(order.training_steps(count, batch_size, 0, 1, replica, replicas)) for replica in range(replicas)]
    assert len({len(steps) for steps in parts}) == 1
    assert len(parts[0]) == order.steps_per_epoch(count, batch_size)
    whole = list(order.training_steps(count, batch_size, 0, 1, 0, 1))
    for number, step in enumerate(whole):
        shares = [steps[number] for steps in parts]
        assert np.array_equal(np.concatenate([share.samples for share in shares]), step.samples)
        assert all(np.array_equal(step.samples[share.first_row :][: len(share.samples)], share.samples) for share in shares)
        assert {share.total for share in shares} == {len(step.samples)}
    assert sorted(np.concatenate([step.samples for step in whole])) == list(range(count))


@pytest.mark.parametrize("parts", [None, 1, 3])
@pytest.mark.parametrize(("count", "columns"), [(16, 2), (17, 3), (1, 2), (0, 2), (128, 16), (30, 16)])
def test_a_column_group_reads_every_row_of_a_batch_once(count, columns, parts):
    """Contiguous shares, or with One Weird Trick a share of every round of every part; none bunched on one process."""
    rows = order.rows_of_columns(count, columns, parts)
    assert sorted(np.concatenate([own.rows for own in rows])) == list(range(count))
    for own in rows:
        assert sum(own.counts) == len(own.rows) <= order.largest_share(max(count, 1), 1, columns, parts or 1)
    if parts in (None, 1):
        assert max(len(own.rows) for own in rows) <= -(-count // columns) + columns
    if parts:
        assert [sum(own.counts[number] for own in rows) for number in range(parts)] == [
            count * (number + 1) // parts - count * number // parts for number in range(parts)
        ]


def test_epochs_and_seeds_have_their_own_order_and_tests_none():
    def samples(seed, epoch):
        return np.concatenate([step.samples for step in order.training_steps(50, 8, seed, epoch, 0, 1)]).tolist()

    assert samples(0, 0) == samples(0, 0)
    assert samples(0, 0) != samples(0, 1)
    assert samples(0, 0) != samples(1, 0)
    assert np.concatenate([step.samples for step in order.test_steps(50, 8, 0, 1)]).tolist() == list(range(50))


def test_folders_become_rgb_squares_with_their_classes(photographs):
    train, test = find.open_sources(DataConfig(name="folder", root=str(photographs)))
    assert train.classes == test.classes == ("ant", "bee", "cat")
    assert (len(train), len(test)) == (36, 12)
    for sample in range(36):
        image = train.image(sample)
        assert image.shape == (256, 256, 3)
        assert image.dtype == np.uint8
        if not train.places(sample).endswith(("1.png", "5.png", "9.png")):  # the grey ones
            assert image.mean((0, 1)).argmax() == train.labels[sample]


def test_a_folder_without_test_set_holds_out_some_of_every_class(photographs):
    train, test = find.open_sources(DataConfig(name="folder", root=str(photographs / "train"), holdout=0.25))
    assert np.bincount(test.labels).tolist() == [3, 3, 3]
    assert np.bincount(train.labels).tolist() == [9, 9, 9]
    places = [{source.places(sample) for sample in range(len(source))} for source in (train, test)]
    assert not places[0] & places[1]


def test_validation_images_come_out_of_the_training_set(photographs):
    train, _ = find.open_sources(DataConfig(name="folder", root=str(photographs)))
    rest, validation = find.open_sources(DataConfig(name="folder", root=str(photographs), validation=0.25))
    assert (np.bincount(rest.labels).tolist(), np.bincount(validation.labels).tolist()) == ([9, 9, 9], [3, 3, 3])
    places = [{source.places(sample) for sample in range(len(source))} for source in (rest, validation)]
    assert places[0] | places[1] == {train.places(sample) for sample in range(len(train))}


def test_a_share_of_the_training_images_has_every_class_and_is_part_of_a_larger_share(photographs):
    def opened(fraction: float) -> tuple[Source, Source]:
        return find.open_sources(DataConfig(name="folder", root=str(photographs), fraction=fraction))

    (small, test), (large, same_test), (least, _) = opened(0.25), opened(0.5), opened(0.001)
    assert [np.bincount(part.labels).tolist() for part in (small, large, least)] == [[3, 3, 3], [6, 6, 6], [1, 1, 1]]
    places = [{part.places(sample) for sample in range(len(part))} for part in (small, large, test, same_test)]
    assert places[0] < places[1]
    assert places[2] == places[3]


def test_rotated_transparent_and_palette_images_become_what_a_person_sees(tmp_path):
    upright = Image.new("RGB", (40, 60), "red")
    upright.paste((0, 0, 255), (0, 0, 40, 30))  # blue above red
    turned = upright.rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    turned.save(tmp_path / "turned.png", exif=exif)
    seen = images.square(images.open_image((tmp_path / "turned.png").read_bytes()), 32)
    assert seen[2, 16, 2] > 200 > 50 > seen[2, 16, 0]
    assert seen[-3, 16, 0] > 200
    clear = Image.new("RGBA", (32, 32), (10, 20, 30, 0))
    assert images.square(clear, 32).min() == 255
    assert images.square(upright.convert("P"), 32).shape == (32, 32, 3)


def test_cifar10_pickles_and_jpeg_folders_are_one_data_set(tmp_path):
    root = tmp_path / "cifar-10-batches-py"
    write_cifar10(root, 20)
    train, test = find.open_sources(DataConfig(name="cifar10", root=str(tmp_path)))
    assert (len(train), len(test)) == (100, 20)
    assert train.classes[3] == "cat"
    sample = 7
    number, row = divmod(int(train.places(sample).split()[-1]), 20)
    with open(root / f"data_batch_{number + 1}", "rb") as file:
        stored = pickle.load(file)["data"][row]
    assert np.array_equal(train.image(sample), stored.reshape(3, 32, 32).transpose(1, 2, 0))


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    for name in [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]:
        (tmp_path / name).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match="has no place in a CIFAR file"):
        find.open_sources(DataConfig(name="cifar10", root=str(tmp_path)))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("encoding", ["raw", "jpg"])
def test_a_prepared_file_gives_its_source_back(photographs, tmp_path, encoding):
    source = find.open_sources(DataConfig(name="folder", root=str(photographs), stored_size=64))[0]
    path = tmp_path / "images.beton"
    info = write(source, path, QUIET, How(Encoding(encoding)))
    assert read_info(path, source.fingerprint) == info
    assert (len(info), info.classes, info.counts, info.side) == (36, ("ant", "bee", "cat"), (12, 12, 12), 64)
    order = np.array([30, 2, 2, 17, 35, 0, 9])
    ((images, labels),) = list(FFCVReader([path], 7, 1).read([order]))
    expected = np.stack([source.image(sample) for sample in order])
    assert labels.tolist() == source.labels[order].tolist()
    if encoding == "raw":
        assert np.array_equal(images.numpy(), expected)
    else:
        assert abs(images.numpy().astype(float) - expected).mean() < 12  # noise is the hardest thing for JPEG
    assert list(tmp_path.iterdir()) and not list(tmp_path.glob(".*partial"))


def test_loaders_give_the_same_batches(alone, photographs):
    batches = []
    for loader in ("ffcv", "torchvision"):
        settings = small(data__name="folder", data__root=str(photographs), data__loader=loader, data__workers="1", train__batch_size="10")
        data = open_data(settings, alone, QUIET, QUIET)
        batches.append([*data.train.train(epoch=3), *data.test.test()])
    for ours, theirs in zip(*batches, strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)


def test_an_epoch_can_be_entered_in_the_middle(alone):
    data = open_data(small(), alone, QUIET, QUIET)
    whole, rest = list(data.train.train(1)), list(data.train.train(1, first_step=2))
    assert len(rest) == len(whole) - 2
    assert all(torch.equal(one.images, other.images) for one, other in zip(whole[2:], rest, strict=True))


@pytest.mark.parametrize("mixup", ["0", "0.2"])
def test_iterators_left_early_leave_no_thread(alone, mixup):
    data = open_data(small(data__mixup=mixup), alone, QUIET, QUIET)
    list(data.train.train(0))
    before = threading.active_count()
    for epoch in range(20):
        batches = data.train.train(epoch)
        next(batches)
        batches.close()
    assert threading.active_count() <= before


def test_reading_leaves_torchs_threads_alone_and_starts_none_of_numbas(alone):
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        data = open_data(small(data__workers="1"), alone, QUIET, QUIET)
        list(data.train.train(0))
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="not initialized"):  # Numba's threads, which nothing here uses; TBB's can hang at the exit
            numba.threading_layer()
    finally:
        torch.set_num_threads(threads)


def test_a_failing_reader_ends_the_epoch_with_a_sentence(alone):
    data = open_data(small(), alone, QUIET, QUIET)
    data.train.reader.loader.code = None  # what a bug in FFCV's thread looks like from outside
    with pytest.raises(UserError, match="FFCV cannot read it"):
        list(data.train.train(0))


def some_source(photographs: Path, side: int = 16) -> Source:
    return find.open_sources(DataConfig(name="folder", root=str(photographs), stored_size=side))[0]


def test_a_set_spread_over_files_is_one_set(photographs, tmp_path):
    source, path = some_source(photographs), tmp_path / "set.beton"
    prepared = write_all(source, path, QUIET, per_file=10)
    assert [one.name for one in prepared.paths] == [f"set-{number:05d}-of-00004.beton" for number in range(4)]
    assert read_prepared(prepared.paths[2]) == prepared == read_prepared(path, source.fingerprint)
    assert prepared.info.counts == (12, 12, 12)
    assert prepared.info.statistics == measure(source)
    everyone = np.arange(36)[::-1].copy()
    ((images, labels),) = list(FFCVReader(prepared.paths, 36, 2).read([everyone]))
    assert labels.tolist() == source.labels[everyone].tolist()
    assert np.array_equal(images.numpy(), np.stack([source.image(sample) for sample in everyone]))


def test_preparing_several_files_goes_on_where_it_stopped(photographs, tmp_path):
    source, path, written = some_source(photographs), tmp_path / "set.beton", []
    paths = write_all(source, path, QUIET, per_file=10).paths
    before = [one.stat().st_mtime_ns for one in paths]
    paths[1].unlink()
    damage(paths[3], "flipped")
    with pytest.raises(UserError, match=r"1 of its 4 files are missing, e.g. set-00001"):
        read_prepared(path)
    write_all(source, path, lambda done, total: written.append((done, total)), per_file=10)
    after = [one.stat().st_mtime_ns for one in paths]
    assert [one == other for one, other in zip(before, after, strict=True)] == [True, False, True, False]
    assert written[-1] == (36, 36)
    assert min(done for done, _ in written) == 9


def test_a_file_of_another_set_is_refused(photographs, tmp_path):
    for name, side in (("one", 16), ("two", 8)):
        write_all(some_source(photographs, side), tmp_path / f"{name}.beton", QUIET, per_file=18)
    stray, place = tmp_path / "two-00001-of-00002.beton", tmp_path / "one-00001-of-00002.beton"
    sidecar(stray).replace(sidecar(place))
    stray.replace(place)
    with pytest.raises(UserError, match="belongs to another set than one-00000"):
        read_prepared(tmp_path / "one.beton")


def test_mixed_files_hold_about_half_of_each(photographs, tmp_path):
    source, path = some_source(photographs, 32), tmp_path / "x.beton"
    write(source, path, QUIET, How(Encoding("mixed", 95), workers=2))
    reader = FFCVReader([path], 36, 2)
    ((images, _),) = list(reader.read([np.arange(36)]))
    expected = np.stack([source.image(sample) for sample in range(36)])
    exact = (images.numpy() == expected).all((1, 2, 3))
    assert np.array_equal(exact, ~reader.loader.stored.is_jpeg)
    assert 8 <= exact.sum() <= 28


def test_a_image_may_be_kept_whole(photographs, tmp_path):
    wide = Image.new("RGB", (40, 20), "red")
    kept = images.square(wide, 16, "max_side")
    assert (kept[4:12] == [255, 0, 0]).all()
    assert (kept[:4] == 0).all() and (kept[12:] == 0).all()
    assert (images.square(wide, 16) == [255, 0, 0]).all()
    data = DataConfig(name="folder", root=str(photographs), stored_size=16, resize="max_side")
    source = find.open_sources(data)[0]
    assert source.fingerprint != some_source(photographs).fingerprint
    assert write(source, tmp_path / "x.beton", QUIET).resize == "max_side"


@pytest.mark.parametrize("cache", ["memory", "device"])
@pytest.mark.parametrize("loader", ["ffcv", "torchvision"])
def test_a_cache_changes_no_batch(alone, cache, loader):
    both = [open_data(small(data__cache=kind, data__loader=loader, data__workers="1"), alone, QUIET, QUIET) for kind in ("none", cache)]
    for ours, theirs in zip(*([*one.train.train(1), *one.test.test()] for one in both), strict=True):
        assert torch.equal(ours.images, theirs.images)
        assert torch.equal(ours.labels, theirs.labels)


def test_a_cache_that_does_not_fit_is_refused(alone, monkeypatch):
    monkeypatch.setattr("distalex.data.open.free_memory", lambda: 500_000)
    with pytest.raises(UserError, match=r"data.cache=memory: 0.6 MB are needed .* use --data.cache=none"):
        open_data(small(data__cache="memory"), alone, QUIET, QUIET)


def test_quasi_random_order_mixes_neighbourhoods():
    count = 100_000
    epoch = order.epoch_order(count, 3, 1, "quasi_random")
    assert np.array_equal(np.sort(epoch), np.arange(count))
    assert not np.array_equal(epoch, order.epoch_order(count, 3, 2, "quasi_random"))
    blocks_of_batches = [len(set(epoch[start : start + 256] // order.BLOCK)) for start in range(0, count - 256, 256)]
    assert max(blocks_of_batches) <= 2 * order.WINDOW  # of 391
    assert np.median(blocks_of_batches) == order.WINDOW  # all that are open at once
    assert abs(np.corrcoef(epoch, np.arange(count))[0, 1]) < 0.1  # windows are of blocks from everywhere
    assert order.epoch_order(5, 3, 1, "sequential").tolist() == [0, 1, 2, 3, 4]


def test_a_whole_check_finds_what_the_quick_one_skips(photographs, tmp_path, monkeypatch):
    """Pieces of a file over the limit are checked at every start, all of it on demand."""
    monkeypatch.setattr(described, "CHECKED_WHOLE", 1000)
    monkeypatch.setattr(described, "PIECE", 64)
    path = tmp_path / "x.beton"
    write(some_source(photographs), path, QUIET)
    size = path.stat().st_size
    starts = np.linspace(0, size - 64, 1024, dtype=np.int64)
    content = bytearray(path.read_bytes())
    content[int(starts[500]) + 100] ^= 1
    path.write_bytes(content)
    read_info(path)
    with pytest.raises(UserError, match="damaged"):
        read_prepared(path, whole=True)


def test_a_killed_preparing_leaves_no_file_and_the_next_one_does_it(tmp_path):
    out = tmp_path / "out" / "x.beton"
    command = [sys.executable, "-m", "distalex.prepare", "synthetic", f"--out={out}", "--size=96", "--workers=2"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while not list(out.parent.glob(".x.beton.*.partial")):
        assert first.poll() is None
        time.sleep(0.01)
    first.kill()
    first.wait()
    assert not out.exists()
    again = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert again.returncode == 0, again.stderr
    assert sorted(path.name for path in out.parent.iterdir()) == ["x.beton", "x.beton.json", "x.test.beton", "x.test.beton.json"]
    assert len(read_info(out)) == 2048


def damage(path: Path, kind: str) -> None:
    content = bytearray(path.read_bytes())
    match kind:
        case "truncated":
            path.write_bytes(content[: len(content) // 2])
        case "flipped":
            content[len(content) // 2] ^= 1
            path.write_bytes(content)
        case "foreign":
            path.write_bytes(b"not a beton" * 100)
        case "alone":
            sidecar(path).unlink()
        case "nonsense":
            sidecar(path).write_text("{}")
        case "newer":
            values = json.loads(sidecar(path).read_text())
            sidecar(path).write_text(json.dumps({**values, "format": 99}))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "truncated or changed"),
        ("flipped", "damaged"),
        ("foreign", "truncated or changed"),
        ("alone", "description .* is missing"),
        ("nonsense", "not a description"),
        ("newer", "format 99"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(photographs, tmp_path, kind, message):
    path = tmp_path / "images.beton"
    write(find.open_sources(DataConfig(name="folder", root=str(photographs), stored_size=16))[0], path, QUIET)
    damage(path, kind)
    with pytest.raises(UserError, match=message) as caught:
        read_info(path)
    assert "\n" not in str(caught.value)


def test_a_damaged_prepared_file_is_prepared_again(alone):
    said: list[str] = []
    settings = small(data__synthetic_images="24")
    open_data(settings, alone, said.append, QUIET)
    path = max(Path(os.environ["DISTALEX_DATA"]).glob("prepared/synthetic-train-*.beton"), key=lambda path: path.stat().st_mtime)
    damage(path, "flipped")
    data = open_data(settings, alone, said.append, QUIET)
    assert len(list(data.train.train(0))) == 2
    assert any("damaged" in line for line in said)


def test_an_unreadable_image_is_named_and_leaves_nothing(photographs, tmp_path):
    for name in ("ant", "bee"):
        (tmp_path / "in" / name).mkdir(parents=True)
        Image.new("RGB", (20, 20)).save(tmp_path / "in" / name / "good.png")
    (tmp_path / "in" / "bee" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0 this is no image")
    (source,) = find.list_sources(DataConfig(name="folder", root=str(tmp_path / "in"), stored_size=16))
    with pytest.raises(UserError, match=r"bee/bad\.jpg: not a readable image"):
        write(source, tmp_path / "out" / "x.beton", QUIET)
    assert not list((tmp_path / "out").iterdir())


def test_a_killed_writer_is_noticed(photographs, tmp_path):
    (source,) = find.list_sources(DataConfig(name="folder", root=str(photographs / "train"), stored_size=16))

    opened, parent = source.open, os.getpid()

    def killed(sample):
        if os.getpid() != parent:
            os.kill(os.getpid(), signal.SIGKILL)
        return opened(sample)

    object.__setattr__(source, "open", killed)
    with pytest.raises(UserError, match=r"killed \(exit status -9"):
        write(source, tmp_path / "x.beton", QUIET, How(workers=1))
    assert not list(tmp_path.iterdir())


def test_a_second_process_waits_for_the_one_that_prepares(tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from distalex import files\n"
        "with files.wait_for_lock(Path(sys.argv[1]), print): print('has it', flush=True); time.sleep(float(sys.argv[2]))"
    )
    first = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "x.lock"), "60"], stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    assert first.stdout.readline() == "has it\n"
    second = subprocess.Popen([sys.executable, "-c", program, str(tmp_path / "x.lock"), "0"], stdout=subprocess.PIPE, text=True)
    assert second.stdout is not None
    time.sleep(4)
    assert second.poll() is None
    first.kill()  # kill -9 frees the lock
    assert "has it" in second.communicate(timeout=30)[0]
    first.wait()


def prepared(*words: str) -> int:
    return main(["prepare", "--size=8", *words])


def test_changed_images_are_prepared_again_and_equal_names_are_not_equal_images(tmp_path, alone, monkeypatch):
    def fill(folder: Path, value: int) -> None:
        for name in ("train/a/1.png", "train/b/1.png", "test/a/1.png", "test/b/1.png"):
            (folder / "pics" / name).parent.mkdir(parents=True, exist_ok=True)
            Image.new("L", (64, 64), value).save(folder / "pics" / name)

    def mean(folder: Path) -> float:
        monkeypatch.chdir(folder)
        settings = small(data__name="folder", data__root="pics", data__stored_size="64", data__loader="ffcv")
        return open_data(settings, alone, QUIET, QUIET).statistics.mean[0]

    for folder, value in (("one", 50), ("two", 90)):
        fill(tmp_path / folder, value)
        assert mean(tmp_path / folder) == value
    fill(tmp_path / "one", 130)
    assert mean(tmp_path / "one") == 130


def test_a_name_stands_for_what_was_written_last(photographs, tmp_path, capsys):
    """Whole files, several of them and test files of earlier preparings are refused, or with --overwrite replaced together."""
    out, root = tmp_path / "x.beton", f"--root={photographs / 'train'}"
    assert prepared(root, f"--out={out}", "--holdout=0.25") == 0
    assert prepared(root, f"--out={out}", "--per_file=20") == 2
    assert "x.beton: exists" in capsys.readouterr().err
    assert prepared(root, f"--out={out}", "--per_file=20", "--encoding=jpg", "--overwrite") == 0
    assert read_prepared(out).info.encoding == "jpg"
    assert sorted(path.name for path in tmp_path.glob("*.beton")) == ["x-00000-of-00002.beton", "x-00001-of-00002.beton"]
    assert prepared(root, f"--out={out}", "--per_file=9") == 2
    (tmp_path / "x-00001-of-00002.beton").unlink()
    capsys.readouterr()
    assert prepared(f"--root={photographs / 'test'}", f"--out={out}", "--per_file=6") == 2
    assert "x-00000-of-00002.beton: is of other images" in capsys.readouterr().err
    assert prepared(root, f"--out={out}", "--per_file=20", "--encoding=jpg") == 0
    assert len(read_prepared(out).info) == 36
    (tmp_path / "y.test.beton").write_bytes(b"")
    assert prepared(root, f"--out={tmp_path / 'y.beton'}") == 2
    assert "would be taken for the test images" in capsys.readouterr().err


def test_what_cannot_replace_a_file_leaves_it(photographs, tmp_path):
    out = tmp_path / "x.beton"
    assert prepared(f"--root={photographs / 'train'}", f"--out={out}") == 0
    before = out.read_bytes()
    shutil.copytree(photographs / "train", tmp_path / "bad")
    (tmp_path / "bad" / "ant" / "bad.png").write_bytes(b"")
    assert prepared(f"--root={tmp_path / 'bad'}", f"--out={out}", "--overwrite") == 2
    assert out.read_bytes() == before
    read_prepared(out)


def break_a_jpeg(path: Path, sample: int) -> None:
    """Damage an image inside a prepared file and make the checksums fit: what a disk or memory does after the check."""
    stored = FFCVReader([path], 1, 1).loader.stored
    start = int(stored.addresses[sample]) - stored.files[0].ctypes.data
    content = bytearray(path.read_bytes())
    content[start : start + 8] = bytes(8)
    path.write_bytes(content)
    values = json.loads(sidecar(path).read_text())
    quick, whole = checksums(path)
    sidecar(path).write_text(json.dumps({**values, "checksum": quick, "whole_checksum": whole}))


@pytest.mark.slow
def test_a_image_that_breaks_later_ends_all_ranks_with_a_sentence(photographs, tmp_path, launch):
    for split in range(2):
        source = find.open_sources(DataConfig(name="folder", root=str(photographs), stored_size=72))[split]
        write(source, tmp_path / f"{split}.beton", QUIET, How(Encoding("jpg")))
    break_a_jpeg(tmp_path / "0.beton", 20)
    files = [f"--data.train={tmp_path}/0.beton", f"--data.test={tmp_path}/1.beton"]
    done = launch("train", *options(data__name="beton", train__epochs="5"), *files, "--parallel=data", processes=2, timeout=120)
    assert done.returncode != 0
    assert "0.beton: FFCV cannot read it (1 damaged image(s) among samples" in done.stderr
    assert "Traceback" not in done.stderr.split("torch/distributed")[0]


@pytest.mark.slow
def test_real_cifar10_is_whole(cifar10_jpeg):
    train, test = find.open_sources(DataConfig(name="cifar10", root=str(cifar10_jpeg)))
    assert np.bincount(train.labels).tolist() == [5000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    mean = measure(train).mean
    assert mean == pytest.approx((125.3, 123.0, 113.9), abs=1.5)  # the published channel means
