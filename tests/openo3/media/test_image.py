"""Image sizes for the model, and still pictures of every kind."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from openo3.media.image import fit_size, open_image, to_jpeg
from openo3.media.probe import MediaError

sides = st.integers(1, 8000)


@given(sides, sides, st.sampled_from([16, 28, 32]), st.integers(32 * 32, 1 << 20))
def test_fit_size(width, height, multiple, max_pixels):
    fitted = fit_size(width, height, max_pixels, multiple)
    assert all(side >= multiple and side % multiple == 0 for side in fitted)
    assert fitted[0] * fitted[1] <= max_pixels
    assert fit_size(*fitted, max_pixels, multiple) == fitted, "Qwen's processor leaves it alone"


@pytest.mark.parametrize(
    ("size", "max_pixels", "multiple", "fitted"),
    [
        ((160, 120), 128 * 96, 32, (128, 96)),
        ((120, 160), 128 * 96, 32, (96, 128)),
        ((1920, 1080), 128 * 28 * 28, 28, (420, 224)),
        ((640, 480), 128 * 28 * 28, 28, (364, 252)),
        ((64, 48), 12288, 32, (64, 64)),
        ((1, 1), 12288, 32, (32, 32)),
        ((1000, 10), 12288, 32, (384, 32)),
    ],
)
def test_sizes_by_hand(size, max_pixels, multiple, fitted):
    assert fit_size(*size, max_pixels, multiple) == fitted


def test_a_budget_below_one_square_is_an_error():
    with pytest.raises(ValueError, match="max_pixels 1000"):
        fit_size(64, 48, 1000, 32)


PIXELS = np.zeros((48, 64, 3), np.uint8)
PIXELS[:24, :32], PIXELS[24:, 32:] = (255, 0, 0), (0, 0, 255)
PICTURE = Image.fromarray(PIXELS)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    """An image as a camera held sideways stores it, with the orientation that undoes the rotation."""
    undone = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = PICTURE.transpose(undone[orientation]) if orientation in undone else PICTURE
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(open_image(tmp_path / "a.png", (64, 48)), PIXELS)


@pytest.mark.parametrize("mode", ["L", "1", "P", "CMYK", "I;16", "RGBA", "LA", "F"])
def test_every_image_mode_becomes_rgb(tmp_path, mode):
    grey = np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8)
    picture = Image.fromarray(grey)
    if mode == "I;16":
        picture = Image.fromarray(grey.astype(np.uint16) * 257)
    else:
        picture = picture.convert("RGB").convert(mode) if mode != "1" else picture.convert("1")
    suffix = "tiff" if mode in ("CMYK", "F") else "png"
    picture.save(tmp_path / f"a.{suffix}")
    seen = open_image(tmp_path / f"a.{suffix}", (64, 48))
    assert seen.mode == "RGB"
    assert np.abs(np.asarray(seen, dtype=int).mean(2) - grey).mean() < {"1": 90, "P": 20}.get(mode, 3)


def test_transparency_becomes_white(tmp_path):
    Image.new("RGBA", (64, 48), (255, 0, 0, 0)).save(tmp_path / "a.png")
    assert np.all(np.asarray(open_image(tmp_path / "a.png", (64, 48))) == 255)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_a_truncated_file_raises(tmp_path, share):
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), dtype=np.uint8)
    for name in ("a.png", "a.jpg", "a.webp"):
        Image.fromarray(noise).save(tmp_path / name)
        data = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(data[: int(len(data) * share)])
        with pytest.raises(MediaError):
            open_image(tmp_path / name, (64, 48))


def test_jpeg_keeps_the_edges_of_colours():
    import io

    seen = np.asarray(Image.open(io.BytesIO(to_jpeg(PICTURE, 95))), dtype=int)
    assert np.abs(seen - PIXELS).max() < 40
    assert to_jpeg(PICTURE, 95) == to_jpeg(PICTURE, 95)
