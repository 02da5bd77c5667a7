"""Tiny copies of published data sets, each as its publisher hands it out."""

import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from support.sources import JPEG, PNG, encoded, ramp, tar

TIFF = encoded(ramp(), "TIFF")
PPM = encoded(ramp(), "PPM")
AB = ("ant", "bee")


def zipped(files: dict[str, bytes], stored: bool = False) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def mat(**values: object) -> bytes:
    from scipy.io import savemat

    buffer = io.BytesIO()
    savemat(buffer, values)
    return buffer.getvalue()


def idx(values: np.ndarray) -> bytes:
    return bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape) + values.tobytes()


def lines(*rows: str) -> bytes:
    return ("\n".join(rows) + "\n").encode()


def npz(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


LABELS6 = np.array([0, 1, 0, 1, 0, 1], np.uint8)


def tiny_imagenet() -> dict[str, bytes]:
    files = {f"train/n0000000{c}/images/n0000000{c}_{i}.JPEG": JPEG for c in range(2) for i in range(3)}
    files |= {f"train/n0000000{c}/n0000000{c}_boxes.txt": lines(*(f"n0000000{c}_{i}.JPEG\t0\t1\t6\t5" for i in range(3))) for c in range(2)}
    files |= {f"val/images/val_{i}.JPEG": JPEG for i in range(4)} | {f"test/images/test_{i}.JPEG": JPEG for i in range(2)}
    return files | {
        "val/val_annotations.txt": lines(*(f"val_{i}.JPEG\tn0000000{i % 2}\t0\t3\t4\t6" for i in range(4))),
        "wnids.txt": lines("n00000000", "n00000001"),
        "words.txt": lines("n00000000\tant", "n00000001\tbee"),
    }


def pets() -> dict[str, bytes]:
    names = [f"{breed}_{i}" for breed in ("Abyssinian", "american_bulldog") for i in range(1, 5)]
    row = {name: f"{name} {1 + (name[0] == 'a')} 1 1" for name in names}
    return {
        **{f"images/{name}.jpg": JPEG for name in names},
        **{f"annotations/trimaps/{name}.png": PNG for name in names},
        **{f"annotations/trimaps/._{name}.png": b"\0\5\x16\7" for name in names},
        **{f"annotations/xmls/{name}.xml": b"<annotation/>" for name in names},
        "annotations/list.txt": lines("#Image CLASS-ID SPECIES BREED ID", *row.values()),
        "annotations/trainval.txt": lines(*(row[name] for name in names if name[-1] in "12")),
        "annotations/test.txt": lines(*(row[name] for name in names if name[-1] in "34")),
    }


def flowers() -> dict[str, bytes]:
    return {f"jpg/image_0000{i}.jpg": JPEG for i in range(1, 9)} | {
        "imagelabels.mat": mat(labels=np.array([[1, 2] * 4])),
        "setid.mat": mat(trnid=np.array([[1, 2]]), valid=np.array([[3, 4]]), tstid=np.array([[5, 6, 7, 8]])),
    }


def cars() -> dict[str, bytes]:
    def annotations(count: int) -> np.ndarray:
        rows = [(np.array([[1]]), f"0000{i}.jpg", np.array([[1 + i % 2]])) for i in range(1, count + 1)]
        return np.array([rows], dtype=[("bbox_x1", "O"), ("fname", "O"), ("class", "O")])

    return {
        **{f"cars_train/0000{i}.jpg": JPEG for i in range(1, 5)},
        **{f"cars_test/0000{i}.jpg": JPEG for i in range(1, 3)},
        "devkit/cars_train_annos.mat": mat(annotations=annotations(4)),
        "cars_test_annos_withlabels.mat": mat(annotations=annotations(2)),
        "devkit/cars_meta.mat": mat(class_names=np.array([["AM General Hummer SUV 2000", "Acura RL Sedan 2012"]], dtype=object)),
    }


def dogs() -> dict[str, bytes]:
    names = [f"n0208562{c}-{breed}/n0208562{c}_{i}" for c, breed in enumerate(("Chihuahua", "Maltese")) for i in range(4)]

    def listed(kept: list[str]) -> bytes:
        return mat(file_list=np.array([[f"{name}.jpg"] for name in kept], dtype=object), labels=np.ones((len(kept), 1)))

    return {
        **{f"Images/{name}.jpg": JPEG for name in names},
        **{f"Annotation/{name}": b"<annotation/>" for name in names},
        "lists/train_list.mat": listed(names[:3] + names[4:7]),
        "lists/test_list.mat": listed([names[3], names[7]]),
        "lists/file_list.mat": listed(names),
    }


def cub() -> dict[str, bytes]:
    paths = [f"00{c}.{bird}/{bird}_{i}.jpg" for c, bird in ((1, "Black_footed_Albatross"), (2, "Laysan_Albatross")) for i in range(3)]
    root = "CUB_200_2011/"
    return {
        **{f"{root}images/{path}": JPEG for path in paths},
        f"{root}images.txt": lines(*(f"{n} {path}" for n, path in enumerate(paths, 1))),
        f"{root}image_class_labels.txt": lines(*(f"{n} {int(path[:3])}" for n, path in enumerate(paths, 1))),
        f"{root}train_test_split.txt": lines(*(f"{n} {int(n % 3 > 0)}" for n in range(1, 7))),
        f"{root}classes.txt": lines("1 001.Black_footed_Albatross", "2 002.Laysan_Albatross"),
        f"{root}bounding_boxes.txt": lines(*(f"{n} 1.0 2.0 3.0 4.0" for n in range(1, 7))),
    }


def food() -> dict[str, bytes]:
    train, test = ([f"{food}/{n}" for food in ("apple_pie", "waffles") for n in numbers] for numbers in ((11, 12, 13), (21,)))
    by_class = {food: [name for name in train if name.startswith(food)] for food in ("apple_pie", "waffles")}
    return {
        **{f"food-101/images/{name}.jpg": JPEG for name in train + test},
        "food-101/meta/train.txt": lines(*train),
        "food-101/meta/test.txt": lines(*test),
        "food-101/meta/train.json": json.dumps(by_class).encode(),
        "food-101/meta/classes.txt": lines("apple_pie", "waffles"),
        "food-101/meta/labels.txt": lines("Apple pie", "Waffles"),
        "food-101/README.txt": b"Food-101\n\nSee http://example.org, a page.\n",
    }


def dtd() -> dict[str, bytes]:
    names = [f"{texture}/{texture}_{n}.jpg" for n in range(3) for texture in ("banded", "zigzagged")]
    files = {f"dtd/images/{name}": JPEG for name in names}
    for fold, kept in ((1, names), (2, names[1:] + names[:1]), (10, names[2:] + names[:2])):
        for at, split in enumerate(("train", "val", "test")):
            files[f"dtd/labels/{split}{fold}.txt"] = lines(*kept[2 * at : 2 * at + 2])
    return files | {"dtd/labels/labels_joint_anno.txt": lines(*(f"{name} {name.split('/')[0]} chequered" for name in names))}


def aircraft() -> dict[str, bytes]:
    rows = {f"000000{i}": ("Boeing 707-320", "Boeing 707", "Boeing") if i % 2 else ("A300B4", "A300", "Airbus") for i in range(1, 9)}
    splits = {"train": (1, 2), "val": (3, 4), "trainval": (1, 2, 3, 4), "test": (5, 6, 7, 8)}
    files = {f"fgvc-aircraft-2013b/data/images/{name}.jpg": JPEG for name in rows}
    for at, level in enumerate(("variant", "family", "manufacturer")):
        for split, kept in splits.items():
            named = [f"{name} {row[at]}" for name, row in rows.items() if int(name) in kept]
            files[f"fgvc-aircraft-2013b/data/images_{level}_{split}.txt"] = lines(*named)
    files["fgvc-aircraft-2013b/data/images_box.txt"] = lines(*(f"{name} 1 2 3 4" for name in rows))
    return files | {"fgvc-aircraft-2013b/data/variants.txt": lines("A300B4", "Boeing 707-320")}


def gtsrb() -> dict[str, bytes]:
    head = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"
    files = {f"GTSRB/Training/0000{c}/0000{i}_00000.ppm": PPM for c in range(2) for i in range(3)}
    for c in range(2):
        files[f"GTSRB/Training/0000{c}/GT-0000{c}.csv"] = lines(head, *(f"0000{i}_00000.ppm;29;30;5;6;24;25;{c}" for i in range(3)))
    files |= {f"GTSRB/Final_Test/Images/0000{i}.ppm": PPM for i in range(4)}
    return files | {"GT-final_test.csv": lines(head, *(f"0000{i}.ppm;53;54;6;5;48;49;{i % 2}" for i in range(4)))}


def gtsrb_of_kaggle() -> dict[str, bytes]:
    head = "Width,Height,Roi.X1,Roi.Y1,Roi.X2,Roi.Y2,ClassId,Path"
    train = [f"Train/{c}/0000{c}_0000{i}.png" for c in range(2) for i in range(3)]
    return {
        **dict.fromkeys(train, PNG),
        **{f"Test/0000{i}.png": PNG for i in range(4)},
        **{f"Meta/{c}.png": PNG for c in range(2)},
        "Train.csv": lines(head, *(f"27,26,5,5,22,20,{name.split('/')[1]},{name}" for name in train)),
        "Test.csv": lines(head, *(f"53,54,6,5,48,49,{i % 2},Test/0000{i}.png" for i in range(4))),
        "Meta.csv": lines("Path,ClassId,ShapeId,ColorId,SignId", *(f"Meta/{c}.png,{c},1,0,3.29" for c in range(2))),
    }


def ham() -> dict[str, bytes]:
    names = [f"ISIC_002730{i}" for i in range(6)]
    rows = [f"HAM_{i},{name},{('nv', 'mel')[i % 2]},histo,80.0,male,scalp" for i, name in enumerate(names)]
    wide = ",".join(f"pixel{n:04d}" for n in range(784)) + ",label"
    return {
        **{f"HAM10000_images_part_{1 + i // 3}/{name}.jpg": JPEG for i, name in enumerate(names)},
        "HAM10000_segmentations_lesion_tschandl/ISIC_0027300_segmentation.png": PNG,
        "HAM10000_metadata.csv": lines("lesion_id,image_id,dx,dx_type,age,sex,localization", *rows),
        "hmnist_28_28_L.csv": lines(wide, *(",".join(["7"] * 784 + [str(i % 2)]) for i in range(6))),
    }


def places() -> dict[str, bytes]:
    train = [f"/a/airfield/0000000{i}.jpg" for i in range(3)] + [f"/b/bakery/shop/0000000{i}.jpg" for i in range(3)]
    return {
        **{f"data_256_standard{name}": JPEG for name in train},
        **{f"val_256/Places365_val_0000000{i}.jpg": JPEG for i in range(4)},
        "places365_train_standard.txt": lines(*(f"{name} {int('bakery' in name)}" for name in train)),
        "places365_val.txt": lines(*(f"Places365_val_0000000{i}.jpg {i % 2}" for i in range(4))),
        "categories_places365.txt": lines("/a/airfield 0", "/b/bakery/shop 1"),
    }


def sun() -> dict[str, bytes]:
    names = [f"/a/abbey/sun_a{i}.jpg" for i in range(3)] + [f"/b/bus_interior/sun_b{i}.jpg" for i in range(3)]
    folds = {f"Partitions/Training_0{f}.txt": lines(*names[:2], *names[3:5]) for f in (1, 2)}
    return {f"SUN397{name}": JPEG for name in names} | folds | {f"Partitions/Testing_0{f}.txt": lines(names[2], names[5]) for f in (1, 2)}


def inaturalist() -> dict[str, bytes]:
    def described(numbers: range) -> bytes:
        return json.dumps(
            {
                "images": [{"id": n, "file_name": f"train_val2018/Aves/{2000 + n % 2}/{n}.jpg"} for n in numbers],
                "annotations": [{"id": n, "image_id": n, "category_id": n % 2} for n in numbers],
                "categories": [{"id": 0, "name": "Corvus corax"}, {"id": 1, "name": "Pica pica"}],
            }
        ).encode()

    images = {f"train_val2018/Aves/{2000 + n % 2}/{n}.jpg": JPEG for n in range(6)}
    return images | {"train2018.json": described(range(4)), "val2018.json": described(range(4, 6))}


def emnist() -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    for split in ("train", "test"):
        files[f"emnist-letters-{split}-images-idx3-ubyte.gz"] = gzip.compress(idx(pixels(6, 28, 28)))
        files[f"emnist-letters-{split}-labels-idx1-ubyte.gz"] = gzip.compress(idx(LABELS6 + 1))
    return files | {"emnist-letters-mapping.txt": lines("1 65 97", "2 66 98")}


def hugging_face_parquet(at: Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet

    described = {"info": {"features": {"image": {"_type": "Image"}, "label": {"names": list(AB), "_type": "ClassLabel"}}}}
    for split, count in (("train", 6), ("test", 2)):
        table = pa.table({"image": [{"bytes": JPEG, "path": "a.jpg"}] * count, "label": [n % 2 for n in range(count)]})
        (at / "data").mkdir(exist_ok=True, parents=True)
        table = table.replace_schema_metadata({"huggingface": json.dumps(described)})
        pyarrow.parquet.write_table(table, at / "data" / f"{split}-00000-of-00001.parquet")
    (at / "README.md").write_text("---\ndataset_info: …\n---\n")
    return at


def cifar10_binary() -> dict[str, bytes]:
    records = np.concatenate([LABELS6[:, None], pixels(6, 3072)], 1).tobytes()
    names = "\n".join(("airplane", "automobile")).encode()
    return {"cifar-10-batches-bin/data_batch_1.bin": records, "cifar-10-batches-bin/test_batch.bin": records} | {
        "cifar-10-batches-bin/batches.meta.txt": names
    }


def cifar10_pickles() -> dict[str, bytes]:
    labels = [n % 10 for n in range(20)]
    batch = pickle.dumps({"data": pixels(20, 3072), "labels": labels})
    return {f"cifar-10-batches-py/{name}": batch for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch")}


def kaggle_imagenet() -> dict[str, bytes]:
    root = "ILSVRC/Data/CLS-LOC/"
    return {
        **{f"{root}train/n0000000{c}/n0000000{c}_{i}.JPEG": JPEG for c in range(2) for i in range(3)},
        **{f"{root}val/ILSVRC2012_val_0000000{i}.JPEG": JPEG for i in range(1, 5)},
        **{f"{root}test/ILSVRC2012_test_0000000{i}.JPEG": JPEG for i in range(1, 3)},
        **{f"ILSVRC/Annotations/CLS-LOC/val/ILSVRC2012_val_0000000{i}.xml": b"<annotation/>" for i in range(1, 5)},
        "ILSVRC/ImageSets/CLS-LOC/val.txt": lines(*(f"ILSVRC2012_val_0000000{i} {i}" for i in range(1, 5))),
        "LOC_val_solution.csv": lines(
            "ImageId,PredictionString", *(f"ILSVRC2012_val_0000000{i},n0000000{i % 2} 1 2 3 4" for i in range(1, 5))
        ),
        "LOC_sample_submission.csv": lines("ImageId,PredictionString", "ILSVRC2012_test_00000001,n00000000 1 2 3 4"),
        "LOC_synset_mapping.txt": lines("n00000000 ant", "n00000001 bee"),
    }


def hugging_face_imagenet(at: Path) -> Path:
    """imagenet-1k's archives of images named NUMBER_SYNSET.JPEG."""
    for split, archive in (("train", "train_images_0"), ("val", "val_images")):
        count = 2 if split == "train" else 1
        begin = {"train": "n0000000{c}", "val": "ILSVRC2012_val"}[split]
        named = {f"{begin.format(c=c)}_{i}{c}_n0000000{c}.JPEG": JPEG for c in range(2) for i in range(count)}
        tar(at / "data" / f"{archive}.tar.gz", named, "w:gz")
    return at / "data"


Made = dict[str, bytes] | Callable[[Path], Path]
TWO = {"ant": 3, "bee": 3}
