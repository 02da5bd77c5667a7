"""Tiny copies of the layouts that are read, with the images of each class by split; the rows of docs/layouts.md."""

import json

import numpy as np
from support.layout_files import (
    AB,
    LABELS6,
    TIFF,
    TWO,
    Made,
    aircraft,
    cars,
    cifar10_binary,
    cifar10_pickles,
    cub,
    dogs,
    dtd,
    emnist,
    flowers,
    food,
    gtsrb,
    gtsrb_of_kaggle,
    ham,
    hugging_face_imagenet,
    hugging_face_parquet,
    idx,
    inaturalist,
    kaggle_imagenet,
    lines,
    mat,
    npz,
    pets,
    pixels,
    places,
    sun,
    tiny_imagenet,
    zipped,
)
from support.sources import CLASSES, JPEG, PAIRS, PNG, SPLITS, tar, write

READ: dict[str, tuple[Made, dict[str, dict[str, int]]]] = {
    "Tiny ImageNet": (tiny_imagenet(), {"train": {"n00000000": 3, "n00000001": 3}, "test": {"n00000000": 2, "n00000001": 2}}),
    "ImageNet from Kaggle": (
        kaggle_imagenet(),
        {"train": {"n00000000": 3, "n00000001": 3}, "test": {"n00000000": 2, "n00000001": 2}},
    ),
    "ImageNet from Hugging Face": (
        hugging_face_imagenet,
        {"train": {"n00000000": 2, "n00000001": 2}, "test": {"n00000000": 1, "n00000001": 1}},
    ),
    "Imagenette, Imagewoof": (
        {f"imagenette2/{split}/n0000000{c}/{i}.JPEG": JPEG for split in ("train", "val") for c in range(2) for i in range(2)}
        | {"imagenette2/noisy_imagenette.csv": lines("path,noisy_labels_0,is_valid", "train/n00000000/0.JPEG,n00000001,False")},
        {"train": {"n00000000": 2, "n00000001": 2}, "test": {"n00000000": 2, "n00000001": 2}},
    ),
    "CIFAR-10 for Python": (
        cifar10_pickles(),
        {
            split: dict.fromkeys(("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"), count)
            for split, count in (("train", 10), ("test", 2))
        },
    ),
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
