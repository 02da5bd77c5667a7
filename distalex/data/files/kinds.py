"""Tell files apart: images that are read, images and films that are not, and the rest; by name, or by content where a name says nothing."""

from __future__ import annotations

import os
from collections import defaultdict
from dataclasses import dataclass, field

from distalex.data.files.archives import is_archive
from distalex.data.files.tree import Files
from distalex.data.images import PLUGINS, SUFFIXES, is_image, is_read, kind_of_image

UNREAD = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "HEIC"),
    ".jxl": "JPEG XL",
    ".arrow": "Arrow files (write them with dataset.to_parquet(FILE))",
    **dict.fromkeys((".cr2", ".cr3", ".nef", ".arw", ".dng", ".orf", ".rw2", ".raf", ".pef", ".srw"), "a camera's raw files"),
    **dict.fromkeys((".svg", ".svgz", ".eps", ".ai", ".psd", ".xcf"), "drawings"),
    **dict.fromkeys((".dcm", ".nii", ".mha", ".exr", ".hdr"), "DICOM and other measured images"),
    **dict.fromkeys((".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg"), "films"),
    **dict.fromkeys((".rar", ".7z"), "archives to unpack"),
    **dict.fromkeys((".tfrecord", ".tfrec", ".h5", ".hdf5", ".lmdb", ".mdb"), "databases of images (TFRecord, HDF5, LMDB)"),
}
"""Kinds of files with images in them that are not read, by suffix."""
PLAIN = {
    *(".txt", ".csv", ".tsv", ".tab", ".json", ".jsonl", ".ndjson", ".xml", ".html", ".htm", ".md", ".rst", ".py"),
    *(".ipynb", ".sh", ".m", ".mat", ".npy", ".npz", ".pkl", ".pickle", ".parquet", ".yaml", ".yml", ".toml"),
    *(".cls", ".log", ".db", ".lst", ".list", ".names", ".data", ".cfg", ".ini", ".pt", ".pth", ".ckpt", ".onnx", ".tar"),
    *(".gz", ".tgz", ".bz2", ".xz", ".zip", ".bin", ".idx", ".pdf", ".doc", ".docx", ".xls", ".xlsx", ".ppt", ".url"),
    *(".md5", ".sha256", ".sha1", ".license", ".bib", ".tex", ".wav", ".mp3", ".js", ".css", ".c", ".cpp", ".h"),
    *(".manifest", ".torrent"),
}
"""Suffixes of files that hold no image, and are not opened to find out."""


@dataclass
class Kinds:
    """The files of a data set by what they are."""

    images: list[str] = field(default_factory=list)
    """Those that are read as images, in order."""
    unread: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    """Images and films that are not read, by a reason for people."""
    others: list[str] = field(default_factory=list)
    """Texts, tables and everything else."""


def sort_by_kind(files: Files) -> Kinds:
    """Sort files into images, images that are not read, and others; one whose name says nothing is opened."""
    kinds = Kinds()
    for name in files.names:
        suffix = os.path.splitext(name)[1].lower()
        if suffix in SUFFIXES:
            kinds.images.append(name)
        elif suffix in UNREAD:
            _sort_unread(kinds, name, UNREAD[suffix])
        elif suffix in PLAIN:
            (kinds.unread["archives to unpack"] if is_archive(name) else kinds.others).append(name)
        else:
            kind = _look(files, name)
            if kind and kind not in PLUGINS:
                kinds.images.append(name)
            elif kind:
                _sort_unread(kinds, name, kind)
            else:
                kinds.others.append(name)
    return kinds


def _sort_unread(kinds: Kinds, name: str, kind: str) -> None:
    if kind in PLUGINS and is_read(kind):
        kinds.images.append(name)
    elif kind in PLUGINS:
        kinds.unread[f"{kind}, which needs: pip install {PLUGINS[kind][1]}"].append(name)
    else:
        kinds.unread[f"{kind}, which are not read"].append(name)


def _look(files: Files, name: str) -> str:
    """What image a file is by its content."""
    try:
        return kind_of_image(files.head(name))
    except OSError:
        return ""


def without_suffix(name: str) -> str:
    """A name without the suffix of an image; a dot elsewhere in it stays."""
    return os.path.splitext(name)[0] if is_image(name) or os.path.splitext(name)[1].lower() in UNREAD else name
