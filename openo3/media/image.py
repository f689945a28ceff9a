"""Still pictures: the size that they have for the model, reading them, writing them as JPEG."""

from __future__ import annotations

import io
from math import sqrt
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from openo3.media.container import MediaError
from openo3.media.probe import IMAGE_FORMATS


def fit_size(width: int, height: int, max_pixels: int, multiple: int) -> tuple[int, int]:
    """`(W, H)` for the model: sides multiples of `multiple`, area at most `max_pixels`, shape as it was.

    As Qwen's `smart_resize` (qwen-vl-utils), which then leaves the result alone. Deviation: the budget holds
    for very long shapes too, where rounding the short side up to one multiple would break it.

        >>> fit_size(160, 120, 128 * 96, 32), fit_size(1000, 10, 12288, 32)
        ((128, 96), (384, 32))
    """
    if multiple * multiple > max_pixels:
        raise ValueError(f"max_pixels {max_pixels} is less than one square of {multiple}")
    sides = [max(multiple, round(side / multiple) * multiple) for side in (width, height)]
    if sides[0] * sides[1] > max_pixels:
        scale = sqrt(max_pixels / (width * height))
        sides = [max(multiple, int(side * scale / multiple) * multiple) for side in (width, height)]
    longest = max_pixels // min(sides) // multiple * multiple
    return min(sides[0], longest), min(sides[1], longest)


def open_image(path: Path, size: tuple[int, int]) -> Image.Image:
    """A still image as RGB of `size`: upright by its EXIF orientation, transparency on white.

    Raises `MediaError`.
    """
    try:
        with Image.open(path, formats=IMAGE_FORMATS) as image:
            return resize(_rgb(ImageOps.exif_transpose(image)), size)
    except FileNotFoundError:
        raise MediaError("missing", path.name) from None
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise MediaError("unreadable", f"{path.name}: {error}"[:200]) from None


def to_jpeg(image: Image.Image, quality: int) -> bytes:
    """Without chroma subsampling: small coloured things keep their edges."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, subsampling=0)
    return file.getvalue()


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits of grey; Pillow's own conversion would clip at 255
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    return image.convert("RGB")


def resize(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Bicubic over the whole area that a new pixel stands for, as Qwen's processor does."""
    return image if image.size == size else image.resize(size, Image.Resampling.BICUBIC)
