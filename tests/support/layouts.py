"""Tiny copies of published data sets, each as its publisher hands it out."""

import gzip
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from support.sources import CLASSES, JPEG, PAIRS, PNG, SPLITS, encoded, ramp, tar, write

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


Made = dict[str, bytes] | Callable[[Path], Path]
TWO = {"ant": 3, "bee": 3}
READ: dict[str, tuple[Made, dict[str, dict[str, int]]]] = {
    "Tiny ImageNet": (tiny_imagenet(), {"train": {"n00000000": 3, "n00000001": 3}, "test": {"n00000000": 2, "n00000001": 2}}),
    "ImageNet from Kaggle": (
        kaggle_imagenet(),
        {"train": {"n00000000": 3, "n00000001": 3}, "test": {"n00000000": 2, "n00000001": 2}},
    ),
    "ImageNet from Hugging Face": (
        lambda at: _hugging_face_imagenet(at),
        {"train": {"n00000000": 2, "n00000001": 2}, "test": {"n00000000": 1, "n00000001": 1}},
    ),
    "Imagenette, Imagewoof": (
        {f"imagenette2/{split}/n0000000{c}/{i}.JPEG": JPEG for split in ("train", "val") for c in range(2) for i in range(2)}
        | {"imagenette2/noisy_imagenette.csv": lines("path,noisy_labels_0,is_valid", "train/n00000000/0.JPEG,n00000001,False")},
        {"train": {"n00000000": 2, "n00000001": 2}, "test": {"n00000000": 2, "n00000001": 2}},
    ),
    "CIFAR-10 for Python": (cifar10_pickles(), {"train": dict.fromkeys(_CIFAR := (), 0), "test": {}}),
    "CIFAR-10, binary version": (cifar10_binary(), {"train": {"airplane": 3, "automobile": 3}, "test": {"airplane": 3, "automobile": 3}}),
    "SVHN, cropped digits": (
        {f"{split}_32x32.mat": mat(X=pixels(32, 32, 3, 6), y=np.array([[1], [10]] * 3)) for split in ("train", "test")},
        {"train": {"0": 3, "1": 3}, "test": {"0": 3, "1": 3}},
    ),
    "STL-10": (
        {
            **{f"stl10_binary/{split}_X.bin": pixels(6, 3 * 96 * 96).tobytes() for split in ("train", "test")},
            **{f"stl10_binary/{split}_y.bin": bytes(LABELS6 + 1) for split in ("train", "test")},
            "stl10_binary/class_names.txt": lines("airplane", "bird"),
        },
        {"train": {"airplane": 3, "bird": 3}, "test": {"airplane": 3, "bird": 3}},
    ),
    "MNIST, Fashion-MNIST, KMNIST": (
        {
            f"MNIST/raw/{split}-{kind}-ubyte": idx(content)
            for split in ("train", "t10k")
            for kind, content in (("images-idx3", pixels(6, 28, 28)), ("labels-idx1", LABELS6))
        },
        {"train": {"0": 3, "1": 3}, "test": {"0": 3, "1": 3}},
    ),
    "EMNIST": (emnist(), {"train": {"A": 3, "B": 3}, "test": {"A": 3, "B": 3}}),
    "Keras' and MedMNIST's .npz": (
        {
            "pathmnist.npz": npz(
                **{f"{s}_images": pixels(6, 28, 28, 3) for s in ("train", "val", "test")},
                **{f"{s}_labels": LABELS6[:, None] for s in ("train", "val", "test")},
            )
        },
        {"train": {"0": 3, "1": 3}, "test": {"0": 3, "1": 3}},
    ),
    "Caltech-101": (
        {f"101_ObjectCategories/{c}/image_000{i}.jpg": JPEG for c in (*AB, "BACKGROUND_Google") for i in range(3)}
        | {f"Annotations/{c}/annotation_000{i}.mat": b"x" for c in AB for i in range(3)},
        {"all": TWO},
    ),
    "Caltech-256": (
        {f"256_ObjectCategories/{c}/{c[:3]}_000{i}.jpg": JPEG for c in ("001.ak47", "257.clutter") for i in range(3)},
        {"all": {"001.ak47": 3, "257.clutter": 3}},
    ),
    "Oxford-IIIT Pet": (pets(), {"train": {"Abyssinian": 2, "american_bulldog": 2}, "test": {"Abyssinian": 2, "american_bulldog": 2}}),
    "Oxford Flowers-102": (flowers(), {"train": {"1": 1, "2": 1}, "test": {"1": 2, "2": 2}}),
    "Stanford Cars": (
        cars(),
        {
            "train": {"AM General Hummer SUV 2000": 2, "Acura RL Sedan 2012": 2},
            "test": {"AM General Hummer SUV 2000": 1, "Acura RL Sedan 2012": 1},
        },
    ),
    "Stanford Dogs": (
        dogs(),
        {"train": {"n02085620-Chihuahua": 3, "n02085621-Maltese": 3}, "test": {"n02085620-Chihuahua": 1, "n02085621-Maltese": 1}},
    ),
    "CUB-200-2011": (
        cub(),
        {
            "train": {"001.Black_footed_Albatross": 2, "002.Laysan_Albatross": 2},
            "test": {"001.Black_footed_Albatross": 1, "002.Laysan_Albatross": 1},
        },
    ),
    "Food-101": (food(), {"train": {"apple_pie": 3, "waffles": 3}, "test": {"apple_pie": 1, "waffles": 1}}),
    "Describable Textures": (dtd(), {"train": {"banded": 1, "zigzagged": 1}, "test": {"banded": 1, "zigzagged": 1}}),
    "FGVC-Aircraft": (aircraft(), {"train": {"Boeing 707-320": 2, "A300B4": 2}, "test": {"Boeing 707-320": 2, "A300B4": 2}}),
    "GTSRB": (gtsrb(), {"train": {"00000": 3, "00001": 3}, "test": {"00000": 2, "00001": 2}}),
    "GTSRB from Kaggle": (gtsrb_of_kaggle(), {"train": {"0": 3, "1": 3}, "test": {"0": 2, "1": 2}}),
    "EuroSAT (RGB)": ({f"2750/{c}/{c}_{i}.jpg": JPEG for c in ("Forest", "River") for i in range(3)}, {"all": {"Forest": 3, "River": 3}}),
    "EuroSAT from Kaggle": (
        {f"EuroSAT/{c}/{c}_{i}.jpg": JPEG for c in ("Forest", "River") for i in range(3)}
        | {
            f"EuroSAT/{split}.csv": lines(
                ",Filename,Label,ClassName", *(f"{i},{c}/{c}_{i}.jpg,{n},{c}" for n, c in enumerate(("Forest", "River")))
            )
            for i, split in enumerate(("train", "validation", "test"))
        }
        | {"EuroSAT/label_map.json": b'{"Forest": 0, "River": 1}'},
        {"train": {"Forest": 1, "River": 1}, "test": {"Forest": 1, "River": 1}},
    ),
    "HAM10000": (ham(), {"all": {"mel": 3, "nv": 3}}),
    "PlantVillage, one rendering": (
        {f"PlantVillage/{c}/{i}.JPG": JPEG for c in ("Potato___Early_blight", "Potato___healthy") for i in range(3)},
        {"all": {"Potato___Early_blight": 3, "Potato___healthy": 3}},
    ),
    "Places365": (
        places(),
        {"train": {"airfield": 3, "bakery/shop": 3}, "test": {"airfield": 2, "bakery/shop": 2}},
    ),
    "SUN397": (sun(), {"train": {"abbey": 2, "bus_interior": 2}, "test": {"abbey": 1, "bus_interior": 1}}),
    "iNaturalist 2017 to 2019": (
        inaturalist(),
        {"train": {"Corvus corax": 2, "Pica pica": 2}, "test": {"Corvus corax": 1, "Pica pica": 1}},
    ),
    "iNaturalist 2021": (
        {
            f"{split}/0000{n}_Animalia_Chordata_Aves_{c}/{i}.jpg": JPEG
            for split in ("train", "val")
            for n, c in enumerate(AB)
            for i in range(2)
        },
        {split: {"00000_Animalia_Chordata_Aves_ant": 2, "00001_Animalia_Chordata_Aves_bee": 2} for split in ("train", "test")},
    ),
    "MIT Indoor-67": (
        {f"Images/{c}/{i}.jpg": JPEG for c in ("kitchen", "airport_inside") for i in range(3)}
        | {
            "TrainImages.txt": lines("kitchen/0.jpg", "kitchen/1.jpg", "airport_inside/0.jpg", "airport_inside/1.jpg"),
            "TestImages.txt": lines("kitchen/2.jpg", "airport_inside/2.jpg"),
        },
        {"train": {"kitchen": 2, "airport_inside": 2}, "test": {"kitchen": 1, "airport_inside": 1}},
    ),
    "UC Merced, RESISC45": (
        {f"UCMerced_LandUse/Images/{c}/{c}0{i}.tif": TIFF for c in ("beach", "river") for i in range(3)},
        {"all": {"beach": 3, "river": 3}},
    ),
    "Intel scenes": (
        {f"seg_{s}/seg_{s}/{c}/{i}.jpg": JPEG for s in ("train", "test") for c in AB for i in range(3)}
        | {f"seg_pred/seg_pred/{i}.jpg": JPEG for i in range(2)},
        {"train": TWO, "test": TWO},
    ),
    "Dogs vs. Cats": (
        {f"train/{c}.{i}.jpg": JPEG for c in ("cat", "dog") for i in range(3)}
        | {"test1/1.jpg": JPEG, "sampleSubmission.csv": lines("id,label", "1,0")},
        {"all": {"cat": 3, "dog": 3}},
    ),
    "Dog Breed Identification": (
        {f"train/{i:032x}.jpg": JPEG for i in range(6)}
        | {f"test/{i:032x}.jpg": JPEG for i in range(20, 22)}
        | {"labels.csv": lines("id,breed", *(f"{i:032x},{AB[i % 2]}" for i in range(6)))}
        | {"sample_submission.csv": lines("id,ant,bee", *(f"{i:032x},0.5,0.5" for i in range(20, 22)))},
        {"all": TWO},
    ),
    "Histopathologic Cancer Detection": (
        {f"train/{i:040x}.tif": TIFF for i in range(6)}
        | {f"test/{i:040x}.tif": TIFF for i in range(20, 22)}
        | {"train_labels.csv": lines("id,label", *(f"{i:040x},{i % 2}" for i in range(6)))},
        {"all": {"0": 3, "1": 3}},
    ),
    "Cassava, APTOS": (
        {f"train_images/{i}00.png": PNG for i in range(6)}
        | {f"test_images/{i}00.png": PNG for i in range(7, 9)}
        | {"train.csv": lines("id_code,diagnosis", *(f"{i}00,{i % 2 * 3}" for i in range(6)))}
        | {"test.csv": lines("id_code", "700", "800"), "sample_submission.csv": lines("id_code,diagnosis", "700,0", "800,0")},
        {"all": {"0": 3, "3": 3}},
    ),
    "Plant Pathology (one column a class)": (
        {f"images/{split}_{i}.jpg": JPEG for split in ("Train", "Test") for i in range(4)}
        | {"train.csv": lines("image_id,healthy,rust", *(f"Train_{i},{i % 2},{1 - i % 2}" for i in range(4)))}
        | {"test.csv": lines("image_id", *(f"Test_{i}" for i in range(4)))},
        {"all": {"healthy": 2, "rust": 2}},
    ),
    "Plant Seedlings": (
        {f"train/{c}/{i}.png": PNG for c in AB for i in range(3)}
        | {"test/9.png": PNG, "sample_submission.csv": lines("file,species", "9.png,ant")},
        {"all": TWO},
    ),
    "Hugging Face imagefolder": (
        {f"{split}/{i}.jpg": JPEG for split in ("train", "test") for i in range(6)}
        | {"train/metadata.csv": lines("file_name,label", *(f"{i}.jpg,{AB[i % 2]}" for i in range(6)))}
        | {"test/metadata.jsonl": lines(*(json.dumps({"file_name": f"{i}.jpg", "label": AB[i % 2]}) for i in range(6)))},
        {"train": TWO, "test": TWO},
    ),
    "Hugging Face Parquet": (hugging_face_parquet, {"train": TWO, "test": {"ant": 1, "bee": 1}}),
    "WebDataset": (lambda at: tar(at / "train-000.tar", PAIRS).parent, {"all": {"0": 3, "10": 3}}),
    "WebDataset with dots in its keys": (
        lambda at: (
            tar(at / "a-0.tar", {f"cat.{i}.{s}": c for i in range(4) for s, c in (("jpg", JPEG), ("cls", str(i % 2).encode()))}).parent
        ),
        {"all": {"0": 2, "1": 2}},
    ),
    "a zip of class folders": (lambda at: write(at, {"archive.zip": zipped(SPLITS)}) / "archive.zip", {"train": TWO, "test": TWO}),
    "Kaggle's zips in a zip": (
        lambda at: write(at, {"all.zip": zipped({"train.zip": zipped(CLASSES), "test.zip": zipped(CLASSES)}, stored=True)}) / "all.zip",
        {"train": TWO, "test": TWO},
    ),
    "a labelling tool's CSV": (
        {f"images/{i}.jpg": JPEG for i in range(6)}
        | {"labels.csv": b"id;image;choice\r\n" + "".join(f"{i};C:\\work\\images\\{i}.jpg;{AB[i % 2]}\r\n" for i in range(6)).encode()},
        {"all": TWO},
    ),
    "Label Studio's JSON": (
        {f"images/{i}.jpg": JPEG for i in range(6)}
        | {
            "export.json": json.dumps(
                [
                    {
                        "id": i,
                        "annotations": [{"result": [{"value": {"choices": [AB[i % 2]]}, "type": "choices"}]}],
                        "data": {"image": f"/data/upload/1/{i}.jpg"},
                    }
                    for i in range(6)
                ]
            ).encode()
        },
        {"all": TWO},
    ),
    "JSON of names, of records and of columns": (
        {f"{i}.jpg": JPEG for i in range(6)}
        | {"a.json": json.dumps({f"{i}.jpg": {"label": AB[i % 2]} for i in range(2)}).encode()}
        | {"b.json": json.dumps({f"{i}.jpg": AB[i % 2] for i in range(2, 4)}).encode()}
        | {"c.json": json.dumps({"file": ["4.jpg", "5.jpg"], "label": list(AB)}).encode()},
        {"all": TWO},
    ),
    "SageMaker Ground Truth": (
        {f"{i}.jpg": JPEG for i in range(6)}
        | {
            "output.manifest": lines(
                *(
                    json.dumps({"source-ref": f"s3://bucket/x/{i}.jpg", "job": i % 2, "job-metadata": {"class-name": AB[i % 2]}})
                    for i in range(6)
                )
            )
        },
        {"all": TWO},
    ),
    "Google's AutoML CSV": (
        {f"{i}.jpg": JPEG for i in range(6)}
        | {"all.csv": lines(*(f"{'TEST' if i > 3 else 'TRAIN'},gs://bucket/{i}.jpg,{AB[i % 2]}" for i in range(6)))},
        {"train": {"ant": 2, "bee": 2}, "test": {"ant": 1, "bee": 1}},
    ),
    "Roboflow, one column a class": (
        {f"{split}/{i}.jpg": JPEG for split in ("train", "valid", "test") for i in range(4)}
        | {
            f"{split}/_classes.csv": lines("filename, ant, bee", *(f"{i}.jpg, {1 - i % 2}, {i % 2}" for i in range(4)))
            for split in ("train", "valid", "test")
        },
        {"train": {"ant": 2, "bee": 2}, "test": {"ant": 2, "bee": 2}},
    ),
    "Digit Recognizer, Fashion-MNIST as CSV": (
        {
            "train.csv": lines(
                "label," + ",".join(f"pixel{n}" for n in range(784)), *(f"{n % 2}," + ",".join(["9"] * 784) for n in range(6))
            ),
            "test.csv": lines(",".join(f"pixel{n}" for n in range(784)), ",".join(["9"] * 784)),
        },
        {"all": {"0": 3, "1": 3}},
    ),
    "rock-paper-scissors, horse-or-human": (
        {f"rps{test}/{c}/{i}.png": PNG for test in ("", "-test-set") for c in AB for i in range(3)}
        | {f"rps-validation/{c}{i}.png": PNG for c in AB for i in range(3)},
        {"train": TWO, "test": TWO},
    ),
    "DomainNet and PACS with their lists": (
        {f"{domain}/{c}/{i}.jpg": JPEG for domain in ("clipart", "sketch") for c in AB for i in range(3)}
        | {
            f"{domain}_{split}.txt": lines(*(f"{domain}/{c}/{i}.jpg {n}" for n, c in enumerate(AB) for i in numbers))
            for domain in ("clipart", "sketch")
            for split, numbers in (("train", (0, 1)), ("crossval", (2,)))
        },
        {"train": {"ant": 4, "bee": 4}, "test": {"ant": 2, "bee": 2}},
    ),
    "Herbarium 2022": (
        {f"train_images/00{a}/0{b}/{i}.jpg": JPEG for a in range(2) for b in range(2) for i in range(2)}
        | {
            "train_metadata.json": json.dumps(
                {
                    "images": [
                        {"image_id": f"{a}{b}{i}", "file_name": f"00{a}/0{b}/{i}.jpg"} for a in range(2) for b in range(2) for i in range(2)
                    ],
                    "annotations": [
                        {"image_id": f"{a}{b}{i}", "category_id": a, "genus_id": b} for a in range(2) for b in range(2) for i in range(2)
                    ],
                    "categories": [{"category_id": a, "scientificName": name, "family": "x"} for a, name in enumerate(AB)],
                }
            ).encode()
        },
        {"all": {"ant": 4, "bee": 4}},
    ),
    "FiftyOne's JSON, StyleGAN's dataset.json": (
        {f"data/{i}.jpg": JPEG for i in range(6)}
        | {"labels.json": json.dumps({"classes": list(AB), "labels": {str(i): i % 2 for i in range(3)}}).encode()}
        | {"dataset.json": json.dumps({"labels": [[f"data/{i}.jpg", AB[i % 2]] for i in range(3, 6)]}).encode()},
        {"all": TWO},
    ),
    "FER2013 as CSV": (
        {
            "fer2013.csv": lines(
                "emotion,pixels,Usage",
                *(f"{n % 2},{' '.join(['7'] * 2304)},{('Training', 'PublicTest', 'PrivateTest')[n // 2]}" for n in range(6)),
            )
        },
        {"train": {"0": 1, "1": 1}, "test": {"0": 1, "1": 1}},
    ),
    "Food-5K sorted by class": (
        {f"{split}/{c}/{i}.jpg": JPEG for split in ("training", "validation", "evaluation") for c in AB for i in range(3)},
        {"train": TWO, "test": TWO},
    ),
    "brain tumours with unlabelled images": (
        {f"{c}/{c}{i}.jpg": JPEG for c in ("no", "yes") for i in range(3)} | {f"pred/{i}.jpg": JPEG for i in range(2)},
        {"all": {"no": 3, "yes": 3}},
    ),
    "splits inside class folders": (
        {f"{c}/{s}/{i}.jpg": JPEG for c in AB for s in ("train", "test") for i in range(3)},
        {"train": TWO, "test": TWO},
    ),
    "class folders in parts": ({f"part{n}/{c}/{i}.jpg": JPEG for n in (1, 2) for c in AB for i in range(3)}, {"all": {"ant": 6, "bee": 6}}),
    "masks beside images": (
        {f"{c}/{c} ({i}){mask}.png": PNG for c in ("benign", "malignant") for i in range(3) for mask in ("", "_mask")},
        {"all": {"benign": 3, "malignant": 3}},
    ),
}
READ["CIFAR-10 for Python"] = (
    cifar10_pickles(),
    {
        split: dict.fromkeys(("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"), count)
        for split, count in (("train", 10), ("test", 2))
    },
)


def _hugging_face_imagenet(at: Path) -> Path:
    """imagenet-1k's archives of images named NUMBER_SYNSET.JPEG."""
    for split, archive in (("train", "train_images_0"), ("val", "val_images")):
        count = 2 if split == "train" else 1
        begin = {"train": "n0000000{c}", "val": "ILSVRC2012_val"}[split]
        named = {f"{begin.format(c=c)}_{i}{c}_n0000000{c}.JPEG": JPEG for c in range(2) for i in range(count)}
        tar(at / "data" / f"{archive}.tar.gz", named, "w:gz")
    return at / "data"


REFUSED: dict[str, tuple[Made, tuple[str, ...]]] = {
    "PlantVillage, all renderings": (
        {f"{kind}/{c}/{i}.jpg": JPEG for kind in ("color", "grayscale", "segmented") for c in AB for i in range(3)},
        ("color/, grayscale/, segmented/", "/color, or", "data.class_from=top_folder"),
    ),
    "Office-31 and other domains": (
        {f"{domain}/{c}/{i}.jpg": JPEG for domain in ("amazon", "dslr", "webcam") for c in AB for i in range(3)},
        ("hold the same folders ant/, bee/", "/amazon, or", "data.class_from"),
    ),
    "magnifications and years": (
        {f"{size}/{i}.jpg": JPEG for size in ("40X", "100X") for i in range(3)},
        ("differ only by", "class_from=top_folder"),
    ),
    "classes that differ only by case": (
        {f"{c}/{i}.jpg": JPEG for c in ("Cat", "cat", "dog") for i in range(2)},
        ("classes 'Cat' and 'cat' differ only by case or spaces", "give them one name"),
    ),
    "images spread by the beginnings of their names": (
        {f"{name[0]}/{name[1]}/{name}.jpg": JPEG for name in ("0a1f", "0b22", "1c33", "f0aa")},
        ("are the beginnings of file names", "data.class_from=top_folder"),
    ),
    "STL-10 in its archive": (
        lambda at: tar(at / "stl10_binary.tar.gz", {"stl10_binary/train_X.bin": b"x", "stl10_binary/train_y.bin": b"x"}, "w:gz"),
        ("stl10_binary/train_X.bin is read outside of archives alone; unpack them",),
    ),
    "YOLO's boxes": (
        {f"images/{s}/{i}.jpg": JPEG for s in ("train", "val") for i in range(3)}
        | {f"labels/{s}/{i}.txt": b"0 0.5 0.5 0.2 0.2\n" for s in ("train", "val") for i in range(3)},
        ("train/ holds images without class folders", "data.labels=FILE"),
    ),
    "COCO's boxes": (
        {f"{i}.jpg": JPEG for i in range(2)}
        | {
            "instances_train2017.json": json.dumps(
                {
                    "images": [{"id": i, "file_name": f"{i}.jpg"} for i in range(2)],
                    "annotations": [{"image_id": 0, "category_id": c, "bbox": [1, 2, 3, 4]} for c in (1, 2)],
                    "categories": [{"id": 1, "name": "ant"}, {"id": 2, "name": "bee"}],
                }
            ).encode()
        },
        ("is of class ant and of bee", "objects in images are not detected"),
    ),
    "images and masks alone": (
        {f"{kind}/{i}.png": PNG for kind in ("images", "masks") for i in range(3)},
        ("two or more class folders", "data.class_from=file_name"),
    ),
    "CheXpert": (
        {f"{split}/patient{n + i}/study1/view1_frontal.jpg": JPEG for split, n in (("train", 10), ("valid", 20)) for i in range(3)}
        | {
            f"{split}.csv": lines(
                "Path,Sex,No Finding,Edema,Fracture",
                *(f"CheXpert-v1.0/{split}/patient{n + i}/study1/view1_frontal.jpg,Male,1.0,{i % 2}.0,1.0" for i in range(3)),
            )
            for split, n in (("train", 10), ("valid", 20))
        },
        ("train/ holds images without class folders", "train.csv, line 2: 2 of the columns No Finding, Edema, Fracture", "data.columns="),
    ),
    "NIH's chest X-rays": (
        {f"images_00{1 + i // 3}/images/0000000{i}_000.png": PNG for i in range(6)}
        | {
            "Data_Entry_2017.csv": lines(
                "Image Index,Finding Labels,Patient ID,OriginalImagePixelSpacing[x,y],",
                *(f"0000000{i}_000.png,{('Hernia', 'Hernia|Mass', 'No Finding')[i % 3]},{i},0.143,0.143," for i in range(6)),
            )
        },
        ("Data_Entry_2017.csv: Hernia|Mass is several classes", "data.columns=path:NAME,label:NAME"),
    ),
    "CelebA's attributes": (
        {f"img_align_celeba/00000{i}.jpg": JPEG for i in range(6)}
        | {"list_attr_celeba.csv": lines("image_id,Bald,Male", *(f"00000{i}.jpg,{1 - i % 2 * 2},{-1 if i % 3 else 1}" for i in range(6)))}
        | {"list_eval_partition.csv": lines("image_id,partition", *(f"00000{i}.jpg,{i // 2}" for i in range(6)))},
        ("none of its columns (image_id, Bald, Male) is known as the class", "data.columns=path:NAME,label:NAME"),
    ),
    "VOC's lists of each class": (
        {f"JPEGImages/{i}.jpg": JPEG for i in range(4)}
        | {f"ImageSets/Main/{c}_train.txt": lines(*(f"{i} {1 if i % 2 == n else -1}" for i in range(4))) for n, c in enumerate(AB)},
        ("gives images other classes than", "data.labels="),
    ),
    "ImageNet-C": (
        {
            f"{kind}/{severity}/{synset}/{i}.JPEG": JPEG
            for kind in ("blur/defocus_blur", "noise/shot_noise")
            for severity in (1, 2)
            for synset in ("n01440764", "n01443537")
            for i in range(2)
        },
        ("blur/, noise/ hold the same folders n01440764/, n01443537/", "/blur, or", "last_folder"),
    ),
    "archives unpacked into folders of their names": (
        {
            f"set-{n}-{word}/set-{n}-{word}/{c}/{i}.jpg": JPEG
            for n, word in enumerate(("cells", "labels"))
            for c in AB[: 2 - n]
            for i in range(2)
        },
        ("set-0-cells/set-0-cells/ lies in a folder of its name", "/set-0-cells, or"),
    ),
    "a set in a project's folder": (
        {f"data/{name}": content for name, content in SPLITS.items()} | {"runs/exp/plot.png": PNG, "train.ipynb": b"{}"},
        ("data/ holds the folders of a set", "/data, or"),
    ),
    "BigEarthNet": (
        {f"BigEarthNet-v1.0/S2A_{n}/S2A_{n}_{band}.tif": TIFF for n in range(3) for band in ("B01", "B02", "B8A")}
        | {f"BigEarthNet-v1.0/S2A_{n}/S2A_{n}_labels_metadata.json": b'{"labels": ["Pastures", "Mixed forest"]}' for n in range(3)},
        ("hold one image each, in the parts _B01, _B02, _B8A",),
    ),
    "copies of class folders": (
        CLASSES | {"ant (1)/1.jpg": JPEG},
        ("classes 'ant' and 'ant (1)' differ only by a copy's number", "give them one name"),
    ),
    "CIFAR-10.1, CIFAR-10-C and other .npy": (
        {"v6_data.npy": b"\x93NUMPY", "v6_labels.npy": b"\x93NUMPY"},
        ("v6_data.npy and what lies beside it are no arrays that are read", "name one .npz file of x_train"),
    ),
    "SVHN, full numbers": (
        {f"train/{i}.png": PNG for i in range(3)} | {"train/digitStruct.mat": b"\x89HDF\r\n\x1a\n"},
        ("class folders", "data.labels=FILE"),
    ),
    "several sets of EMNIST": (
        emnist() | {name.replace("letters", "digits"): content for name, content in emnist().items()},
        ("several sets", "emnist-digits-", "emnist-letters-"),
    ),
    "a class that one split lacks": (
        SPLITS | {"train/cat/1.jpg": JPEG},
        ("differ in their classes: cat of the training images (e.g. 1 of cat) have no test images", "remove the class"),
    ),
    "several tables": (
        {f"{i}.jpg": JPEG for i in range(4)}
        | {"by_age.csv": lines("image,label", *(f"{i}.jpg,{AB[i % 2]}" for i in range(4)))}
        | {"by_sex.csv": lines("image,label", *(f"{i}.jpg,{AB[i // 2]}" for i in range(4)))},
        ("other classes than", "data.labels="),
    ),
    "a table with unknown columns": (
        {f"{i}.jpg": JPEG for i in range(4)} | {"t.csv": lines("a,b,c", *(f"{i}.jpg,{AB[i % 2]},{i // 2}" for i in range(4)))},
        ("none of its columns (a, b, c) is known as the class", "data.columns=path:NAME,label:NAME"),
    ),
    "folders that a table contradicts": (
        {f"camera_{AB[i // 2]}/{i}.jpg": JPEG for i in range(4)}
        | {"labels.csv": lines("image,label", *(f"{i}.jpg,{AB[i % 2]}" for i in range(4)))},
        ("has other classes than the folders", "data.labels=", "data.class_from=top_folder"),
    ),
    "a RAR archive": (lambda at: write(at, {"set.rar": b"Rar!\x1a\x07\x00"}) / "set.rar", ("unrar x set.rar",)),
    "an encrypted zip": (
        lambda at: (
            write(
                at,
                {
                    "a.zip": zipped({"ant/1.jpg": JPEG})
                    .replace(b"PK\3\4\x14\0\0\0", b"PK\3\4\x14\0\1\0")
                    .replace(b"PK\1\2\x14\3\x14\0\0\0", b"PK\1\2\x14\3\x14\0\1\0")
                },
            )
            / "a.zip"
        ),
        ("encrypted", "password"),
    ),
}


REPORTED: dict[str, tuple[Made, dict[str, dict[str, int]] | tuple[str, ...]]] = {
    "https://github.com/huggingface/datasets/issues/5153": (
        {f"data/image{i}.jpg": JPEG for i in range(3)} | {f"image{i}.jpg": JPEG for i in range(4, 7)},
        ("two or more class folders", "data.labels=FILE"),
    ),
    "https://github.com/huggingface/datasets/pull/8419": (
        lambda at: write(at, {"data.zip": zipped({"class0/a.jpg": JPEG, "class1/b.jpg": JPEG}), "README.md": b"# a set\n"}),
        {"all": {"class0": 1, "class1": 1}},
    ),
    "https://github.com/huggingface/datasets/issues/7337": (
        {
            "images.zip": zipped({f"GCC_train_00{i}.jpg": JPEG for i in range(4)}),
            "metadata.jsonl": lines(
                *(json.dumps({"id": f"GCC_train_00{i}", "file_name": f"GCC_train_00{i}.jpg", "label": AB[i % 2]}) for i in range(4))
            ),
        },
        {"all": {"ant": 2, "bee": 2}},
    ),
    "https://github.com/ultralytics/ultralytics/issues/4310": (
        SPLITS | {"validation/ant/1.jpg": JPEG, "runs/classify/train/results.png": PNG, "runs/classify/train/confusion_matrix.png": PNG},
        {"train": TWO, "test": TWO},
    ),
    "https://github.com/ultralytics/ultralytics/issues/13936": (
        {name: content for name, content in SPLITS.items() if not name.startswith("test/bee")},
        ("differ in their classes: bee of the training images (e.g. 3 of bee) have no test images", "remove the class"),
    ),
    "https://github.com/webdataset/webdataset/issues/237": (
        lambda at: tar(
            at / "a.tar", {f"22.0/1.{i} (Clean Version).{s}": c for i in range(4) for s, c in (("png", PNG), ("cls", str(i % 2).encode()))}
        ),
        {"all": {"0": 2, "1": 2}},
    ),
    "https://github.com/PingjunChen/GradingKneeOA/issues/1": (
        {
            f"kneeKL{side}/{split}/{grade}/{i}.png": PNG
            for side in (224, 299)
            for split in ("train", "val", "test")
            for grade in (0, 1)
            for i in range(2)
        },
        ("kneeKL224/, kneeKL299/ hold the same folders", "/kneeKL224, or"),
    ),
    "https://github.com/lindawangg/COVID-Net/issues/26": (
        {f"data/{split}/{split}-{i}.png": PNG for split in ("train", "test") for i in range(4)}
        | {
            f"{split}_COVIDx.txt": lines(*(f"{7 + i // 2} {split}-{i}.png {('COVID-19', 'normal')[i % 2]}" for i in range(4)))
            for split in ("train", "test")
        },
        {"train": {"COVID-19": 2, "normal": 2}, "test": {"COVID-19": 2, "normal": 2}},
    ),
    "https://github.com/ML-TANGO/TANGO/issues/180": (
        {
            f"chest_xray/{twice}{split}/{c}/{i}.jpeg": JPEG
            for twice in ("", "chest_xray/")
            for split in ("train", "test")
            for c in AB
            for i in range(3)
        }
        | {"chest_xray/__MACOSX/chest_xray/train/ant/._0.jpeg": b"x", "chest_xray/chest_xray/.DS_Store": b"x"},
        {"train": TWO, "test": TWO},
    ),
    "https://github.com/subframe7536/maple-font/issues/78": (
        lambda at: write(at, {"a.zip": zipped({name.replace("/", "\\"): content for name, content in CLASSES.items()})}) / "a.zip",
        {"all": TWO},
    ),
    "https://github.com/rachis-org/rachis/pull/433": (
        {f"{i}.jpg": JPEG for i in range(4)}
        | {
            "labels.csv": "file_name\tlabel\r\n".encode("utf-16")
            + "".join(f"{i}.jpg\t{AB[i % 2]}\r\n" for i in range(4)).encode("utf-16-le")
        },
        {"all": {"ant": 2, "bee": 2}},
    ),
    "https://www.kaggle.com/datasets/iarunava/cell-images-for-detecting-malaria": (
        {f"cell_images/{twice}{c}/{i}.png": PNG for twice in ("", "cell_images/") for c in ("Parasitized", "Uninfected") for i in range(2)},
        {"all": {"Parasitized": 2, "Uninfected": 2}},
    ),
    "https://github.com/fastai/fastai/issues/1169": (
        {f"train/n0370622{c}/n0370622{c}_{i}.JPEG": JPEG for c in range(2) for i in range(3)}
        | {"train.csv": lines("filenames,cats", *(f"n0370622{c}/n0370622{c}_{i}.JPEG,{352 + c}" for c in range(2) for i in range(3)))},
        {"all": {"n03706220": 3, "n03706221": 3}},
    ),
    "https://github.com/BMEII-AI/RadImageNet/issues/17": (
        {
            f"{kind}/{part}/{finding}/{i}.png": PNG
            for kind, part in (("CT", "lung"), ("MR", "foot"))
            for finding in (f"{part}_cyst", f"{part}_normal")
            for i in range(2)
        },
        {"all": {"CT": 4, "MR": 4}},
    ),
}
"""Situations from public reports, by the report."""
