"""Kinds of image files."""

import struct
import sys
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageCms, ImageOps
from support.sources import PNG, encoded, ramp

from distalex.data import images

# Kinds of image files: what Pillow, asked by hand, makes of the same image.

GREY16 = Image.fromarray(np.asarray(ramp().convert("L")).astype(np.uint16) * 257)
KINDS: dict[str, tuple[Callable[[], bytes], float]] = {  # and the largest mean difference from `ramp`, on 0..255
    "png": (lambda: PNG, 0),
    "progressive jpeg": (lambda: encoded(ramp(), "JPEG", progressive=True, quality=95), 2),
    "cmyk jpeg": (lambda: encoded(ramp().convert("CMYK"), "JPEG", quality=95), 2),
    "palette": (lambda: encoded(ramp().quantize(256), "PNG"), 6),
    "transparent, opaque here": (lambda: encoded(ramp().convert("RGBA"), "PNG"), 0),
    "webp": (lambda: encoded(ramp(), "WEBP", lossless=True), 0),
    "tiff": (lambda: encoded(ramp(), "TIFF", compression="tiff_lzw"), 0),
    "first of an animation": (lambda: encoded(ramp(), "PNG", save_all=True, append_images=[ramp().rotate(180)]), 0),
    "animated gif": (lambda: encoded(ramp(), "GIF", save_all=True, append_images=[ramp().rotate(180)]), 8),
    "jpeg 2000": (lambda: encoded(ramp(), "JPEG2000"), 1),
    "avif": (lambda: encoded(ramp(), "AVIF", quality=95), 3),
    "broken exif": (lambda: encoded(ramp(), "JPEG", quality=95, exif=b"Exif\0\0MM\0\x2a\xff\xff\xff\xff"), 2),
}
GREYS: dict[str, tuple[Callable[[], bytes], float]] = {
    "grey": (lambda: encoded(ramp().convert("L"), "PNG"), 0),
    "grey and alpha": (lambda: encoded(ramp().convert("LA"), "PNG"), 0),
    "16 bits png": (lambda: encoded(GREY16, "PNG"), 0),
    "16 bits tiff": (lambda: encoded(GREY16, "TIFF"), 0),
    "fractions": (lambda: encoded(Image.fromarray(np.asarray(ramp().convert("L")).astype(np.float32) / 255), "TIFF"), 0),
    "32 bits": (lambda: encoded(Image.fromarray(np.asarray(ramp().convert("L")).astype(np.int32) * 257), "TIFF"), 0),
}


def seen(content: bytes, side: int = 48) -> np.ndarray:
    return images.square(images.open_image(content), side).astype(float)


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_images_are_the_rgb_that_a_person_sees(kind):
    make, tolerance = KINDS[kind]
    assert np.abs(seen(make()) - seen(PNG)).mean() <= tolerance


@pytest.mark.parametrize("kind", GREYS)
def test_kinds_of_grey_are_grey(kind):
    make, tolerance = GREYS[kind]
    assert np.abs(seen(make()) - seen(encoded(ramp().convert("L").convert("RGB"), "PNG"))).mean() <= tolerance


def test_lab_is_converted():
    lab = ImageCms.profileToProfile(ramp(), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB")
    assert np.abs(seen(encoded(lab, "TIFF")) - seen(PNG)).mean() < 2  # 8 bits of each


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_a_turned_camera_makes_upright_images(kind, orientation):
    """Stored as the tag says it was taken: undone by the inverse of what viewers do."""
    inverse = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # transpositions of Pillow, by the tag's value
    stored = ramp() if orientation == 1 else ramp().transpose(Image.Transpose(inverse[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 98}, "WEBP": {"lossless": True}}.get(kind, {})
    assert np.abs(seen(encoded(stored, kind, exif=exif, **options)) - seen(PNG)).mean() < 3


def test_see_through_is_white():
    assert (seen(encoded(Image.new("RGBA", (9, 9), (0, 0, 0, 0)), "PNG")) == 255).all()
    palette = Image.new("P", (9, 9), 0)
    assert (seen(encoded(palette, "GIF", transparency=0)) == 255).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 3)])
def test_tiny_and_thin_images_fill_the_square(size):
    assert np.array_equal(seen(encoded(Image.new("RGB", size, (9, 80, 200)), "PNG"), 16), np.broadcast_to([9.0, 80.0, 200.0], (16, 16, 3)))


def test_a_huge_jpeg_is_decoded_small_and_looks_the_same():
    """20,000 pixels wide: decoded at an eighth, which is within 2 of 255 of the whole."""
    huge = ramp(200, 80).resize((20_000, 8_000), Image.Resampling.BICUBIC)
    content = encoded(huge)
    expected = np.asarray(ImageOps.fit(huge, (256, 256), Image.Resampling.BICUBIC)).astype(float)
    opened = images.open_image(content)
    assert np.abs(images.square(opened, 256) - expected).mean() < 2
    assert opened.size == (2500, 1000)


def with_chunk(kind: bytes, data: bytes) -> bytes:
    chunk = struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    return PNG[:33] + chunk + PNG[33:]


@pytest.mark.parametrize(
    ("kind", "data"),
    [
        (b"zTXt", b"Raw profile\0\0" + zlib.compress(bytes(3_000_000))),
        (b"iTXt", b"parameters\0\1\0\0\0" + zlib.compress(b"prompt " * 300_000)),
        (b"iCCP", b"icc\0\0" + zlib.compress(bytes(2_000_000))),
        (b"tEXt", b"Comment\0" + bytes(b"x" * 70_000_000)),
    ],
)
def test_a_png_with_a_long_text_or_profile_is_whole(kind, data):
    assert (seen(with_chunk(kind, data)) == seen(PNG)).all()


def test_a_tiff_of_many_bands_is_named_as_such():
    tags = struct.pack("<HHIHH", 277, 3, 1, 13, 0)
    with pytest.raises(OSError, match="a TIFF of 13 bands"):
        images.open_image(b"II*\0" + struct.pack("<IH", 8, 1) + tags + bytes(4))


def test_heic_is_read_with_the_package_that_reads_it_and_named_without(tmp_path, monkeypatch):
    heic = b"\0\0\0\x18ftypheic" + bytes(40)
    with pytest.raises(OSError, match="HEIC, which is not read without a package: pip install pillow-heif"):
        images.open_image(heic)
    module = (
        "from PIL import Image, ImageFile\n"
        "class Heic(ImageFile.ImageFile):\n"
        "    format = 'HEIF'\n"
        "    def _open(self): self._size, self._mode, self.tile = (9, 9), 'RGB', []\n"
        "def register_heif_opener(): Image.register_open('HEIF', Heic, lambda start: start[4:8] == b'ftyp')\n"
    )
    (tmp_path / "pillow_heif.py").write_text(module)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    try:
        assert images.open_image(heic).format == "HEIF"
    finally:
        sys.modules.pop("pillow_heif", None)
