"""Which pictures of which classes a tree of files holds, recognised by its names: class folders, ImageNet's layouts, WebDataset's pairs.

Each layout gives its splits: `train` and `test`, or `all` where there is no test set.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from io import BytesIO
from itertools import takewhile
from typing import NamedTuple

from distalex.data.images import is_picture
from distalex.data.sources.archives import Files, printable
from distalex.errors import UserError


class Sample(NamedTuple):
    name: str
    """Of the file, in its tree."""
    label: str
    """The class."""


Splits = dict[str, list[Sample]]

SYNSET = re.compile(r"n\d{8}")
VALIDATION = re.compile(r"ILSVRC2012_val_\d{8}\.", re.IGNORECASE)
TRAIN, TEST = ("train", "training"), ("test", "val", "valid", "validation", "testing")
LABEL_SUFFIXES = (".cls", ".json", ".txt")
IMAGENETS_LABELS = (
    "LOC_val_solution.csv",
    "imagenet_2012_validation_synset_labels.txt",
    "ILSVRC2012_validation_ground_truth.txt",
    "val.txt",
)


def recognise(files: Files, labels: str | None = None) -> Splits:
    """The labelled pictures of `files`. `labels` names a file with the classes of ImageNet's validation pictures.

    Raises UserError, saying what was found, where no layout fits.
    """
    pictures = [name for name in files.names if is_picture(name)]
    if not pictures:
        found = f", e.g. {printable(files.names[0])}" if files.names else ""
        raise UserError(f"data.root={files.origin}: none of its {len(files.names):,} files is a picture (.jpg, .png, …){found}")
    if _is_webdataset(files, pictures):
        return webdataset(files)
    prefix = _common_folder(pictures)
    tops = _folders_of(pictures, prefix)
    train = _named(files, tops, TRAIN)
    if train and any(_split_word(files, top) in TEST for top in tops):
        return _with_test_set(files, pictures, prefix, train, tops, labels)
    if labels:
        raise UserError(f"data.labels={labels}: {files.origin} has no train/ and val/ with ImageNet's validation pictures; leave it out")
    if not tops:
        return {"all": _flat(files, pictures, prefix)}
    only = train if train and len(tops) == 1 else None
    return {"all": _class_folders(files, pictures, f"{prefix}{only}/" if only else prefix)}


def _common_folder(names: Sequence[str]) -> str:
    """The folder that all names begin with, with its slash."""
    first, last = min(names).split("/")[:-1], max(names).split("/")[:-1]
    shared = [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False))]
    return "".join(f"{folder}/" for folder in shared)


def _folders_of(names: Iterable[str], prefix: str) -> list[str]:
    """Folders directly below `prefix` that hold one of `names`, in order."""
    start = len(prefix)
    return sorted({name[start : name.index("/", start)] for name in names if name.startswith(prefix) and "/" in name[start:]})


def _split_word(files: Files, folder: str) -> str | None:
    """The word for a split that a folder's name is, or that an archive's has in it: `train` of ILSVRC2012_img_train or train-0001."""
    words = re.split(r"[-_.]+", folder.lower()) if files.archives else [folder.lower()]
    return next((word for word in reversed(words) if word in TRAIN + TEST), None)


def _named(files: Files, folders: Iterable[str], words: Sequence[str]) -> str | None:
    """The folder that is named for a split; where several are, the one of the earliest word and the plainest name."""
    candidates = [(words.index(word), len(folder), folder) for folder in folders if (word := _split_word(files, folder)) in words]
    return min(candidates)[2] if candidates else None


def _with_test_set(files: Files, pictures: list[str], prefix: str, train: str, tops: list[str], labels: str | None) -> Splits:
    samples = _class_folders(files, pictures, f"{prefix}{train}/")
    unlabelled = []
    for word in TEST:
        for folder in (top for top in tops if _split_word(files, top) == word):
            inside = [name for name in pictures if name.startswith(f"{prefix}{folder}/")]
            if _folders_of(inside, f"{prefix}{folder}/"):
                return {"train": samples, "test": _class_folders(files, inside, f"{prefix}{folder}/", alone=False)}
            if VALIDATION.match(os.path.basename(inside[0])):
                return {"train": samples, "test": _validation(files, inside, labels, sorted({sample.label for sample in samples}))}
            unlabelled.append(folder)
    raise UserError(
        f"data.root={files.origin}: {unlabelled[0]}/ holds pictures without class folders; sort them into {unlabelled[0]}/CLASS/, "
        "or take that folder away to hold out a part of the training pictures"
    )


def _class_folders(files: Files, pictures: Iterable[str], prefix: str, alone: bool = True) -> list[Sample]:
    """`CLASS/picture` below `prefix`; nested folders belong to the class above them."""
    start = len(prefix)
    samples, flat = [], []
    for name in pictures:
        if name.startswith(prefix):
            class_, slash, _ = name[start:].partition("/")
            if slash:
                samples.append(Sample(name, class_name(class_)))
            else:
                flat.append(name)
    classes = sorted({sample.label for sample in samples})
    if not samples and flat:
        return _flat(files, flat, prefix)
    if len(classes) < 2 and alone:
        found = f"only {classes[0]}/" if classes else "none"
        place = f"{files.origin}/{prefix.rstrip('/')}" if prefix else files.origin
        raise UserError(f"data.root={place}: two or more class folders of pictures are needed (CLASS/*.jpg), found {found}")
    _refuse_empty(files, prefix, set(classes))
    return samples


def class_name(folder: str) -> str:
    """A class's name: the folder's, composed, so that é of a Mac's disk is é of a Linux one's."""
    return unicodedata.normalize("NFC", printable(folder))


def _refuse_empty(files: Files, prefix: str, classes: set[str]) -> None:
    """A class folder whose files are all something else is a mistake."""
    for folder in _folders_of(files.names, prefix):
        if class_name(folder) not in classes:
            raise UserError(f"data.root={files.origin}: class folder {prefix}{printable(folder)}/ holds no picture; remove it or fill it")


def _flat(files: Files, pictures: Sequence[str], prefix: str) -> list[Sample]:
    """`n01440764_tench.JPEG`: the class is the name without a number at its end; a synset with several words is the synset."""
    stems = [os.path.splitext(name[len(prefix) :])[0] for name in pictures]
    if not all(SYNSET.match(stem) for stem in stems):
        odd = next(name for name, stem in zip(pictures, stems, strict=True) if not SYNSET.match(stem))
        only = f" (only {prefix.rstrip('/').rpartition('/')[2]}/)" if prefix else ""
        raise UserError(
            f"data.root={files.origin}: two or more class folders of pictures are needed (CLASS/*.jpg){only}, or names that begin with "
            f"ImageNet's synsets (n01440764_….JPEG), or a table of paths and labels (.csv); found {printable(odd)}"
        )
    words = defaultdict(set)
    for stem in stems:
        words[stem[:9]].add(re.sub(r"_?\d*$", "", stem[9:]))
    names = {synset: synset + min(found) if len(found) == 1 else synset for synset, found in words.items()}
    if len(names) < 2:
        raise UserError(f"data.root={files.origin}: pictures of two or more classes are needed, found only {next(iter(names.values()))}")
    return [Sample(name, names[stem[:9]]) for name, stem in zip(pictures, stems, strict=True)]


def _validation(files: Files, pictures: list[str], labels: str | None, synsets: list[str]) -> list[Sample]:
    """ImageNet's validation pictures, whose classes stand in a file: Kaggle's CSV, the devkit's, or a list of synsets."""
    beside = [name for wanted in IMAGENETS_LABELS for name in files.names if os.path.basename(name) == wanted]
    if labels:
        place = labels
        try:
            with open(labels, "rb") as file:
                content = file.read()
        except OSError as error:
            raise UserError(f"data.labels={labels}: cannot be read ({error.strerror}); name the file with the validation labels") from None
    elif beside:
        place, content = files.where(beside[0]), files.read(beside[0])
    else:
        raise UserError(
            f"data.root={files.origin}: nothing says which classes its validation pictures are of; put {IMAGENETS_LABELS[0]} or the "
            f"devkit's {IMAGENETS_LABELS[2]} and meta.mat there, or name a file with --data.labels=FILE"
        )
    by_picture = _labels_of_validation(content, place, [os.path.basename(name) for name in sorted(pictures)], synsets, _meta(files))
    known = {synset[:9]: synset for synset in synsets}  # with words, where the training classes have such
    samples = []
    for name in pictures:
        label = by_picture.get(os.path.splitext(os.path.basename(name))[0])
        if label is None or label not in known:
            says = "nothing" if label is None else f"{label}, which is none of the {len(synsets):,} training classes,"
            raise UserError(f"{place}: says {says} of {os.path.basename(name)}; use the file of the same ImageNet release")
        samples.append(Sample(name, known[label]))
    return samples


def _labels_of_validation(content: bytes, place: str, names: list[str], synsets: list[str], meta: dict[int, str] | None) -> dict[str, str]:
    lines = [line.strip() for line in content.decode("utf-8", "replace").splitlines() if line.strip()]
    rows = [re.split(r"[\s,]+", line) for line in lines if not line.startswith("ImageId")]
    if rows and len(rows[0]) == 1:
        if len(rows) != len(names):
            raise UserError(f"{place}: {len(rows):,} lines for {len(names):,} validation pictures; a line a picture is needed")
        rows = [[name, row[0]] for name, row in zip(names, rows, strict=True)]
    short = next((number for number, row in enumerate(rows, 1) if len(row) < 2), None)
    if short:
        raise UserError(f"{place}, row {short}: a picture without a class: {rows[short - 1][0][:60]}; complete it")
    from_zero = any(row[1] == "0" for row in rows)
    found = {}
    for number, row in enumerate(rows, 1):
        label = row[1]
        if label.isdigit() and from_zero:
            label = synsets[int(label)][:9] if int(label) < len(synsets) else label
        elif label.isdigit():
            if meta is None:
                raise UserError(
                    f"{place}: its numbers are the devkit's own; put the devkit's meta.mat beside it, which names their synsets"
                )
            label = meta.get(int(label), label)
        if not SYNSET.fullmatch(label):
            raise UserError(f"{place}, line {number}: {label} is no class; a synset such as n01440764 or a number is needed")
        found[os.path.splitext(row[0])[0]] = label
    return found


def _meta(files: Files) -> dict[int, str] | None:
    """The devkit's numbers of synsets."""
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


def _is_webdataset(files: Files, pictures: Sequence[str]) -> bool:
    """Whether most of the first pictures have a label file beside them that differs in its suffix alone.

    In class folders a .txt or .json is a caption or something else; the folder is the class.
    """
    flat = files.archives or len({os.path.dirname(name) for name in pictures[:1000]}) == 1
    suffixes = LABEL_SUFFIXES if flat else LABEL_SUFFIXES[:1]
    others = {name for name in files.names if name.lower().endswith(suffixes)}
    keys = [_key(name) for name in pictures[:16]]
    return 2 * sum(any(key + suffix in others for suffix in suffixes) for key in keys) > len(keys)


def _key(name: str) -> str:
    """WebDataset's key of a file: its path up to the first dot of its name."""
    folder, slash, base = name.rpartition("/")
    return folder + slash + base.partition(".")[0]


def webdataset(files: Files) -> Splits:
    """Pairs `KEY.jpg` and `KEY.cls`, `KEY.json` (its `label`, `cls` or `class`) or `KEY.txt`; splits by the shards' names.

    Raises UserError where a picture has no label.
    """
    groups: dict[str, dict[str, str]] = defaultdict(dict)
    for name in files.names:
        key = _key(name)
        groups[key][name[len(key) :].lower()] = name
    labelled: list[tuple[str, str]] = []
    for parts in groups.values():
        picture = next((name for suffix, name in parts.items() if is_picture(suffix)), None)
        if picture is not None:
            labelled.append((picture, _label_of_pair(files, picture, parts)))
    if not labelled:
        raise UserError(f"data.root={files.origin}: no pairs of KEY.jpg and KEY.cls are there; WebDataset's shards have them")
    splits: Splits = defaultdict(list)
    for name, label in labelled:
        word = next((word for part in name.split("/")[:-1] if (word := _split_word(files, part))), None)
        splits["train" if word in TRAIN else "test" if word in TEST else "all"].append(Sample(name, label))
    if set(splits) == {"train", "test"}:
        return dict(splits)
    return {"all": [sample for split in splits.values() for sample in split]}


def _label_of_pair(files: Files, picture: str, parts: dict[str, str]) -> str:
    for suffix in LABEL_SUFFIXES:
        if suffix not in parts:
            continue
        name = parts[suffix]
        try:
            text = files.read(name).decode("utf-8").strip()
            if suffix == ".json":
                values = json.loads(text)
                value = next(values[key] for key in ("label", "cls", "class", "label_name") if key in values)
                if isinstance(value, bool) or not isinstance(value, str | int):
                    raise ValueError(f"a word or a number is needed, found {json.dumps(value)[:40]}")
                text = str(value)
        except (OSError, UnicodeDecodeError, ValueError, TypeError, StopIteration) as error:
            raise UserError(
                f"{files.where(name)}: holds no label ({str(error) or 'no key label, cls or class'}); mend it or leave it out"
            ) from None
        if text and "\n" not in text:
            return text
        raise UserError(f"{files.where(name)}: a label is one line of text, found {text[:40]!r}")
    raise UserError(f"{files.where(picture)}: has no label beside it ({', '.join(LABEL_SUFFIXES)}); add one or leave the picture out")


def classes_of(splits: Splits, origin: str) -> tuple[str, ...]:
    """The classes in order: numbers by size, else by name. Raises UserError for one class, or for splits that differ in theirs."""
    counts = {split: Counter(sample.label for sample in samples) for split, samples in splits.items()}
    whole = set().union(*counts.values())
    classes = ordered(whole)
    if len(classes) < 2:
        raise UserError(f"data.root={origin}: pictures of two or more classes are needed, found only {classes[0]}")
    if "test" in counts and set(counts["train"]) != set(counts["test"]):
        odd = [class_ for class_ in classes if (class_ in counts["train"]) != (class_ in counts["test"])]
        raise UserError(f"data.root={origin}: the training and the test pictures differ in their classes: {', '.join(odd[:5])}")
    return classes


def ordered(classes: Iterable[str]) -> tuple[str, ...]:
    listed = sorted(classes)
    if all(re.fullmatch(r"-?\d+", class_) for class_ in listed):
        listed.sort(key=int)
    return tuple(listed)
