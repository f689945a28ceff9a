"""The inputs of the stages sft and gspo: two clips, an image, records of every task, a small model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from openo3.core.schema import KeyFrame, Sample, Task
from openo3.files.artifacts import write_jsonl
from openo3.media.decode import SamplingConfig
from openo3.media.ffmpeg import encode
from openo3.media.frame_store import FrameStore
from openo3.media.frame_writer import KeyRequest, Request, write_store
from openo3.model.encode import PromptEncoder
from openo3.model.load import load_model, load_processor
from openo3.training.examples import Examples

SHIPPED = Path("data/tiny-qwen3-vl").resolve()
LONG, SHORT, STILL, LOST = "long.mp4", "short.mp4", "still.jpg", "lost.mp4"
KEYS_S = (2.2, 0.7)  # in the order of the annotation, not of time
SPAN = "From <t>1.0</t>s to <t>3.5</t>s"
POLICY = SamplingConfig(fps=1.0, min_frames=2, max_frames=3, max_pixels=4096, multiple=32)

SFT = {
    "learning_rate": 1e-3,
    "max_steps": 4,
    "per_device_train_batch_size": 2,
    "logging_steps": 1,
    "save_steps": 2,
    "save_total_limit": 1,
    "bf16": False,
    "gradient_checkpointing": False,
    "report_to": "none",
    "use_cpu": True,
    "disable_tqdm": True,
    "seed": 0,
}
GSPO = SFT | {
    "importance_sampling_level": "sequence",
    "per_device_train_batch_size": 4,
    "num_generations": 2,
    "steps_per_generation": 2,
    "gradient_accumulation_steps": 1,
    "lr_scheduler_type": "constant",
    "loss_type": "grpo",
    "beta": 0.0,
    "epsilon": 0.02,
    "epsilon_high": 0.02,
    "temperature": 1.0,
    "max_completion_length": 6,
}


def samples() -> list[Sample]:
    """Every task once, the temporal-spatial one twice, and one whose media has no frames."""
    items = {1: {"cup": ((0.1, 0.2, 0.3, 0.4),)}, 2: {"cup": ((0.5, 0.5, 0.75, 1.0),)}}
    keys = (KeyFrame(1, KEYS_S[0]), KeyFrame(2, KEYS_S[1]))
    claim = "The <obj>cup</obj><box>[0.1,0.2,0.3,0.4]</box>at<t>2.2</t>s moves."
    spatial = {"key_frames": keys, "key_items": items}
    box = "<obj>cup</obj><box>[0.25,0.25,0.5,0.5]</box>"
    still = {"key_items": {0: {"cup": ((0.25, 0.25, 0.5, 0.5),)}}, "key_frames": (KeyFrame(0, 0.0),)}
    span = {"key_items": {}}
    return [
        _sample("ts", Task.TEMPORAL_SPATIAL, LONG, "a cup", claim, **spatial),
        _sample("when", Task.TEMPORAL, LONG, SPAN, "Between <t>1.0</t>s and <t>3.5</t>s.", **span),
        _sample("ts 2", Task.TEMPORAL_SPATIAL, LONG, "a blue cup", claim, **spatial),
        _sample("choice", Task.MCQ, LONG, "B", "It is red."),
        _sample("image", Task.VISUAL, STILL, box, f"I see a {box}.", **still),
        _sample("free", Task.FREE_FORM, SHORT, "a red car", "It is red."),
        _sample("when+choice", Task.TEMPORAL_MCQ, SHORT, f"{SPAN}\nCorrect Option: C", "Then.", **span),
        _sample("lost", Task.MCQ, LOST, "A", "Nothing."),
    ]


def _sample(id: str, task: Task, media: str, answer: str, reasoning: str, **truth: Any) -> Sample:
    duration_s = None if task is Task.VISUAL else 4.0
    question = f"What about {id}?"
    return Sample(
        id, task, "local", question, answer, media, duration_s, (64, 48), reasoning=reasoning, **truth
    )


def write_frames(folder: Path, media: Path) -> FrameStore:
    """The frame store of all media except the missing one; the clips are noise, so that frames differ."""
    rng = np.random.default_rng(0)
    media.mkdir(parents=True)
    for name, seconds in ((LONG, 4), (SHORT, 2)):
        encode(media / name, rng.integers(0, 256, (seconds * 4, 48, 64, 3), dtype=np.uint8), 4, (64, 48))
    Image.fromarray(rng.integers(0, 256, (64, 32, 3), dtype=np.uint8)).save(media / STILL)
    requests = [Request(LONG, "1", tuple(map(KeyRequest, sorted(KEYS_S)))), Request(SHORT, "2")]
    requests.append(Request(STILL, "3"))
    write_store(folder, media, requests, POLICY, shards=1, workers=1, time_limit_s=30)
    return FrameStore.open(folder)


def write_workplace(root: Path) -> Path:
    write_frames(root / "data/frames/train", root / "data/raw/media")
    (root / "data/validated").mkdir()
    (root / "data/models").mkdir()
    for name in ("sft", "rl"):
        write_jsonl(root / f"data/validated/{name}.jsonl", [sample.to_json() for sample in samples()])
    write_model(root / "data/models/base")
    (root / "data/models/sft").symlink_to("base")
    write_params(root)
    return root


def write_model(folder: Path) -> None:
    """The shipped model reduced to two untrained layers, for speed."""
    model, processor = load_model(SHIPPED, torch.float32), load_processor(SHIPPED)
    model.model.language_model.layers = model.model.language_model.layers[:2]
    text = model.config.text_config
    text.num_hidden_layers = 2
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:2]
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def write_params(
    root: Path, sft: dict[str, Any] | None = None, gspo: dict[str, Any] | None = None, **others: Any
) -> None:
    """Parameters of both stages; those given replace the trainer's, `others` are more of both stages' keys,
    `sft_data` and the like."""
    blocks = {"sft": {"trainer": SFT | (sft or {})}, "gspo": {"trainer": GSPO | (gspo or {})}}
    for name, value in others.items():
        stage, _, key = name.partition("_")
        blocks[stage][key] = value
    (root / "params.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(blocks))))


def load_examples(root: Path) -> Examples:
    encoder = PromptEncoder(load_processor(root / "data/models/base"))
    return Examples.load(
        root / "data/validated/sft.jsonl", FrameStore.open(root / "data/frames/train"), encoder
    )
