import pytest

from openo3.annotations import sources
from openo3.annotations.rejections import Reason, RowError
from openo3.core.geometry import NORMALISED, pixels
from openo3.core.schema import Task


@pytest.mark.parametrize(
    ("source", "kind", "root"),
    [
        ("shapes", "videos", "videos/shapes/videos"),
        ("local", "key_frames", "videos/local/kfs"),
        ("local", "images", "videos/local/images"),
        ("STR_activitynet", "videos", "videos/stgr/temporal_grounding/videos"),
        ("STR_qvhighlight", "key_frames", "videos/stgr/temporal_grounding/kfs"),
        ("STR_plm_rdcap", "videos", "videos/stgr/plm/videos"),
        ("STR_plm_rdcap", "key_frames", "videos/stgr/plm/kfs"),
        ("TVG_internvid_vtime", "videos", "videos/tvg_r1"),
        ("TreeVGR", "images", "videos/treevgr"),
        ("timerft", "videos", "videos/timerft"),
        ("gqa", "images", "videos/gqa"),
        ("videoespresso_train_video", "key_frames", "videos/videoespresso/kfs"),
        ("videor1_mcq", "videos", "videos/videor1"),
        ("videor1_free_from", "videos", "videos/videor1"),
        ("vstar", "videos", "videos/vstar"),
    ],
)
def test_every_published_source_has_its_published_folders(source, kind, root):
    assert sources.reference(sources.get(source), kind, "a/b c.mp4", "f").media == f"{root}/a/b c.mp4"


@pytest.mark.parametrize("name", ["", "elsewhere", "str_coin", "../local", "local "])
def test_an_unknown_source_gives_a_reason(name):
    with pytest.raises(RowError) as error:
        sources.get(name)
    assert error.value.reason is Reason.UNKNOWN_SOURCE


def test_a_source_without_that_kind_of_media_gives_a_reason():
    with pytest.raises(RowError) as error:
        sources.reference(sources.get("gqa"), "videos", "a.mp4", "video_path")
    assert (error.value.reason, error.value.field) == (Reason.NO_SUCH_MEDIA, "video_path")


def test_image_texts_have_boxes_in_pixels():
    local = sources.get("local")
    assert local.box_space(Task.TEMPORAL_SPATIAL, None) == NORMALISED
    assert local.box_space(Task.VISUAL, (64, 48)) == pixels((64, 48))
    with pytest.raises(RowError, match="image_size: field missing"):
        local.box_space(Task.VISUAL, None)
