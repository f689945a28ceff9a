"""A folder with the three multiple-choice benchmarks; clips as in `local_folder`."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.support.local_folder import Row, encode_clip


def videomme_record() -> Row:
    return {
        "video_id": "001",
        "duration": "short",
        "domain": "Life Record",
        "videoID": "m-1_x",
        "question_id": "001-1",
        "task_type": "Object Recognition",
        "question": "What does she open?",
        "options": ["A. A fridge.", "B. A door.", "C. A box.", "D. A book."],
        "answer": "A",
    }


def worldsense_videos() -> Row:
    """A video with two tasks, as the published file has them."""
    task = {
        "task_domain": "Recognition",
        "task_type": "Event Recognition",
        "question": "What does she open?",
        "answer": "B",
        "candidates": ["A. A door.", "B. A fridge."],
    }
    other = task | {"task_domain": "Reasoning", "question": "Why?", "answer": "A"}
    facts = {"video_id": "w1", "domain": "Daily Life", "duration": "<1min", "audio_class": ["Speech"]}
    return {"w1": facts | {"task0": task, "task1": other}}


def videommmu_records() -> dict[str, list[Row]]:
    """By track; a picture travels in the same file, and one of the three questions has none."""
    choice = {
        "id": "validation_Art_1",
        "question": "What is <image 1>?",
        "options": ["a fridge", "a door", "a box"],
        "answer": "A",
        "question_type": "multiple-choice",
        "link_selected": "https://example.invalid/watch",
    }
    picture = {"image 1": {"bytes": png(), "path": "1.png"}}
    open_ = {"question_type": "open", "options": [], "answer": "3.43"}
    odd = {"id": "validation_Art_3", "question_type": "None"}
    return {
        "Perception": [choice],
        "Comprehension": [choice | {"answer": "C"}],
        "Adaptation": [
            choice | picture,
            choice | picture | open_ | {"id": "validation_Art_2"},
            choice | odd | {"image 1": None},
        ],
    }


def png(shade: int = 200) -> bytes:
    """The file of a small picture of one colour."""
    file = io.BytesIO()
    Image.new("RGB", (48, 32), (shade, 0, 0)).save(file, "PNG")
    return file.getvalue()


def write(folder: Path) -> Path:
    """Write all three benchmarks in their published form, with the videos they name."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([videomme_record()]), folder / "Video-MME.parquet")
    (folder / "worldsense_qa.json").write_text(json.dumps(worldsense_videos()))
    (folder / "VideoMMMU").mkdir()
    for track, records in videommmu_records().items():
        path = folder / f"VideoMMMU/{track}-test-00000-of-00001.parquet"
        pq.write_table(pa.Table.from_pylist(records), path)
    for name in ("videomme/m-1_x", "worldsense/w1", *(f"videommmu/validation_Art_{n}" for n in (1, 2, 3))):
        encode_clip(folder / f"{name}.mp4")
    return folder
