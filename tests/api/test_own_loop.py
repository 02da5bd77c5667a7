"""distalex.images: the loader for a loop of one's own."""

import threading

import pytest
import torch

import distalex

SIZES = {"data.stored_size": 72, "data.image_size": 64}


def test_an_epoch_has_every_image_once_and_the_next_has_another_order(photographs):
    data = distalex.images(photographs, SIZES, batch_size=16)
    assert (len(data), data.count, data.classes) == (3, 36, ("ant", "bee", "cat"))
    epochs = [[(images.clone(), labels) for images, labels in data] for _ in range(2)]
    assert [len(labels) for _, labels in epochs[0]] == [16, 16, 4]
    assert epochs[0][0][0].shape == (16, 3, 64, 64) and epochs[0][0][0].dtype == torch.float32
    orders = [torch.cat([labels for _, labels in epoch]) for epoch in epochs]
    assert [torch.bincount(order).tolist() for order in orders] == [[12, 12, 12]] * 2
    assert not torch.equal(*orders)
    data.set_epoch(0)
    assert all(torch.equal(one, other[0]) for (one, _), other in zip(data, epochs[0], strict=True))


def test_the_seed_keys_order_and_augmentation(photographs):
    first = [next(iter(distalex.images(photographs, SIZES, batch_size=8, seed=seed)))[0] for seed in (1, 1, 2)]
    assert torch.equal(first[0], first[1]) and not torch.equal(first[0], first[2])


def test_raw_images_are_bytes_in_the_same_order(photographs):
    raw, made = (distalex.images(photographs, SIZES, batch_size=16, raw=raw) for raw in (True, False))
    batches = [images for images, _ in raw]
    assert batches[0].shape == (16, 3, 72, 72) and batches[0].dtype == torch.uint8
    assert not torch.equal(batches[0], batches[1])
    raw.set_epoch(0)
    assert [labels.tolist() for _, labels in raw] == [labels.tolist() for _, labels in made]


def test_test_images_are_the_same_every_time(photographs):
    data = distalex.images(photographs, SIZES, batch_size=5, split="test")
    once, again = ([labels.tolist() for _, labels in data] for _ in range(2))
    assert once == again and sum(map(len, once)) == 12


def test_leaving_a_loop_early_ends_its_threads(photographs):
    data = distalex.images(photographs, SIZES, batch_size=2)
    for _ in data:
        break
    before = threading.active_count()
    for _ in range(5):
        for _ in data:
            break
    assert threading.active_count() <= before
    both = [torch.equal(one, other) for (one, _), (other, _) in zip(data, data, strict=True)]
    assert len(both) == len(data)


def test_prepared_files_are_read_without_a_test_file(photographs, tmp_path):
    (path,) = distalex.prepare(photographs / "train", out=tmp_path / "mine.beton", size=72)
    data = distalex.images(path, {"data.image_size": 64}, batch_size=36)
    assert len(data) == 1 and next(iter(data))[0].shape == (36, 3, 64, 64)


def test_processes_share_each_batch(photographs, monkeypatch):
    whole = next(iter(distalex.images(photographs, SIZES, batch_size=8)))[0]
    parts = []
    for rank in ("0", "1"):
        for name, value in {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": "2"}.items():
            monkeypatch.setenv(name, value)
        parts.append(next(iter(distalex.images(photographs, SIZES, batch_size=8)))[0])
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize(
    ("words", "options", "message"),
    [
        (("nowhere",), {}, "no shipped config, file or folder of images"),
        (("digits",), {"split": "val"}, "must be train or test"),
        (("digits",), {"batch_size": 0}, r"train.batch_size=0 \(distalex.images\)"),
        (("digits", {"data.mixup": 0.2}), {}, "two labels"),
        (("digits",), {"device": "tpu"}, "device=tpu"),
    ],
)
def test_a_mistake_is_one_line(words, options, message):
    with pytest.raises(distalex.UserError, match=message):
        distalex.images(*words, **options)
