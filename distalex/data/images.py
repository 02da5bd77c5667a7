"""Decoding an image file, of any kind, to upright RGB as a viewer shows it.

Colour profiles are not applied. Of an animation the first frame is taken.
"""

from __future__ import annotations

import importlib
import struct
import warnings
from importlib.util import find_spec
from io import BytesIO

import numpy as np
from PIL import Image, ImageCms, ImageOps

SUFFIXES = (
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".dib", ".webp", ".gif", ".tif", ".tiff"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".tga", ".jp2", ".avif", ".ico"),
)
LARGEST = 2**29
"""Pixels, as a square of 23,170. A file that decodes to more is refused as a decompression bomb."""

UNREADABLE = (OSError, SyntaxError, ValueError, TypeError, OverflowError, KeyError, IndexError, EOFError)
"""What Pillow raises for a file that is not an image or a damaged one."""

Image.MAX_IMAGE_PIXELS = None  # `open_image` checks, and names the size; Pillow's own limits would stop real panoramas
warnings.filterwarnings("ignore", module="PIL")  # on broken EXIF and the like, once for each file of a large set


PLUGINS = {"HEIC": ("pillow_heif", "pillow-heif"), "JPEG XL": ("pillow_jxl", "pillow-jxl-plugin")}
"""Packages that teach Pillow kinds of images: the module, and what pip calls it. One that is installed is used."""
STARTS = {
    "a JPEG": (b"\xff\xd8\xff",),
    "a PNG": (b"\x89PNG\r\n\x1a\n",),
    "a GIF": (b"GIF87a", b"GIF89a"),
    "a TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    "JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"),
    "JPEG 2000": (b"\0\0\0\x0cjP  \r\n\x87\n",),
}
"""How files of each kind begin."""


def is_image(name: str) -> bool:
    """Whether a file is named as an image."""
    return name.lower().endswith(SUFFIXES)


def kind_of_image(head: bytes) -> str:
    """Tell from the first bytes of a file what image it is; an empty text where it is none that is known."""
    if head[4:8] == b"ftyp":
        return "HEIC" if head[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1") else "AVIF" * (head[8:11] == b"avi")
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    if head[:2] == b"BM" and head[6:10] == bytes(4):
        return "a BMP"
    return next((kind for kind, starts in STARTS.items() if head.startswith(starts)), "")


def is_read(kind: str) -> bool:
    """Whether images of a kind, as `kind_of_image` names it, can be read: always, or with a package that is installed."""
    return bool(kind) and (kind not in PLUGINS or find_spec(PLUGINS[kind][0]) is not None)


def open_image(content: bytes) -> Image.Image:
    """The image in a file's bytes, not decoded yet. Raises OSError, with the reason, where there is none."""
    try:
        image = _opened(content)
    except UNREADABLE as error:
        raise OSError(_what_else(content) or f"damaged: {_words(error)}") from None
    if image.width * image.height > LARGEST:
        raise OSError(f"{image.width:,}x{image.height:,} pixels; more than {LARGEST:,} are refused as a decompression bomb")
    return image


def _opened(content: bytes) -> Image.Image:
    kind = kind_of_image(content[:32])
    if kind in PLUGINS and is_read(kind):
        plugin = importlib.import_module(PLUGINS[kind][0])
        getattr(plugin, "register_heif_opener", lambda: None)()
    try:
        return Image.open(BytesIO(content))
    except UNREADABLE:
        if kind != "a PNG":
            raise
        return Image.open(BytesIO(_without_texts(content)))  # Pillow refuses a text or a profile that unpacks to over 1 MiB


def _without_texts(content: bytes) -> bytes:
    """A PNG without its texts and colour profile, which are not used."""
    kept, at = [content[:8]], 8
    while at + 12 <= len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        if content[at + 4 : at + 8] not in (b"tEXt", b"zTXt", b"iTXt", b"iCCP"):
            kept.append(content[at:end])
        at = end
    return b"".join(kept)


def _what_else(content: bytes) -> str:
    """What bytes are that Pillow cannot open, where that is recognised; else an empty text."""
    start = content[:256].lstrip().lower()
    kind = kind_of_image(content[:32])
    if not content:
        return "an empty file"
    if not content.strip(b"\0"):
        return "nothing but zero bytes"
    if start.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer; fetch the file itself with: git lfs pull"
    if start.startswith((b"<!doctype", b"<html")):
        return "a web page, perhaps of a failed download"
    if start.startswith((b"<svg", b"<?xml")):
        return "a drawing or XML, not pixels"
    if start.startswith((b"%pdf", b"pk\3\4", b"\x1f\x8b")):
        return "a PDF or an archive"
    if kind in PLUGINS:
        return f"{kind}, which is not read without a package: pip install {PLUGINS[kind][1]}, or convert it to JPEG"
    if (bands := _bands(content)) > 4:
        return f"a TIFF of {bands} bands, of which Pillow reads 1 to 4; write three of them as RGB (of EuroSAT, take the RGB release)"
    return "" if kind or start.startswith((b"\xff\xd8", b"bm", b"riff")) else "not a known image format"


def _bands(content: bytes) -> int:
    """Samples per pixel of a TIFF file; 0 where it says nothing of them."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
    try:
        if order is None:
            return 0
        (at,) = struct.unpack_from(f"{order}I", content, 4)
        (count,) = struct.unpack_from(f"{order}H", content, at)
        tags = (struct.unpack_from(f"{order}HHIH", content, at + 2 + 12 * number) for number in range(count))
        return next((value for tag, _, _, value in tags if tag == 277), 0)
    except struct.error:
        return 0


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text if text and "BytesIO" not in text else "its header cannot be read"


def square(image: Image.Image, side: int, resize: str = "short_side") -> np.ndarray:
    """(side, side, 3) uint8, upright RGB. Raises OSError where the image cannot be decoded.

    `short_side` scales the short side to `side` and keeps the central square (Section 2); `max_side` scales the long side to
    `side` and keeps the whole image, in the middle of a black square.
    """
    image = upright_rgb(image, side)
    if image.size == (side, side):
        return np.asarray(image)
    fit = ImageOps.pad if resize == "max_side" else ImageOps.fit
    return np.asarray(fit(image, (side, side), Image.Resampling.BICUBIC))


def upright_rgb(image: Image.Image, side: int | None = None) -> Image.Image:
    """The image decoded to upright RGB; a JPEG much larger than `side` is decoded at a fraction of its size.

    Raises OSError with the reason where it is damaged.
    """
    try:
        if side is not None and image.format == "JPEG" and min(image.size) >= 4 * side:
            image.draft(image.mode, (2 * side, 2 * side))  # decoded at 1/2, 1/4 or 1/8: a tenth of the time and memory
        image.load()
        return _rgb(_upright(image))
    except (*UNREADABLE, MemoryError, ImageCms.PyCMSError) as error:
        raise OSError(f"damaged: {_words(error)}") from None


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image) or image
    except Exception:  # broken EXIF has no orientation
        return image


def _rgb(image: Image.Image) -> Image.Image:
    mode = image.mode
    if mode.startswith("I") or mode == "F":
        image = _eight_bits(image)
    elif mode == "LAB":
        profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, *profiles, outputMode="RGB") or image
    elif mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        image = image.convert("LA").convert("RGBA") if mode == "La" else image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits, or of fractions, scaled to 0..255, where Pillow would clip at 255."""
    values = np.asarray(image).astype(np.float64)
    if not np.isfinite(values).all():
        raise ValueError("pixels that are not numbers")
    low, high = float(values.min(initial=0)), float(values.max(initial=0))
    if image.mode == "F" and high <= 1 and low >= 0:
        values *= 255
    elif image.mode in ("F", "I") and high <= 255 and low >= 0:
        pass
    elif low >= 0 and high <= 65535:
        values /= 257
    else:
        values = (values - low) * (255 / max(high - low, 1e-12))
    return Image.fromarray(np.round(values).astype(np.uint8))
