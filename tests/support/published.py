"""Small real copies of the published data: every source of the shipped catalogue, on a local hub.

`publish` puts archives of every packing on the server, made of one real clip and one real image; `annotate`
writes rows about them. Only GQA, which is behind a fixed address, needs the table that `OWN` is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from openo3.annotations.catalogue.table import shipped
from tests.support import local_folder
from tests.support.archives import tar_archive, zip_archive
from tools.hub_server import HubServer

STGR = shipped().annotations["sft"].place
VSTAR = shipped().annotations["vstar"].place
OWN = """
catalogue:
  annotations:
    tvgbench: {{place: {{url: "{url}", path: tvgbench.json}}}}
  sources:
    gqa:
      images: videos/gqa
      media: [{{url: "{url}/gqa", path: images.zip, packing: zip}}]
    TVG_*: {{videos: videos/tvg_r1, media: [{{folder: tvg}}]}}
"""
LOST = "no such clip.mp4"


def video_row(id: str, source: str, path: str, **more: Any) -> dict[str, Any]:
    return local_folder.sft_rows()[1] | {"id": id, "source": source, "video_path": path} | more


def spatial_row(id: str, source: str, path: str, image: str) -> dict[str, Any]:
    row = local_folder.sft_rows()[0] | {"id": id, "source": source, "video_path": path}
    return row | {"key_frames": [frame | {"path": image} for frame in row["key_frames"]]}


def image_row(id: str, source: str, path: str) -> dict[str, Any]:
    return local_folder.sft_rows()[2] | {"id": id, "source": source, "image_path": path}


SFT = [
    spatial_row("plm", "STR_plm_rdcap", "sav_1.mp4", "sav_1/0.jpg"),
    spatial_row("coin", "STR_coin", "4jujhM5qhEc_00:00:39:000_00:01:24:700.mp4", "same.jpg"),
    video_row("tvg", "TVG_didemo", "GroundedVLLM/a@b c.mp4"),
    image_row("tree", "TreeVGR", "images/t 1.jpg"),
    video_row(
        "r1", "videor1_mcq", "LLaVA-Video-178K/academic/é.mp4", task="General video QA MCQ", answer="B"
    ),
    video_row("lost", "timerft", LOST),
]
RL = [
    video_row("rft", "timerft", "x1.mp4", answer="[1.0, 3.5]"),
    image_row("gqa", "gqa", "2354.jpg"),
    spatial_row("espresso", "videoespresso_train_video", "Moviechat/1.mp4", "1_0.jpg"),
]
for _row in RL:
    _row.pop("reasoning_process")


def publish(server: HubServer, folder: Path) -> None:
    """Publish everything on the server, with archives in `folder` and the clips of TVG_* in `folder/tvg`."""
    local_folder.encode_clip(folder / "clip.mp4")
    local_folder.write(folder / "local")
    clip, image = (folder / "clip.mp4").read_bytes(), (folder / "local/kfs/k1.jpg").read_bytes()
    shade = (folder / "shade.mp4", 7)
    local_folder.encode_clip(*shade)
    other = shade[0].read_bytes()
    [stgr] = zip_archive(
        folder,
        "stgr",
        {
            "stgr/plm/videos/sav_1.mp4": clip,
            "stgr/plm/kfs/sav_1/0.jpg": image,
            "stgr/plm/kfs/same.jpg": b"another image of that name",
            "stgr/temporal_grounding/videos/4jujhM5qhEc_00:00:39:000_00:01:24:700.mp4": other,
            "stgr/temporal_grounding/kfs/same.jpg": image,
            "stgr/plm/videos/not wanted.mp4": bytes(200_000),
        },
    )
    [frames] = zip_archive(folder, "kfs", {"kfs/1_0.jpg": image})
    files = {"json_data/STGR-SFT.json": _json(SFT), "json_data/STGR-RL.json": _json(RL)}
    files |= {"videos/stgr.zip": stgr, "videos/videoespresso/kfs.zip": frames}
    server.dataset(STGR.hub, files, STGR.revision)
    unwanted = {f"all/CUVA/{n}.mp4": bytes([n]) * 90_000 for n in range(4)}
    parts = zip_archive(
        folder, "VideoEspresso_train_video", {**unwanted, "all/Moviechat/1.mp4": clip}, "-s", "64k", "-0"
    )
    server.dataset("hshjerry0315/VideoEspresso_train_video", {part.name: part for part in parts})
    tar = tar_archive({"images/t 1.jpg": image, "images/t 2.jpg": image}, "w:gz")
    server.dataset("HaochenWang/TreeVGR-RL-37K", {"images.tar.gz": tar})
    [timerft] = zip_archive(folder, "TimeRFT_data", {"timerft_data/x1.mp4": clip})
    [bench] = zip_archive(folder, "TVGBench", {"tvgbench_data/charades/t1.mp4": clip})
    server.dataset("Boshenxx/TimeR1-Dataset", {"TimeRFT_data.zip": timerft, "TVGBench.zip": bench})
    [llava] = zip_archive(folder, "one", {"academic/é.mp4": clip, "LLaVA-Video-178K/academic/é.mp4": clip})
    server.dataset("Video-R1/Video-R1-data", {f"{name}/{name}.zip": llava for name in _VIDEO_R1})
    [vstar] = zip_archive(folder, "vstar_videos", {"videos/v 1.mp4": clip})
    annotations = _json([local_folder.vstar_record()])
    server.dataset(VSTAR.hub, {"V_STaR_test.json": annotations, "vstar_videos.zip": vstar}, VSTAR.revision)
    [gqa] = zip_archive(folder, "images", {"images/2354.jpg": image})
    server.put("gqa/images.zip", gqa)
    server.put("tvgbench.json", _json([local_folder.tvgbench_record()]))
    (folder / "tvg/GroundedVLLM").mkdir(parents=True)
    (folder / "tvg/GroundedVLLM/a@b c.mp4").write_bytes(clip)
    (folder / "own.yaml").write_text(OWN.format(url=server.url))


_VIDEO_R1 = ("LLaVA-Video-178K", "NeXT-QA", "CLEVRER", "PerceptionTest", "STAR")


def _json(rows: list[dict[str, Any]]) -> bytes:
    return json.dumps(rows).encode()
