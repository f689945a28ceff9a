"""The same rollouts and questions with vLLM, for comparison with our own decoding."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.gpu import evaluate
from bench.gpu.measure import CUDA, FAILURES, Clock, attempt, say, seconds
from bench.gpu.models import PATCH, Size, packs, processor
from openo3.model.encode import Encoded, Vision
from openo3.model.vllm_engine import VLLMEngine


def start(model: Any, size: Size, folder: Path) -> VLLMEngine:
    """A separate vLLM engine with random weights of the same shapes as `model`."""
    model.config.architectures = [type(model).__name__]
    model.config.save_pretrained(folder)
    processor().save_pretrained(folder)
    settings = {
        "load_format": "dummy",
        "max_model_len": size.prompt_tokens + size.new_tokens + 256,
        "max_num_seqs": size.prompts * size.completions,
        "gpu_memory_utilization": 0.5 if CUDA else 0.1,
    }
    engine = VLLMEngine.load(folder, settings)
    engine.encoder.end_ids = ()  # no token ends an answer early, as in the other measurements
    return engine


def requests(engine: VLLMEngine, model: Any, size: Size, seed: int) -> list[dict[str, Any]]:
    """Prompts with new frames and text, so that no prefix is cached."""
    rng = np.random.default_rng(seed)
    shape = (size.frames, size.height * PATCH, size.width * PATCH, 3)
    made = []
    for pack in packs(model, size, size.prompts, written=False, seed=seed):
        encoded = Encoded(
            tuple(pack.prefix_ids), tuple(pack.branches[0].context_ids), Vision(None, pack.grids)
        )
        images = [Image.fromarray(frame) for frame in rng.integers(0, 256, shape, dtype=np.uint8)]
        ids = [int(token) for token in engine.encoder.unexpanded(encoded)]
        made.append({"prompt_token_ids": ids, "multi_modal_data": {"image": images}})
    return made


def rollout(engine: VLLMEngine, model: Any, size: Size) -> dict[str, float]:
    vllm: Any = importlib.import_module("vllm")

    def write(asked: list[dict[str, Any]], new: int) -> None:
        sampling = vllm.SamplingParams(
            n=size.completions, temperature=1.0, top_p=0.95, max_tokens=new, ignore_eos=True, detokenize=False
        )
        outputs = engine.llm.generate(asked, sampling, use_tqdm=False)
        assert all(len(output.prompt_token_ids) == size.prompt_tokens for output in outputs)
        assert all(len(answer.token_ids) == new for output in outputs for answer in output.outputs)

    write(requests(engine, model, size, seed=1), 8)
    asked, count = requests(engine, model, size, seed=2), size.prompts * size.completions
    took = seconds(lambda: write(asked, size.new_tokens))
    speed = {"completions/s": count / took, "tokens/s": count * size.new_tokens / took}
    return {"prompts": size.prompts, "s": took} | speed


def table(model: Any, size: Size, clock: Clock) -> None:
    with tempfile.TemporaryDirectory(prefix="openo3-bench-") as folder:
        try:
            engine = start(model, size, Path(folder))
        except FAILURES as error:
            say(f"| vLLM | {type(error).__name__}: {str(error)[:300]} |")
            return
        read = evaluate.reader(Path(folder), size)
        new, records = evaluate.answer_tokens(size), size.prompts
        try:
            attempt("rollout, vLLM", clock, 40, lambda: rollout(engine, model, size))
            attempt("evaluate, vLLM", clock, 20, lambda: evaluate.ours(engine, read, new, records))
        finally:
            engine.close()
