"""Videos are written whole or not at all, with the same bytes for the same frames."""

from fractions import Fraction

import numpy as np
import pytest

from openo3.media.ffmpeg import encode
from openo3.media.probe import probe
from tests.support.clips import SIZE, numbered


def test_the_same_frames_give_the_same_bytes(tmp_path):
    files = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    assert [encode(file, numbered(40), 12, SIZE) for file in files] == [40, 40]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("fps", [12, 29.97, Fraction(30000, 1001), 25.0])
def test_the_frame_rate_is_written(tmp_path, fps):
    encode(tmp_path / "a.mp4", numbered(20), fps, SIZE)
    assert probe(tmp_path / "a.mp4").fps == pytest.approx(float(fps), rel=1e-4)


@pytest.mark.parametrize(
    ("frames", "size", "error", "match"),
    [
        (numbered(3), (63, 48), ValueError, "even sides, got 63x48"),
        (numbered(3), (0, 48), ValueError, "even sides"),
        (numbered(3), (128, 96), ValueError, "frame 0 is"),
        (iter([np.zeros((48, 64, 3), float)]), SIZE, ValueError, "frame 0 is float64"),
        (iter([]), SIZE, ValueError, "no frame"),
    ],
)
def test_refused_input_leaves_no_file(tmp_path, frames, size, error, match):
    with pytest.raises(error, match=match):
        encode(tmp_path / "a.mp4", frames, 30, size)
    assert list(tmp_path.iterdir()) == []


def test_an_error_quotes_the_ffmpeg_log(tmp_path):
    with pytest.raises(RuntimeError, match="Unknown encoder 'nothing'"):
        encode(tmp_path / "a.mp4", numbered(500), 30, SIZE, {"f": "mp4", "vcodec": "nothing"})
    assert list(tmp_path.iterdir()) == []


def test_an_exception_from_the_frames_keeps_the_old_file(tmp_path):
    encode(tmp_path / "a.mp4", numbered(5), 30, SIZE)
    before = (tmp_path / "a.mp4").read_bytes()

    def broken():
        yield from numbered(5)
        raise LookupError("no more")

    with pytest.raises(LookupError):
        encode(tmp_path / "a.mp4", broken(), 30, SIZE)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == before
