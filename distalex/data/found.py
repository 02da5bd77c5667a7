"""What was recognised at a root, as a value and as the lines that are printed before any work."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from distalex.data.files.tree import printable
from distalex.data.source import Source

LISTED = 12
"""Classes that are listed; of more the first and the last ones."""
EXAMPLES = 3
"""Files that are named of those left out for one reason."""


@dataclass(frozen=True)
class Found:
    """The labelled images that lie at a root."""

    layout: str
    """How they lie there, by name."""
    place: str
    """Where they were found."""
    sources: tuple[Source, ...]
    """Training and test split, or all images where there is no test set."""
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Files that are left out, by reason."""
    notes: Sequence[str] = ()
    """Further lines for people."""

    def describe(self) -> str:
        """Lines with the layout, its place, the images of each split, the classes with their counts, and what is left out."""
        classes = self.sources[0].classes
        counts = [Counter(source.labels.tolist()) for source in self.sources]
        images = ", ".join(f"{len(source):,} {describe_split(source.split)}" for source in self.sources)
        lines = [f"found {self.layout} at {printable(self.place)}", f"  images   {images}"]
        lines.append(f"  classes  {describe_classes(classes, [[count[label] for count in counts] for label in range(len(classes))])}")
        for reason, names in self.left_out.items():
            shown = ", ".join(map(printable, names[:EXAMPLES]))
            lines.append(f"  left out {len(names):,}: {reason} ({shown}{', …' if len(names) > EXAMPLES else ''})")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])


def describe_split(split: str) -> str:
    """Name the images of a split: `training`, `test`, or `without a test set`."""
    return {"train": "training", "all": "in all, without a test set"}.get(split, split)


def describe_classes(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """List classes with their images in each split, e.g. `2: cat (8 + 4), dog (8 + 4)`; of many the first and last ones."""
    named = [f"{class_} ({' + '.join(f'{number:,}' for number in row)})" for class_, row in zip(classes, counts, strict=True)]
    if len(named) > LISTED:
        named = [*named[: LISTED // 2], "…", *named[-LISTED // 3 :]]
    return f"{len(classes):,}: {', '.join(named)}"
