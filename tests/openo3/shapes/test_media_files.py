"""Rendered files show the frames that the base model was pretrained on, at the stated times."""

import decord
import numpy as np
import pytest
import torch
from PIL import Image

from openo3.shapes.clips import SPLITS, Clip, frame_count, frame_times
from openo3.shapes.media_files import draw, write_picture, write_video
from openo3.shapes.render import render, scene_tensors
from openo3.shapes.scene import FRAME_RATES

CLIPS = [Clip.sample(3, "train", index) for index in range(12)]


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_windows_equal_the_pixels_of_whole_frames(clip: Clip):
    times = frame_times(clip.scene)[::9]
    drawn = np.stack(list(draw(clip.scene, times))).astype(int)
    size = torch.tensor([clip.scene.size], dtype=torch.float32)
    whole = render(scene_tensors([clip.scene]), torch.tensor([times]), clip.scene.size, size)[0]
    assert np.abs(drawn - (whole * 255).round().numpy()).max() <= 1


def test_the_first_frame_at_or_after_a_time_is_found():
    for clip in CLIPS:
        for time in np.arange(0, clip.scene.duration_s - 0.5, 0.5):
            shown = clip.frame_time(clip.frame_from(time))
            assert time - 1e-6 <= shown < time + 1 / clip.scene.fps
        assert clip.frame_from(1000.0) == frame_count(clip.scene) - 1


def test_a_clip_depends_only_on_seed_split_and_index():
    assert Clip.sample(0, "train", 5) == Clip.sample(0, "train", 5)
    others = [Clip.sample(0, split, 5) for split in SPLITS] + [Clip.sample(1, "train", 5)]
    assert len({clip.scene for clip in others}) == len(others)


def test_the_video_has_the_clips_frames_at_its_times(tmp_path):
    by_rate = {clip.scene.fps: clip for clip in (Clip.sample(4, "train", index) for index in range(40))}
    assert set(by_rate) == set(FRAME_RATES)
    for number, clip in enumerate(by_rate.values()):
        path = tmp_path / f"{number}.mp4"
        write_video(path, clip.scene)
        video, times = decord.VideoReader(str(path)), frame_times(clip.scene)
        shown = video.get_frame_timestamp(range(len(video)))[:, 0]
        assert np.allclose(shown, times, atol=0.002)
        for index in (0, len(times) // 2, len(times) - 1):
            [truth] = draw(clip.scene, [times[index]])
            assert np.abs(video[index].asnumpy().astype(int) - truth).mean() < 4


def test_a_picture_equals_the_frame(tmp_path):
    scene = CLIPS[0].scene
    write_picture(tmp_path / "a.jpg", scene, 2.0)
    [truth] = draw(scene, [2.0])
    assert np.abs(np.asarray(Image.open(tmp_path / "a.jpg")).astype(int) - truth).mean() < 3
