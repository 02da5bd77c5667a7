"""What lies at a root becomes the right images of the right classes, or one line that says why not."""

import io
import json
import os
import pickle
import random
import tarfile
import unicodedata
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from conftest import DATA, small
from PIL import Image, ImageCms, ImageOps

from distalex.cli.main import main
from distalex.config.data import DataConfig
from distalex.data import images
from distalex.data.open import open_data
from distalex.data.sources import archives, find
from distalex.data.sources.archives import tar_files
from distalex.errors import UserError


def encoded(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def ramp(width: int = 64, height: int = 48) -> Image.Image:
    """Red rises to the right, green downwards."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([x, y, np.full_like(x, 90)], 2).astype(np.uint8))


JPEG, PNG = encoded(ramp()), encoded(ramp(), "PNG")


def write(root: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def tar(path: Path, files: dict[str, bytes], kind: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, kind) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def found(root: Path | str, name: str = "folder", **options) -> dict[str, Counter]:
    """Splits with how many images each class has; every one is read."""
    splits = {}
    for source in find.list_sources(DataConfig(name=name, root=str(root), stored_size=8, **options)):
        assert all(source.image(sample).shape == (8, 8, 3) for sample in range(len(source)))
        splits[source.split] = Counter(source.classes[label] for label in source.labels)
    return splits


CLASSES = {f"{class_}/{number}.jpg": JPEG for class_ in ("ant", "bee") for number in range(3)}
BOTH = {"ant": 3, "bee": 3}
SPLITS = {f"{split}/{name}": content for split in ("train", "test") for name, content in CLASSES.items()}
SYNSETS = {f"n0000000{number}_{word}_{image}.JPEG": JPEG for number, word in enumerate(("crane", "crane")) for image in range(2)}
VALIDATION = {f"val/ILSVRC2012_val_0000000{number}.JPEG": JPEG for number in range(1, 5)}
IMAGENET = {f"train/n0000000{number}/n0000000{number}_{image}.JPEG": JPEG for number in range(2) for image in range(2)} | VALIDATION
IMAGENETS = {"train": {"n00000000": 2, "n00000001": 2}, "test": {"n00000000": 1, "n00000001": 3}}
KAGGLE = "ImageId,PredictionString\n" + "".join(f"ILSVRC2012_val_0000000{n},n0000000{int(n > 1)} 1 2 3 4\n" for n in (2, 1, 3, 4))
PAIRS = {f"{key:06d}.{suffix}": content for key in range(6) for suffix, content in (("jpg", JPEG), ("cls", str(key % 2 * 10).encode()))}


def test_class_folders_nested_linked_and_in_upper_case(tmp_path):
    root = write(
        tmp_path / "root",
        {"ant/deep/deeper/1.JPG": JPEG, "ant/2.PnG": PNG, "Zoë/3.jpeg": JPEG, ".hidden/4.jpg": JPEG, "ant/notes.txt": b"x"},
    )
    elsewhere = write(tmp_path / "elsewhere", {"5.jpg": JPEG})
    (root / "bee").symlink_to(elsewhere)
    (root / "ant" / "6.jpg").symlink_to(elsewhere / "5.jpg")
    (root / "ant" / "circle").symlink_to(root)
    assert found(root) == {"all": {"ant": 3, "bee": 1, "Zoë": 1}}


def test_a_class_is_one_class_however_its_accents_are_written(tmp_path):
    composed, apart = unicodedata.normalize("NFC", "é"), unicodedata.normalize("NFD", "é")
    root = write(tmp_path, {f"train/{composed}/1.jpg": JPEG, f"test/{apart}/1.jpg": JPEG, "train/a/1.jpg": JPEG, "test/a/1.jpg": JPEG})
    assert found(root) == {"train": {"a": 1, composed: 1}, "test": {"a": 1, composed: 1}}


def test_a_name_that_is_not_utf8_is_read_and_shown(tmp_path):
    root = write(tmp_path, {"ant/1.jpg": JPEG, "bee/1.jpg": JPEG})
    os.rename(os.fsencode(root / "bee" / "1.jpg"), os.fsencode(root / "bee") + b"/\xff.jpg")
    (source,) = find.list_sources(DataConfig(name="folder", root=str(root), stored_size=8))
    assert source.image(1).shape == (8, 8, 3)
    assert source.places(1).endswith("bee/\\xff.jpg")


@pytest.mark.parametrize("above", ["", "one/", "one/two/three/"])
def test_splits_are_found_below_folders_that_hold_nothing_else(tmp_path, above):
    root = write(tmp_path, {above + name: content for name, content in SPLITS.items()})
    assert found(root) == {"train": BOTH, "test": BOTH}


@pytest.mark.parametrize("kind", ["", ".gz", ".bz2", ".xz"])
def test_an_archive_is_the_folder_that_it_holds(tmp_path, kind, monkeypatch):
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    assert found(tar(tmp_path / f"set.tar{kind}", SPLITS, f"w:{kind[1:]}" if kind else "w")) == {"train": BOTH, "test": BOTH}


def test_flat_synsets_have_the_class_of_their_names(tmp_path):
    assert found(tar(tmp_path / "sample.tar", {f"sample/{name}": content for name, content in SYNSETS.items()})) == {
        "all": {"n00000000_crane": 2, "n00000001_crane": 2}
    }


@pytest.mark.parametrize(
    ("labels", "content"),
    [
        ("LOC_val_solution.csv", KAGGLE),
        ("imagenet_2012_validation_synset_labels.txt", "n00000000\n" + "n00000001\n" * 3),
        ("val.txt", "".join(f"ILSVRC2012_val_0000000{n}.JPEG {int(n > 1)}\n" for n in range(1, 5))),
    ],
)
def test_imagenets_validation_images_are_labelled_by_a_file_beside_them(tmp_path, labels, content):
    assert found(write(tmp_path, IMAGENET | {labels: content.encode()}), name="imagenet") == IMAGENETS


def test_imagenets_devkit_names_its_numbers(tmp_path):
    from scipy.io import savemat

    synsets = np.array([(2, "n00000000"), (1, "n00000001")], dtype=[("ILSVRC2012_ID", "O"), ("WNID", "O")])
    savemat(tmp_path / "meta.mat", {"synsets": synsets})
    root = write(tmp_path, IMAGENET | {"devkit/ILSVRC2012_validation_ground_truth.txt": b"2\n1\n1\n1\n"})
    assert found(root) == IMAGENETS


def test_imagenets_own_archives_are_read_in_place(tmp_path):
    classes = {
        f"n0000000{n}.tar": tar(tmp_path / "x.tar", {f"n0000000{n}_{p}.JPEG": JPEG for p in range(2)}).read_bytes() for n in range(2)
    }
    root = tmp_path / "root"
    tar(root / "ILSVRC2012_img_train.tar", classes)
    tar(root / "ILSVRC2012_img_val.tar", {name.removeprefix("val/"): content for name, content in VALIDATION.items()})
    labels = tmp_path / "labels.csv"
    labels.write_text(KAGGLE)
    assert found(root, labels=str(labels)) == IMAGENETS


@pytest.mark.parametrize("name", ["folder", "webdataset"])
def test_webdataset_shards_by_pattern_and_split(tmp_path, name):
    for shard in ("train-000", "train-001", "val-000"):
        tar(tmp_path / "shards" / f"{shard}.tar", PAIRS)
    assert found(tmp_path / "shards" / "train-{000..001}.tar", name) == {"all": {"0": 6, "10": 6}}
    assert found(tmp_path / "shards" / "train-*.tar", name) == {"all": {"0": 6, "10": 6}}
    assert found(tmp_path / "shards", name) == {"train": {"0": 6, "10": 6}, "test": {"0": 3, "10": 3}}


def test_webdataset_labels_may_be_json_and_numbers_are_in_order(tmp_path):
    pairs = {f"{n}.{s}": c for n in (2, 10, 1) for s, c in (("jpeg", JPEG), ("json", json.dumps({"label": n}).encode()))}
    (source,) = find.list_sources(DataConfig(name="webdataset", root=str(tar(tmp_path / "a.tar", pairs)), stored_size=8))
    assert source.classes == ("1", "2", "10")


def test_folders_of_shards_are_splits(tmp_path):
    for split in ("train", "val"):
        tar(tmp_path / "shards" / split / "000.tar", PAIRS)
    assert found(tmp_path / "shards") == {"train": {"0": 3, "10": 3}, "test": {"0": 3, "10": 3}}


def test_captions_beside_images_are_no_classes(tmp_path):
    assert found(write(tmp_path, CLASSES | {name.replace(".jpg", ".txt"): b"a caption" for name in CLASSES})) == {"all": BOTH}


def test_words_for_splits_inside_other_names_are_classes(tmp_path):
    root = write(tmp_path, {f"{name}/1.jpg": JPEG for name in ("freight train", "passenger train", "blood_test", "bus")})
    assert found(root) == {"all": {"freight train": 1, "passenger train": 1, "blood_test": 1, "bus": 1}}


def test_what_desktops_leave_in_archives_is_no_class(tmp_path):
    extra = {"__MACOSX/ant/._0.jpg": b"x", ".ipynb_checkpoints/1.jpg": JPEG, "ant/.hidden/2.jpg": JPEG}
    assert found(tar(tmp_path / "a.tar", CLASSES | extra)) == {"all": BOTH}
    assert found(write(tmp_path / "folder", CLASSES | extra)) == {"all": BOTH}


def test_images_outside_of_the_layout_are_announced(tmp_path, capsys):
    root = write(tmp_path / "in", SPLITS | {"extra/1.jpg": JPEG, "loose.jpg": JPEG})
    assert main(["prepare", f"--root={root}", f"--out={tmp_path}/x.beton", "--size=8"]) == 0
    assert f"2 image(s) at {root} are left out, e.g. extra/1.jpg" in capsys.readouterr().out


@pytest.mark.parametrize("pattern", ["", "/*.tar.gz"])
def test_compressed_archives_in_a_folder_are_read(tmp_path, pattern, monkeypatch):
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    for split in ("train", "test"):
        tar(tmp_path / "in" / f"{split}.tar.gz", CLASSES, "w:gz")
    assert found(f"{tmp_path / 'in'}{pattern}") == {"train": BOTH, "test": BOTH}


def test_links_inside_an_archive_are_followed(tmp_path):
    path = tar(tmp_path / "a.tar", CLASSES)
    with tarfile.open(path, "a") as archive:
        for name, kind, target in (("bee/hard.jpg", tarfile.LNKTYPE, "ant/0.jpg"), ("bee/soft.jpg", tarfile.SYMTYPE, "../ant/1.jpg")):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
    assert found(path) == {"all": {"ant": 3, "bee": 5}}


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
def test_tables_list_paths_classes_and_splits(tmp_path, suffix):
    write(tmp_path / "pics", CLASSES)
    rows = [(f"pics/{name}", name[:3], "valid" if "2" in name else "train") for name in CLASSES]
    path = tmp_path / f"table.{suffix}"
    if suffix == "parquet":
        import pyarrow.parquet

        pyarrow.parquet.write_table(
            pyarrow.table(dict(zip(("image", "label", "split"), map(list, zip(*rows, strict=True)), strict=True))), path
        )
    else:
        lines = [("label", "extra", "Path", "split"), *((label, "", name, split) for name, label, split in rows)]
        path.write_text("\n".join({"csv": ",", "tsv": "\t"}[suffix].join(line) for line in lines), encoding="utf-8-sig")
    assert found(path) == {"train": {"ant": 2, "bee": 2}, "test": {"ant": 1, "bee": 1}}


def test_of_a_tables_val_and_test_rows_the_latter_test(tmp_path):
    write(tmp_path, CLASSES)
    splits = {"0": "train", "1": "val", "2": "test"}
    (tmp_path / "list.csv").write_text("path,label,split\n" + "".join(f"{name},{name[:3]},{splits[name[4]]}\n" for name in CLASSES))
    assert found(tmp_path / "list.csv") == {"train": {"ant": 1, "bee": 1}, "test": {"ant": 1, "bee": 1}}


def test_a_table_needs_no_header(tmp_path):
    write(tmp_path, CLASSES)
    (tmp_path / "list.csv").write_text("".join(f'"{name}",{name[:3]}\n' for name in CLASSES))
    assert found(tmp_path / "list.csv") == {"all": BOTH}


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
        train, test = find.list_sources(DataConfig(name=name, root=str(place)))
        assert (len(train), len(test), train.classes[7]) == (200, 100, "c07")


def test_torchvisions_sets_come_by_name(tmp_path):
    def idx(values: np.ndarray) -> bytes:
        return bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape) + values.tobytes()

    for split, count in (("train", 60), ("t10k", 20)):
        labels = (np.arange(count) % 10).astype(np.uint8)
        images = np.repeat(labels[:, None, None] * 20, 28, 1).repeat(28, 2)
        write(tmp_path / "FashionMNIST" / "raw", {f"{split}-images-idx3-ubyte": idx(images), f"{split}-labels-idx1-ubyte": idx(labels)})
    train, test = find.list_sources(DataConfig(name="torchvision", dataset="FashionMNIST", root=str(tmp_path), stored_size=28))
    assert (len(train), len(test), train.classes[9]) == (60, 20, "Ankle boot")
    assert (train.image(13) == 60).all()


def test_the_thousand_imagenet_images_are_a_thousand_classes():
    archive = DATA / "imagenet-sample.tar"
    if not archive.is_file():
        pytest.skip("no imagenet-sample.tar in DISTALEX_TEST_DATA")
    (source,) = find.list_sources(DataConfig(name="imagenet", root=str(archive)))
    assert (len(source), len(source.classes), source.classes[0]) == (1000, 1000, "n01440764_tench")
    for sample in (0, 500, 999):
        with Image.open(io.BytesIO(encoded(source.open(sample).convert("RGB"), "PNG"))) as whole:
            expected = np.asarray(ImageOps.fit(whole, (256, 256), Image.Resampling.BICUBIC))
        assert np.array_equal(source.image(sample), expected)


# Kinds of image files: what Pillow, asked by hand, makes of the same image.

GREY16 = Image.fromarray(np.asarray(ramp().convert("L")).astype(np.uint16) * 257)
KINDS: dict[str, tuple[Callable[[], bytes], float]] = {  # and the largest mean difference from `ramp`, on 0..255
    "png": (lambda: PNG, 0),
    "progressive jpeg": (lambda: encoded(ramp(), "JPEG", progressive=True, quality=95), 2),
    "cmyk jpeg": (lambda: encoded(ramp().convert("CMYK"), "JPEG", quality=95), 2),
    "palette": (lambda: encoded(ramp().quantize(256), "PNG"), 6),
    "transparent, opaque here": (lambda: encoded(ramp().convert("RGBA"), "PNG"), 0),
    "webp": (lambda: encoded(ramp(), "WEBP", lossless=True), 0),
    "tiff": (lambda: encoded(ramp(), "TIFF", compression="tiff_lzw"), 0),
    "first of an animation": (lambda: encoded(ramp(), "PNG", save_all=True, append_images=[ramp().rotate(180)]), 0),
    "animated gif": (lambda: encoded(ramp(), "GIF", save_all=True, append_images=[ramp().rotate(180)]), 8),
    "jpeg 2000": (lambda: encoded(ramp(), "JPEG2000"), 1),
    "avif": (lambda: encoded(ramp(), "AVIF", quality=95), 3),
    "broken exif": (lambda: encoded(ramp(), "JPEG", quality=95, exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff"), 2),
}
GREYS: dict[str, tuple[Callable[[], bytes], float]] = {
    "grey": (lambda: encoded(ramp().convert("L"), "PNG"), 0),
    "grey and alpha": (lambda: encoded(ramp().convert("LA"), "PNG"), 0),
    "16 bits png": (lambda: encoded(GREY16, "PNG"), 0),
    "16 bits tiff": (lambda: encoded(GREY16, "TIFF"), 0),
    "fractions": (lambda: encoded(Image.fromarray(np.asarray(ramp().convert("L")).astype(np.float32) / 255), "TIFF"), 0),
    "32 bits": (lambda: encoded(Image.fromarray(np.asarray(ramp().convert("L")).astype(np.int32) * 257), "TIFF"), 0),
}


def seen(content: bytes, side: int = 48) -> np.ndarray:
    return images.square(images.open_image(content), side).astype(float)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_images_are_the_rgb_that_a_person_sees(kind):
    make, tolerance = KINDS[kind]
    assert np.abs(seen(make()) - seen(PNG)).mean() <= tolerance


@pytest.mark.parametrize("kind", GREYS)
def test_kinds_of_grey_are_grey(kind):
    make, tolerance = GREYS[kind]
    assert np.abs(seen(make()) - seen(encoded(ramp().convert("L").convert("RGB"), "PNG"))).mean() <= tolerance


def test_lab_is_converted():
    lab = ImageCms.profileToProfile(ramp(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")
    assert np.abs(seen(encoded(lab, "TIFF")) - seen(PNG)).mean() < 2  # 8 bits of each


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_turned_camera_makes_upright_images(kind, orientation):
    """Stored as the tag says it was taken: undone by the inverse of what viewers do."""
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # transpositions of Pillow, by the tag's value
    stored = ramp() if orientation == 1 else ramp().transpose(Image.Transpose(inverse[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 98}, "WEBP": {"lossless": True}}.get(kind, {})
    assert np.abs(seen(encoded(stored, kind, exif=exif, **options)) - seen(PNG)).mean() < 3


def test_see_through_is_white():
    assert (seen(encoded(Image.new("RGBA", (9, 9), (0, 0, 0, 0)), "PNG")) == 255).all()
    palette = Image.new("P", (9, 9), 0)
    assert (seen(encoded(palette, "GIF", transparency=0)) == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_tiny_and_thin_images_fill_the_square(size):
    assert np.array_equal(seen(encoded(Image.new("RGB", size, (9, 80, 200)), "PNG"), 16), np.broadcast_to([9.0, 80.0, 200.0], (16, 16, 3)))


def test_a_huge_jpeg_is_decoded_small_and_looks_the_same():
    """20,000 pixels wide: decoded at an eighth, which is within 2 of 255 of the whole."""
    huge = ramp(200, 80).resize((20_000, 8_000), Image.Resampling.BICUBIC)
    content = encoded(huge)
    expected = np.asarray(ImageOps.fit(huge, (256, 256), Image.Resampling.BICUBIC)).astype(float)
    opened = images.open_image(content)
    assert np.abs(images.square(opened, 256) - expected).mean() < 2
    assert opened.size == (2500, 1000)


# What is refused.


def png_that_claims(width: int, height: int) -> bytes:
    import struct
    import zlib

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk)) + PNG[33:]


def image(content: bytes) -> Callable[[Path], list[str]]:
    """A folder of good images, and one of `content`."""
    return lambda at: ["folder", f"--root={write(at / 'in', CLASSES | {'bee/odd.png': content})}"]


def files(listed: dict[str, bytes], *more: str) -> Callable[[Path], list[str]]:
    return lambda at: ["folder", f"--root={write(at / 'in', listed)}", *more]


def at_root(name: str, content: bytes) -> Callable[[Path], list[str]]:
    return lambda at: ["folder", f"--root={write(at / 'in', CLASSES | {name: content}) / name}"]


def archive(
    members: dict[str, bytes], change: Callable[[bytes], bytes] = lambda content: content, name: str = "a.tar"
) -> Callable[[Path], list[str]]:
    def make(at: Path) -> list[str]:
        path = tar(at / "in" / name, members, "w:gz" if name.endswith("gz") else "w")
        path.write_bytes(change(path.read_bytes()))
        return ["folder", f"--root={path}"]

    return make


def middle(content: bytes) -> bytes:
    """Rubbish over the header of the second of three JPEG files."""
    second = 512 + -(-len(JPEG) // 512) * 512
    return content[:second] + random.Random(0).randbytes(512) + content[second + 512 :]


def pipe(at: Path) -> list[str]:
    root = write(at / "in", CLASSES)
    os.mkfifo(root / "bee" / "pipe.jpg")
    return ["folder", f"--root={root}"]


def broken_link(at: Path) -> list[str]:
    root = write(at / "in", CLASSES)
    (root / "bee" / "link.jpg").symlink_to(root / "gone.jpg")
    return ["folder", f"--root={root}"]


class Evil:
    def __reduce__(self):
        return (os.mkdir, ("ran",))


def rows(*lines: str) -> Callable[[Path], list[str]]:
    return at_root("list.csv", "\n".join(("path,label,split", *lines)).encode())


HEAD = """# What is refused, and with which words

Each of these is given to `prepare` by a test, which compares the answer with this page. All end with status 2, and nothing is left behind.

| input | answer |
|---|---|
"""
GOOD = ("ant/0.jpg,ant,train", "bee/0.jpg,bee,train", "ant/1.jpg,ant,test", "bee/1.jpg,bee,test")
REFUSED: dict[str, tuple[Callable[[Path], list[str]], str]] = {
    "nothing there": (lambda at: ["folder", f"--root={at}/in"], "no such file or folder"),
    "no root": (lambda at: ["folder"], "--root is missing"),
    "a text": (at_root("notes.md", b"hello"), "a folder, a tar archive or a table"),
    "an empty folder": (lambda at: ["folder", f"--root={(at / 'in').mkdir() or at / 'in'}"], "none of its 0 files is an image"),
    "no image": (files({"ant/a.txt": b"x", "bee/b.txt": b"x"}), "none of its 2 files is an image"),
    "one class": (files({"ant/1.jpg": JPEG, "ant/2.jpg": JPEG}), "only ant/"),
    "a class without images": (files(CLASSES | {"cat/notes.txt": b"x"}), "class folder cat/ holds no image"),
    "no classes": (files({"1.jpg": JPEG, "2.jpg": JPEG}), "two or more class folders"),
    "other classes in the test set": (files(SPLITS | {"test/cat/1.jpg": JPEG}), "differ in their classes: cat"),
    "a test set without classes": (
        files({"train/" + name: JPEG for name in CLASSES} | {"test/1.jpg": JPEG}),
        "test/ holds images without class",
    ),
    "an empty file": (image(b""), "an empty file"),
    "zeros": (image(bytes(4096)), "nothing but zero bytes"),
    "a web page": (image(b"<!DOCTYPE html><p>404"), "a web page"),
    "a pointer": (image(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n"), "Git LFS pointer"),
    "a drawing": (image(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), "a drawing"),
    "heic": (image(b"\0\0\0\x18ftypheic" + bytes(99)), "HEIC"),
    "words": (image(b"these are words"), "no known image format"),
    "half a jpeg": (image(JPEG[: len(JPEG) * 3 // 4]), "truncated"),
    "half a png": (image(PNG[: len(PNG) // 2]), "truncated"),
    "a jpeg header alone": (image(b"\xff\xd8\xff\xe0 no"), "damaged"),
    "a damaged png": (image(PNG[:60] + b"\xff" * 40 + PNG[100:]), "damaged"),
    "a bomb": (image(png_that_claims(100_000, 100_000)), "decompression bomb"),
    "no numbers": (image(encoded(Image.fromarray(np.full((9, 9), np.nan, np.float32)), "TIFF")), "no numbers"),
    "a pipe": (pipe, "not a regular file"),
    "a broken link": (broken_link, "No such file"),
    "a truncated tar": (archive(CLASSES, lambda content: content[: len(content) // 2 - 700]), "not a whole tar archive"),
    "a tar cut between files": (archive(CLASSES, lambda content: content[: 512 + -(-len(JPEG) // 512) * 512]), "before its end mark"),
    "rubbish in a tar": (archive(CLASSES, middle), "damaged in the middle"),
    "an empty tar": (archive({}, lambda _: b""), "an empty file"),
    "a tar that escapes": (archive(CLASSES | {"../../evil.jpg": JPEG}), "../../evil.jpg lies outside"),
    "a tar with absolute names": (archive(CLASSES | {"/etc/evil.jpg": JPEG}), "/etc/evil.jpg lies outside"),
    "half a compressed tar": (archive(CLASSES, lambda content: content[: len(content) // 2], "a.tar.gz"), "cannot be decompressed"),
    "a table of something": (at_root("list.csv", b"a,b\nc,d\n"), "a header with path and label"),
    "an empty table": (at_root("list.csv", b"path,label\n"), "holds no row"),
    "a table that is not utf-8": (at_root("list.csv", b"path,label\nant/0.jpg,\xff\xfe\n"), "not UTF-8 at byte 21"),
    "a short row": (rows(*GOOD, "ant/2.jpg"), "line 6: 1 cell(s)"),
    "a row without class": (rows(*GOOD, "ant/2.jpg,,train"), "line 6: an empty class"),
    "a row twice": (rows(*GOOD, GOOD[0]), "line 6: ant/0.jpg stands in line 2 already"),
    "a missing image": (rows(*GOOD, "gone.jpg,ant,train"), "line 6: gone.jpg: not a readable image (No such file"),
    "an unknown split": (rows(*GOOD, "ant/2.jpg,ant,holiday"), "split 'holiday'"),
    "some rows without split": (rows(*GOOD, "ant/2.jpg,ant,"), "some rows have a split and some none"),
    "an open quote": (rows(*GOOD, '"ant/2.jpg,ant,train'), "line 6: unexpected end of data"),
    "no parquet": (at_root("list.parquet", b"PAR1 not"), "not a Parquet file"),
    "a pair without class": (archive(PAIRS | {"x.jpg": JPEG}), "x.jpg: has no label beside it"),
    "a json without class": (archive(PAIRS | {"x.jpg": JPEG, "x.json": b"{}"}), "x.json: holds no label (no key"),
    "a label of many lines": (archive(PAIRS | {"x.jpg": JPEG, "x.txt": b"a\nb"}), "a label is one line"),
    "pickles that run": (files({f"data_batch_{n}": pickle.dumps(Evil()) for n in range(1, 6)}), "has no place in a CIFAR file"),
    "half pickles": (files({"data_batch_1": pickle.dumps({"data": np.zeros((9, 3072), np.uint8)})[:500]}), "not a CIFAR-10 batch"),
    "validation without labels": (files(IMAGENET), "nothing says which classes"),
    "too few labels": (files(IMAGENET | {"val.txt": b"n00000000\n"}), "1 lines for 4 validation images"),
    "labels of other classes": (files(IMAGENET | {"val.txt": b"n00000009\n" * 4}), "n00000009, which is none of the 2"),
    "numbers without devkit": (files(IMAGENET | {"val.txt": b"1\n" * 4}), "meta.mat"),
    "labels that are not there": (files(IMAGENET, "--labels=/nowhere.csv"), "data.labels=/nowhere.csv"),
    "an unknown set": (lambda at: ["torchvision", "--dataset=FashionMINST"], "did you mean FashionMNIST"),
    "a lone image": (files({"ant/1.jpg": JPEG, "bee/1.jpg": JPEG}, "--holdout=0.5"), "two are needed where a test set"),
    "a class that is nothing": (archive(PAIRS | {"x.jpg": JPEG, "x.json": b'{"label": null}'}), "a word or a number is needed, found null"),
    "labels for class folders": (files(CLASSES, "--labels=/nowhere.csv"), "data.labels=/nowhere.csv"),
    "a label without class": (
        files(IMAGENET | {"val.txt": b"ILSVRC2012_val_00000001.JPEG n00000000\nILSVRC2012_val_00000002.JPEG\n"}),
        "row 2",
    ),
    "quality 0": (files(CLASSES, "--quality=0"), "quality=0"),
    "an unknown encoding": (files(CLASSES, "--encoding=gif"), "must be one of raw, jpg, mixed"),
    "nothing readable": (files({"ant/1.jpg": b"", "bee/1.jpg": b""}, "--skip_bad"), "none of the 2 images is readable"),
}


def told(mistake: str, at: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """What `prepare` says of a mistake that is made in the folder `at`."""
    assert main(["prepare", *REFUSED[mistake][0](at), f"--out={at}/out/x.beton", "--size=8"]) == 2
    return capsys.readouterr().err


PAGE = Path(__file__).parent.parent / "docs" / "refused.md"


@pytest.mark.parametrize("mistake", REFUSED)
def test_what_cannot_be_read_is_one_line_and_leaves_nothing(mistake, tmp_path, capsys, monkeypatch):
    """And that line stands in docs/refused.md: DISTALEX_RENEW=1 pytest tests/test_sources.py writes the page."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    error = told(mistake, tmp_path, capsys)
    assert REFUSED[mistake][1] in error
    assert error.count("\n") == 1, error
    row = f"| {mistake} | `{error.strip().replace(str(tmp_path), '').replace('|', '/')[:400]}` |\n"
    if os.environ.get("DISTALEX_RENEW"):
        if mistake == next(iter(REFUSED)):
            PAGE.write_text(HEAD)
        with PAGE.open("a") as page:
            page.write(row)
    assert row in PAGE.read_text()
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())
    assert not (tmp_path / "ran").exists()


def test_bad_images_are_skipped_counted_and_listed(tmp_path, capsys):
    bad = {"bee/empty.jpg": b"", "ant/half.jpg": JPEG[:400], "ant/words.png": b"words"}
    root = write(tmp_path / "in", CLASSES | bad)
    out = tmp_path / "x.beton"
    assert main(["prepare", f"--root={root}", f"--out={out}", "--size=8", "--skip_bad", "--workers=2"]) == 0
    said = capsys.readouterr().out
    assert "3 of 9 images were skipped" in said
    assert all(name in said for name in bad)
    listed = json.loads((tmp_path / "x.beton.json").read_text())
    assert sum(listed["counts"]) == 6
    assert sorted(line.split(": ")[0].removeprefix(f"{root}/") for line in listed["skipped"]) == sorted(bad)
    assert main(["prepare", "check", str(out)]) == 0
    assert "6 images" in capsys.readouterr().out


def test_training_skips_bad_images_only_when_told(tmp_path, alone):
    root = write(tmp_path / "in", SPLITS | {"train/bee/empty.jpg": b""})
    options = {"data__name": "folder", "data__root": str(root), "data__stored_size": "64"}
    said: list[str] = []

    def count(**more):
        return open_data(small(**options, **more), alone, said.append, lambda *_: None).train.count

    with pytest.raises(UserError, match="an empty file"):
        count()
    assert count(data__skip_bad="true") == 6
    assert any("1 of 7 images were skipped" in line for line in said)
    with pytest.raises(UserError, match="an empty file"):
        count()


def test_a_long_archives_list_is_read_again_only_where_it_changed(tmp_path, monkeypatch):
    monkeypatch.setenv("DISTALEX_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(archives, "LONG", 2)
    archive = tmp_path / "set.tar"

    def pack(names):
        with tarfile.open(archive, "w") as tar:
            for name in names:
                member = tarfile.TarInfo(name)
                member.size = len(name)
                tar.addfile(member, io.BytesIO(name.encode()))

    pack(["a/1.png", "a/2.png", "b/3.png"])
    first = tar_files([archive], str(archive))
    with monkeypatch.context() as patch:
        patch.setattr(archives, "_members", None)  # would fail if it were called
        again = tar_files([archive], str(archive))
    assert list(again.names) == list(first.names) == ["a/1.png", "a/2.png", "b/3.png"]
    assert again.read("b/3.png") == b"b/3.png"
    pack(["a/1.png", "c/4.png", "c/5.png", "c/6.png"])
    assert list(tar_files([archive], str(archive)).names) == ["a/1.png", "c/4.png", "c/5.png", "c/6.png"]
