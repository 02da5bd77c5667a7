"""Images labelled or split by tables that lie beside them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from distalex.data.layouts.file_names import class_in
from distalex.data.layouts.given import Given
from distalex.data.layouts.listing import Listing, named_listing, read_listings
from distalex.data.layouts.names import Layout, Sample, Splits
from distalex.data.layouts.published import names_of_classes
from distalex.errors import UserError


def label_by_tables(given: Given, known: Sequence[Sample] = ()) -> Layout:
    """Images with the classes of the tables beside them, or of the one that `data.labels` names; without splits where none has classes.

    `known` are images with the classes of their folders, whose names the tables may number. The notes say what was looked at.
    Raises UserError where tables contradict each other.
    """
    files, asked = given.files, given.asked
    notes: list[str] = []
    if asked.labels:
        listings = [named_listing(asked.labels, files, given.others, given.images, asked.columns)]
    else:
        listings, notes = read_listings(files, given.others, given.images, asked.columns)
    labelled = [listing for listing in listings if listing.labels]
    if not labelled:
        return Layout("", {}, {}, notes + [_without_label(listing) for listing in listings if not listing.splits])
    labels = _named(_merged(labelled), given, known)
    splits, split_notes = _merged_splits(listings)
    samples = {name: Sample(name, labels[name]) for name in given.images if name in labels}
    rest = [name for name in given.images if name not in labels]
    places = " and ".join(dict.fromkeys(os.path.basename(listing.name) for listing in labelled[:3]))
    missing = [
        f"{listing.missing:,} rows of {os.path.basename(listing.name)} name no image that is here"
        for listing in labelled
        if listing.missing
    ]
    title = f"images labelled by {places}{f' ({labelled[0].column})' * bool(labelled[0].column)}"
    return Layout(title, _apart(samples, splits), {f"without a class in {places}": rest} if rest else {}, [*split_notes, *missing])


def split_by_lists(given: Given, layout: Layout) -> Layout:
    """Class folders, split as lists beside them say; the same layout where none does, with a note on lists that are not used.

    Raises UserError where a table beside them has other classes than the folders.
    """
    listings, notes = read_listings(given.files, given.others, given.images, given.asked.columns)
    samples = {sample.name: sample for sample in layout.splits["all"]}
    for listing in listings:
        if listing.labels and listing.named:
            samples = _agreed(given, listing, samples)
    splits, split_notes = _merged_splits(listings)
    layout.notes += [*notes, *split_notes]
    apart = _apart(samples, splits)
    if len(apart) < 2:
        layout.splits = {"all": list(samples.values())}
        layout.notes += [
            f"not used: {os.path.basename(listing.name)}, which does not split the images" for listing in listings if listing.splits
        ]
        return layout
    used = {sample.name for part in apart.values() for sample in part}
    rest = [name for name in samples if name not in used]
    lists = " and ".join(dict.fromkeys(os.path.basename(listing.name) for listing in listings if listing.splits))
    left_out = layout.left_out | ({"not in the lists of the two splits": rest} if rest else {})
    return Layout(f"{layout.title}, split by {lists}", apart, left_out, layout.notes)


def _without_label(listing: Listing) -> str:
    return (
        f"{listing.place} names images, and none of its columns ({listing.columns}) is known as the class: choose one with "
        "data.columns=path:NAME,label:NAME"
    )


def _merged(labelled: list[Listing]) -> dict[str, str]:
    """Class by image of all tables. Raises UserError where two give an image different ones, and not only different names."""
    merged: dict[str, str] = {}
    for listing in labelled:
        both = {(merged[name], label) for name, label in listing.labels.items() if name in merged}
        renamed = {(one, other) for one, other in both if one != other}
        if not _one_to_one(both) or {one for one, _ in renamed} & {other for _, other in renamed}:
            one, other = min(renamed)
            others = [table.place for table in labelled if table is not listing]
            raise UserError(
                f"{listing.place}: gives images other classes than {others[0]} does, such as {other} for {one}; choose the table with "
                f"data.labels={listing.place}"
            )
        numbers = all(label.lstrip("-").isdigit() for label in listing.labels.values())
        merged = {**listing.labels, **merged} if numbers else {**merged, **listing.labels}
        if renamed:  # the same classes under other names
            names = dict(both) if not numbers else {other: one for one, other in both}
            merged = {name: names.get(label, label) for name, label in merged.items()}
    return merged


def _one_to_one(pairs: set[tuple[str, str]]) -> bool:
    return len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})


def _named(labels: dict[str, str], given: Given, known: Sequence[Sample]) -> dict[str, str]:
    """`labels` under the names of the class folders, or of another file, where a table only numbers them."""
    names = {labels[sample.name]: sample.label for sample in known if sample.name in labels}
    classes = {sample.label for sample in known}
    found = set(labels.values())
    if known and not found <= classes and all(label.isdigit() for label in classes | found):
        names |= {label: class_ for label in found for class_ in classes if int(label) == int(class_)}
    if not known and all(label.isdigit() for label in found):
        names = names_of_classes(given.files, given.others, found) or _names_in_paths(labels)
    return {name: names.get(label, label) for name, label in labels.items()}


def _names_in_paths(labels: Mapping[str, str]) -> dict[str, str]:
    """Names for numbered classes where the innermost folder is one for each, or the file's beginning, as of Oxford Pets; else empty."""
    for name_in in (lambda name: os.path.basename(os.path.dirname(name)), class_in):
        pairs = {(label, name_in(name)) for name, label in labels.items()}
        if _one_to_one(pairs) and all(class_ for _, class_ in pairs):
            return dict(pairs)
    return {}


def _merged_splits(listings: list[Listing]) -> tuple[dict[str, str], list[str]]:
    """Split by image of all lists; none, with a note, where lists of different splits share images."""
    merged: dict[str, str] = {}
    for listing in listings:
        both = [name for name, split in listing.splits.items() if merged.get(name, split) != split]
        if both:
            return {}, [
                f"splits not used: {len(both):,} images of {os.path.basename(listing.name)} are in another list too, e.g. {both[0]}"
            ]
        merged |= listing.splits
    return merged, []


def _apart(samples: Mapping[str, Sample], splits: Mapping[str, str]) -> Splits:
    """Samples by split, `val` only where there is no `test`; all together unless nine tenths of them are in a split."""
    words = {splits[name] for name in samples if name in splits}
    test = "test" if "test" in words else "val"
    if not {"train", test} <= words or sum(name in splits for name in samples) < 0.9 * len(samples):
        return {"all": list(samples.values())}
    return {
        "train": [sample for name, sample in samples.items() if splits.get(name) == "train"],
        "test": [sample for name, sample in samples.items() if splits.get(name) == test],
    }


def _agreed(given: Given, listing: Listing, samples: Mapping[str, Sample]) -> dict[str, Sample]:
    """`samples` of class folders, or with the classes of a table that go with the innermost folders.

    Raises UserError where a table of most images has other classes than either.
    """
    shared = [name for name in samples if name in listing.labels]
    if 2 * len(shared) < len(samples) or _one_to_one({(samples[name].label, listing.labels[name]) for name in shared}):
        return dict(samples)
    if _one_to_one({(os.path.dirname(name), listing.labels[name]) for name in shared}):
        return {name: Sample(name, listing.labels[name]) for name in shared}
    name = shared[0]
    raise UserError(
        f"data.root={given.files.origin}: {listing.place} ({listing.column}) has other classes than the folders, e.g. "
        f"{listing.labels[name]} for {name}; take its classes with data.labels={listing.place}, or those of folders such as "
        f"{samples[name].label}/ with data.class_from=top_folder"
    )
