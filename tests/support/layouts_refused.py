"""Tiny copies of the layouts that are refused, with words of the refusal; and situations from public reports."""

import json

from support.layout_files import AB, TIFF, TWO, Made, emnist, lines, zipped
from support.sources import CLASSES, JPEG, PNG, SPLITS, tar, write

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
        ("differ in their classes: cat has 1 training image and no test image", "remove the class"),
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
        ("differ in their classes: bee has 3 training images and no test image", "remove the class"),
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
