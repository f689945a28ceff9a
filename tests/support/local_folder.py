"""A user's folder with real clips: annotations of every task in both schemas, and both benchmarks.

Every clip is 4 s of 64 x 48 pixels, every image 64 x 48. `write(folder)` writes it whole; tests break rows of
`sft_rows()` and write them again with `annotate`.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from openo3.media.ffmpeg import encode

SIZE = (64, 48)
DURATION_S = 4.0
CLIP = "a clip @ home_00:00:39:000 é.mp4"

Row = dict[str, Any]


def write(folder: Path) -> Path:
    """Clips, images and annotations of every kind; all rows are good."""
    encode_clip(folder / "videos" / CLIP)
    encode_clip(folder / "vstar" / "v 1.mp4")
    encode_clip(folder / "tvgbench" / "charades/t1.mp4")
    for name in ("kfs/k1.jpg", "images/im:1.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE, "teal").save(folder / name)
    annotate(folder, "STGR-SFT.json", sft_rows())
    annotate(folder, "STGR-RL.json", rl_rows())
    annotate(folder, "V_STaR_test.json", [vstar_record()])
    annotate(folder, "TVGBench.json", [tvgbench_record()])
    return folder


def annotate(folder: Path, name: str, rows: Any) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(rows), encoding="utf-8")


def encode_clip(path: Path, shade: int = 0) -> None:
    frames = (np.full((SIZE[1], SIZE[0], 3), (40 * t + shade) % 256, np.uint8) for t in range(8))
    encode(path, frames, fps=2, size=SIZE)


def sft_rows() -> list[Row]:
    """One good row of each task, as STGR-SFT.json has it."""
    return [
        {
            "id": "ts",
            "task": "temporal-spatial free-form QA",
            "source": "local",
            "question": "What does the man pick up?",
            "answer": "a wrench",
            "video_path": CLIP,
            "image_size": None,
            "key_frames": [key_frame(1, 1), key_frame(2, 2.5)],
            "key_items": {"1": {"wrench": [[0.1, 0.2, 0.3, 0.4]]}, "2": {"wrench": [[0.0, 0.2, 1, 1]]}},
            "reasoning_process": "The <obj>wrench</obj><box>[0.1,0.2,0.3,0.4]</box>at<t>1.0</t>s is his.",
        },
        _video("when", "temporal QA", "From <t>1.0</t>s to <t>3.5</t>s", "It begins at <t>1.0</t>s."),
        {
            "id": "image",
            "task": "visual QA",
            "source": "local",
            "question": "What is in the corner?",
            "answer": "<obj>cup</obj><box>[16,12,32,24]</box>",
            "image_path": "im:1.jpg",
            "image_size": list(SIZE),
            "key_frames": [],
            "key_items": {},
            "reasoning_process": "I see a <obj>cup</obj><box>[16,12,32,24]</box>.",
        },
        _video("choice", "General video QA MCQ", "B", "It is red.", "Which?\nA. blue\nB. red"),
        _video("free", "General video QA Free-form", "a red car", "It is red."),
    ]


def key_frame(idx: int, time_s: float) -> Row:
    return {"idx": idx, "time": time_s, "path": "k1.jpg"}


def rl_rows() -> list[Row]:
    """One good row of each task, as STGR-RL.json has it: lists for spans, no reasoning."""
    rows = [{key: row[key] for key in row if key != "reasoning_process"} for row in sft_rows()]
    rows[1] |= {"answer": "[1.0, 3.5]"}
    rows.append(rows[1] | {"id": "when+choice", "task": "temporal QA (MCQ)", "answer": "C\n[1.0, 2.0]"})
    return rows


def vstar_record() -> Row:
    boxes = [
        {"timestamp": s, "frame_index": 2 * s, "xmin": 4, "ymin": 6, "xmax": 32, "ymax": 24.5} for s in (1, 2)
    ]
    return {
        "vid": "v 1",
        "domain": "Daily life",
        "fps": 2.0,
        "width": SIZE[0],
        "height": SIZE[1],
        "frame_count": 8,
        "question": "What does she open?",
        "answer": "a fridge",
        "object": "fridge",
        "temporal_question": "When does she open it?",
        "timestamps": [1.0, 3.0],
        "spatial_question": "Where is the fridge?",
        "spatial_question_2": "Where is what she opens?",
        "bboxes": boxes,
    }


def tvgbench_record() -> Row:
    return {
        "path": "charades/t1.mp4",
        "question": "person opens the fridge",
        "answer": "0.5-2.5",
        "duration": 4.0,
        "qsemtype": "action",
        "dataset_name": "charades_sta",
    }


def _video(id: str, task: str, answer: str, reasoning: str, question: str = "What happens?") -> Row:
    return {
        "id": id,
        "task": task,
        "source": "local",
        "question": question,
        "answer": answer,
        "video_path": CLIP,
        "image_size": None,
        "key_frames": [],
        "key_items": {},
        "reasoning_process": reasoning,
    }
