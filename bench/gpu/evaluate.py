"""Answer five questions per record: one by one with the video decoded each time, and all in one batch."""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench.gpu.measure import Clock, attempt, say, seconds
from bench.gpu.models import PATCH, Picture, Size, attend_plainly, processor
from bench.gpu.rollout import compiled_vision
from openo3.model.attention import attend_framewise
from openo3.model.decoding import Sampling
from openo3.model.encode import Prompt
from openo3.model.engine import Engine, LocalEngine

QUESTIONS = (
    "What is it?",
    "When is it?",
    "Where is it from 1.0s to 4.0s?",
    "Where is it?",
    "When is it there?",
)
Read = Callable[[], Any]
"""Returns the frames of a clip: a tuple of `Picture`, which has the fields of `frame_store.Frame`."""


def reader(folder: Path, size: Size) -> Read:
    """A function that decodes a clip of noise, or returns frames from memory if decord is not installed."""
    rng = np.random.default_rng(0)
    width, height = size.width * PATCH, size.height * PATCH
    noise = rng.integers(0, 256, (size.frames, height, width, 3), dtype=np.uint8)
    if importlib.util.find_spec("decord") is None:
        say("  decord is not installed here: reading a frame costs nothing below")
        frames = tuple(Picture(Image.fromarray(pixels), n / 2, False) for n, pixels in enumerate(noise))
        return lambda: frames
    from openo3.media.decode import SamplingConfig, sample
    from openo3.media.ffmpeg import encode

    encode(folder / "clip.mp4", (noise[n // 15] for n in range(15 * size.frames)), 30, (width, height))
    sampling = SamplingConfig(2.0, size.frames, size.frames, width * height, 2 * PATCH)

    def read() -> Any:
        clip = sample(folder / "clip.mp4", (), sampling)
        return tuple(Picture(frame.image, frame.time_s, frame.key) for frame in clip.shots)

    return read


def published(model: Any, read: Read, new: int) -> dict[str, float]:
    """Answer the questions of one record one by one."""
    attend_plainly(model)
    engine = LocalEngine(model, processor())

    def ask(question: str) -> None:
        encoded = engine.encoder.encode(Prompt(read(), 8.0, question))
        pixels = encoded.vision.pixel_values
        assert pixels is not None  # `encode` always makes them
        ids = torch.tensor([[*encoded.prefix_ids, *encoded.context_ids]], device=model.device)
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            mm_token_type_ids=(ids == engine.encoder.image_token_id).int(),
            pixel_values=pixels.to(model.device),
            image_grid_thw=torch.tensor(encoded.vision.grids, device=model.device),
            do_sample=False,
            max_new_tokens=new,
            eos_token_id=None,
        )

    with torch.inference_mode():
        ask(QUESTIONS[0])
        took = sum(seconds(lambda question=question: ask(question)) for question in QUESTIONS)
    return {"records": 1, "s": took, "records/s": 1 / took, "tokens per answer": new}


def ours(engine: Engine, read: Read, new: int, records: int) -> dict[str, float]:
    """Each record's frames are read and encoded once."""

    def ask(numbers: range) -> None:
        shown = [_marked(read(), number) for number in numbers]
        prompts = [Prompt(frames, 8.0, question) for frames in shown for question in QUESTIONS]
        engine.generate(prompts, Sampling(new))

    ask(range(1))
    took = seconds(lambda: ask(range(1, records + 1)))
    return {"records": records, "s": took, "records/s": records / took, "tokens per answer": new}


def _marked(frames: Any, number: int) -> Any:
    """The frames with one pixel unique to the record, since an engine may cache frames."""
    images = [frame.image.copy() for frame in frames]
    for image in images:
        image.putpixel((0, 0), (number % 256, number // 256, 0))
    return tuple(replace(frame, image=image) for frame, image in zip(frames, images, strict=True))


def answer_tokens(size: Size) -> int:
    return min(64, size.new_tokens)


def table(model: Any, size: Size, clock: Clock) -> None:
    new = answer_tokens(size)
    with tempfile.TemporaryDirectory(prefix="openo3-bench-") as folder:
        read = reader(Path(folder), size)
        theirs = attempt("evaluate, published way", clock, 40, lambda: published(model, read, new))
        attend_framewise(model)
        engine = LocalEngine(model, processor(), size.prompts * size.prompt_tokens)
        engine.encoder.end_ids = ()  # same number of tokens as in the published implementation
        with compiled_vision(model):
            mine = attempt("evaluate, ours", clock, 30, lambda: ours(engine, read, new, size.prompts))
    if theirs and mine:
        say(f"evaluate: {mine['records/s'] / theirs['records/s']:.1f} times")
