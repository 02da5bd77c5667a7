"""Labels of ImageNet's validation images, which come in a file apart from them."""

from __future__ import annotations

import os
import re
from io import BytesIO
from pathlib import Path

from distalex.data.files.tree import Files
from distalex.data.layouts.names import Sample
from distalex.errors import UserError

SYNSET = re.compile(r"n\d{8}")
VALIDATION_IMAGE = re.compile(r"ILSVRC2012_val_\d{8}\.", re.IGNORECASE)
LABEL_FILES = (
    "LOC_val_solution.csv",
    "imagenet_2012_validation_synset_labels.txt",
    "ILSVRC2012_validation_ground_truth.txt",
    "val.txt",
)


def validation_samples(files: Files, images: list[str], labels: str | None, synsets: list[str]) -> list[Sample]:
    """Validation `images` with their classes, from the file `labels` or one beside them: Kaggle's CSV, the devkit's, or a list.

    `synsets` are the training classes. Raises UserError where there is no such file or it does not fit the images.
    """
    beside = [name for wanted in LABEL_FILES for name in files.names if os.path.basename(name) == wanted]
    if labels:
        place = labels
        try:
            content = Path(labels).read_bytes()
        except OSError as error:
            raise UserError(f"data.labels={labels}: cannot be read ({error.strerror}); name the file with the validation labels") from None
    elif beside:
        place, content = files.where(beside[0]), files.read(beside[0])
    else:
        raise UserError(
            f"data.root={files.origin}: no file has the classes of its validation images; put {LABEL_FILES[0]} or the "
            f"devkit's {LABEL_FILES[2]} and meta.mat there, or name a file with --data.labels=FILE"
        )
    by_image = _labels_of_validation(content, place, [os.path.basename(name) for name in sorted(images)], synsets, _meta(files))
    known = {synset[:9]: synset for synset in synsets}  # with words, where the training classes have such
    samples = []
    for name in images:
        label = by_image.get(os.path.splitext(os.path.basename(name))[0])
        if label is None or label not in known:
            found = "no class" if label is None else f"{label}, which is none of the {len(synsets):,} training classes,"
            raise UserError(f"{place}: has {found} for {os.path.basename(name)}; use the file of the same ImageNet release")
        samples.append(Sample(name, known[label]))
    return samples


def _labels_of_validation(content: bytes, place: str, names: list[str], synsets: list[str], meta: dict[int, str] | None) -> dict[str, str]:
    """Synset of each image by its name without suffix, from lines of a name and a class, or of a class for each of `names`."""
    lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip()]
    rows = [re.split(r"[\s,]+", line) for line in lines if not line.startswith("ImageId")]
    if rows and len(rows[0]) == 1:
        if len(rows) != len(names):
            raise UserError(f"{place}: {len(rows):,} lines for {len(names):,} validation images; one line per image is needed")
        rows = [[name, row[0]] for name, row in zip(names, rows, strict=True)]
    short = next((number for number, row in enumerate(rows, 1) if len(row) < 2), None)
    if short:
        raise UserError(f"{place}, row {short}: an image without a class: {rows[short - 1][0][:60]}; add its class")
    from_zero = any(row[1] == "0" for row in rows)
    found = {}
    for number, row in enumerate(rows, 1):
        label = row[1]
        if label.isdigit() and from_zero:
            label = synsets[int(label)][:9] if int(label) < len(synsets) else label
        elif label.isdigit():
            if meta is None:
                raise UserError(
                    f"{place}: its numbers are those of ImageNet's devkit; put the devkit's meta.mat beside it, which has their synsets"
                )
            label = meta.get(int(label), label)
        if not SYNSET.fullmatch(label):
            raise UserError(f"{place}, row {number}: {label} is not a class; a synset such as n01440764 or a number is needed")
        found[os.path.splitext(row[0])[0]] = label
    return found


def _meta(files: Files) -> dict[int, str] | None:
    """Synsets by the devkit's numbers, from its meta.mat; None where there is none."""
    name = next((name for name in files.names if os.path.basename(name) == "meta.mat"), None)
    if name is None:
        return None
    from scipy.io import loadmat

    try:
        synsets = loadmat(BytesIO(files.read(name)), squeeze_me=True)["synsets"]
        return {int(row["ILSVRC2012_ID"]): str(row["WNID"]) for row in synsets}
    except Exception as error:  # a MATLAB reader fails in many ways; the remedy is one
        raise UserError(
            f"{files.where(name)}: not the devkit's table of synsets ({' '.join(str(error).split())[:80]}); unpack it again"
        ) from None
