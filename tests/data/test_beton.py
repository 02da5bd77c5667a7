"""Prepared files give their source back."""

import numpy as np
import pytest
from PIL import Image
from support.data import QUIET, damage, some_source

from distalex.config.data import DataConfig
from distalex.data import images, splits
from distalex.data.augment.statistics import measure
from distalex.data.beton.estimate import How
from distalex.data.beton.files import Encoding, write, write_all
from distalex.data.beton.sidecar import read_info, read_prepared, sidecar
from distalex.data.readers import FFCVReader
from distalex.errors import UserError


@pytest.mark.parametrize("encoding", ["raw", "jpg"])
def test_a_prepared_file_gives_its_source_back(photographs, tmp_path, encoding):
    source = splits.open_sources(DataConfig(name="folder", root=str(photographs), stored_size=64))[0]
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


def test_an_epochs_buffers_serve_the_next_and_no_two_at_once(photographs, tmp_path):
    source, path = some_source(photographs), tmp_path / "images.beton"
    write(source, path, QUIET)
    reader, batches = FFCVReader([path], 4, 1), [np.arange(4), np.arange(4, 8)]
    expected = [np.stack([source.image(sample) for sample in batch]) for batch in batches]
    places = []
    for _ in range(2):
        for batch, (read, _) in enumerate(reader.read(batches)):
            assert np.array_equal(read.numpy(), expected[batch])
            places.append(read.data_ptr())
    assert places[2:] == places[:2]
    first, second = reader.read(batches), reader.read(batches[::-1])
    for batch, ((one, _), (other, _)) in enumerate(zip(first, second, strict=True)):
        assert np.array_equal(one.numpy(), expected[batch])
        assert np.array_equal(other.numpy(), expected[1 - batch])


def test_an_image_may_be_kept_whole(photographs, tmp_path):
    wide = Image.new("RGB", (40, 20), "red")
    kept = images.square(wide, 16, "max_side")
    assert (kept[4:12] == [255, 0, 0]).all()
    assert (kept[:4] == 0).all() and (kept[12:] == 0).all()
    assert (images.square(wide, 16) == [255, 0, 0]).all()
    data = DataConfig(name="folder", root=str(photographs), stored_size=16, resize="max_side")
    source = splits.open_sources(data)[0]
    assert source.fingerprint != some_source(photographs).fingerprint
    assert write(source, tmp_path / "x.beton", QUIET).resize == "max_side"
