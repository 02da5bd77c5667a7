"""Named data sets and folders of images."""

import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from support.runs import DATA, write_cifar10
from support.sources import PNG, encoded, write

from distalex.config.data import DataConfig, name_at
from distalex.data import images, splits
from distalex.data.augment.statistics import measure
from distalex.data.layouts.cifar import CIFAR10
from distalex.data.source import Source
from distalex.errors import UserError


def test_folders_become_rgb_squares_with_their_classes(photographs):
    train, test = splits.open_sources(DataConfig(name="folder", root=str(photographs)))
    assert train.classes == test.classes == ("ant", "bee", "cat")
    assert (len(train), len(test)) == (36, 12)
    for sample in range(36):
        image = train.image(sample)
        assert image.shape == (256, 256, 3)
        assert image.dtype == np.uint8
        if not train.places(sample).endswith(("1.png", "5.png", "9.png")):  # the grey ones
            assert image.mean((0, 1)).argmax() == train.labels[sample]


def test_a_folder_without_test_set_holds_out_some_of_every_class(photographs):
    train, test = splits.open_sources(DataConfig(name="folder", root=str(photographs / "train"), holdout=0.25))
    assert np.bincount(test.labels).tolist() == [3, 3, 3]
    assert np.bincount(train.labels).tolist() == [9, 9, 9]
    places = [{source.places(sample) for sample in range(len(source))} for source in (train, test)]
    assert not places[0] & places[1]


def test_validation_images_come_out_of_the_training_set(photographs):
    train, _ = splits.open_sources(DataConfig(name="folder", root=str(photographs)))
    rest, validation = splits.open_sources(DataConfig(name="folder", root=str(photographs), validation=0.25))
    assert (np.bincount(rest.labels).tolist(), np.bincount(validation.labels).tolist()) == ([9, 9, 9], [3, 3, 3])
    places = [{source.places(sample) for sample in range(len(source))} for source in (rest, validation)]
    assert places[0] | places[1] == {train.places(sample) for sample in range(len(train))}


def test_a_share_of_the_training_images_has_every_class_and_is_part_of_a_larger_share(photographs):
    def opened(fraction: float) -> tuple[Source, Source]:
        return splits.open_sources(DataConfig(name="folder", root=str(photographs), fraction=fraction))

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
    train, test = splits.open_sources(DataConfig(name="cifar10", root=str(tmp_path)))
    assert (len(train), len(test)) == (100, 20)
    assert train.classes[3] == "cat"
    sample = 7
    number, row = divmod(int(train.places(sample).split()[-1]), 20)
    with open(root / f"data_batch_{number + 1}", "rb") as file:
        stored = pickle.load(file)["data"][row]
    assert np.array_equal(train.image(sample), stored.reshape(3, 32, 32).transpose(1, 2, 0))


def image_files(root: Path, classes: tuple[str, ...], inside: str = "") -> Path:
    files = {f"{split}/{name}/{n}.png": PNG for split in ("train", "test") for name in classes for n in range(2)}
    return write(root / inside, files)


@pytest.mark.parametrize("inside", ["", "pictures", "cifar10-lossless"])
def test_cifar10_as_image_files_is_read_from_folders_and_archives_however_they_are_named(tmp_path, monkeypatch, inside):
    monkeypatch.chdir(tmp_path)
    image_files(tmp_path / "folder", CIFAR10.classes, inside)
    with tarfile.open("mine.tgz", "w:gz") as tar:
        for path in sorted((tmp_path / "folder").iterdir()):
            tar.add(path, path.name)
    for root in ("folder", "mine.tgz"):
        train, test = splits.open_sources(DataConfig(name="cifar10", root=root))
        assert (len(train), len(test), train.classes) == (20, 20, CIFAR10.classes)
    assert not (tmp_path / "data").exists()  # read in place


def test_an_archive_of_pickles_may_have_any_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cifar10(tmp_path / "cifar-10-batches-py", 20)
    with tarfile.open("mine.tgz", "w:gz") as tar:
        tar.add("cifar-10-batches-py")
    assert len(splits.open_sources(DataConfig(name="cifar10", root="mine.tgz"))[0]) == 100


def test_a_folder_with_some_of_cifar10s_classes_is_a_folder_of_images(tmp_path):
    assert name_at(str(image_files(tmp_path / "all", CIFAR10.classes))) == "cifar10"
    some = image_files(tmp_path / "some", tuple(name for name in CIFAR10.classes if name not in ("cat", "dog")))
    assert name_at(str(some)) == "folder"
    with pytest.raises(UserError, match=r"holds no CIFAR-10; .* of 8 classes \(airplane, automobile, bird, …\), which data.name=folder"):
        splits.open_sources(DataConfig(name="cifar10", root=str(some)))


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    for name in [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]:
        (tmp_path / name).write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UserError, match="does not belong in a CIFAR file"):
        splits.open_sources(DataConfig(name="cifar10", root=str(tmp_path)))
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_real_cifar10_is_whole(cifar10_jpeg):
    train, test = splits.open_sources(DataConfig(name="cifar10", root=str(cifar10_jpeg)))
    assert np.bincount(train.labels).tolist() == [5000] * 10
    assert np.bincount(test.labels).tolist() == [1000] * 10
    mean = measure(train).mean
    assert mean == pytest.approx((125.3, 123.0, 113.9), abs=1.5)  # the published channel means


def pickles(root: Path, names: dict[str, int], label: str) -> Path:
    noise = np.random.default_rng(0)
    for name, count in names.items():
        batch = {"data": noise.integers(0, 256, (count, 3072), dtype=np.uint8), label: [n % 100 for n in range(count)]}
        write(root, {name: pickle.dumps(batch)})
    return root


def test_cifar100_pickles_carry_their_classes(tmp_path):
    root = pickles(tmp_path / "cifar-100-python", {"train": 200, "test": 100}, "fine_labels")
    write(root, {"meta": pickle.dumps({"fine_label_names": [f"c{n:02d}" for n in range(100)]})})
    for name, place in (("cifar100", tmp_path), ("folder", tmp_path), ("folder", root)):
        train, test = splits.list_sources(DataConfig(name=name, root=str(place)))
        assert (len(train), len(test), train.classes[7]) == (200, 100, "c07")


def test_an_archive_without_cifar100_is_refused_with_what_was_expected(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with tarfile.open("other.tar.gz", "w:gz"):
        pass
    with pytest.raises(UserError, match=r"^other\.tar\.gz: holds no CIFAR-100; .*cifar-100-python$"):
        splits.list_sources(DataConfig(name="cifar100", root="other.tar.gz"))


def test_torchvisions_sets_come_by_name(tmp_path):
    def idx(values: np.ndarray) -> bytes:
        return bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape) + values.tobytes()

    for split, count in (("train", 60), ("t10k", 20)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.repeat(labels[:, None, None] * 20, 28, 1).repeat(28, 2)
        write(tmp_path / "FashionMNIST" / "raw", {f"{split}-images-idx3-ubyte": idx(images), f"{split}-labels-idx1-ubyte": idx(labels)})
    train, test = splits.list_sources(DataConfig(name="torchvision", dataset="FashionMNIST", root=str(tmp_path), stored_size=28))
    assert (len(train), len(test), train.classes[9]) == (60, 20, "Ankle boot")
    assert (train.image(13) == 60).all()


def test_the_thousand_imagenet_images_are_a_thousand_classes():
    archive = DATA / "imagenet-sample.tar"
    if not archive.is_file():
        pytest.skip("no imagenet-sample.tar in DISTALEX_TEST_DATA")
    (source,) = splits.list_sources(DataConfig(name="imagenet", root=str(archive)))
    assert (len(source), len(source.classes), source.classes[0]) == (1000, 1000, "n01440764_tench")
    for sample in (0, 500, 999):
        with Image.open(io.BytesIO(encoded(source.open(sample).convert("RGB"), "PNG"))) as whole:
            expected = np.asarray(ImageOps.fit(whole, (256, 256), Image.Resampling.BICUBIC))
        assert np.array_equal(source.image(sample), expected)
