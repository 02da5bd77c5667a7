"""Decoding an image file, of any kind, to upright RGB as a viewer shows it.

Colour profiles are not applied. Of an animation the first frame is taken.
"""

from __future__ import annotations

import warnings
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


def is_image(name: str) -> bool:
    """Whether a file is named as an image."""
    return name.lower().endswith(SUFFIXES)


def open_image(content: bytes) -> Image.Image:
    """The image in a file's bytes, not decoded yet. Raises OSError, with the reason, where there is none."""
    try:
        image = Image.open(BytesIO(content))
    except UNREADABLE as error:
        raise OSError(_what_else(content) or f"damaged: {_words(error)}") from None
    if image.width * image.height > LARGEST:
        raise OSError(f"{image.width:,}x{image.height:,} pixels; more than {LARGEST:,} are refused as a decompression bomb")
    return image


def _what_else(content: bytes) -> str:
    """What bytes are that Pillow cannot open, where that is recognised; else an empty text."""
    start = content[:256].lstrip().lower()
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
    if start[4:12] in (b"ftypheic", b"ftypheix", b"ftypmif1"):
        return "HEIC, which is not read; convert it to JPEG"
    known = start.startswith((b"\xff\xd8", b"\x89png", b"gif8", b"bm", b"ii*\0", b"mm\0*", b"riff"))
    return "" if known else "not a known image format"


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
