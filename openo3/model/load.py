"""Loading a model folder, or a hub model, exactly as Qwen3-VL-8B would be loaded."""

from __future__ import annotations

import json
import resource
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import AutoModelForImageTextToText, AutoProcessor

from openo3.model.attention import attend_framewise, work_out
from openo3.model.memory import keep_freed_memory
from openo3.model.upstream import allow_recompilations
from openo3.prompt_file import default_prompts

POINTER = "pointer.json"
"""A folder with only this file stands for a hub model: `{"repo_id": ..., "revision": ...}`."""
TEMPLATE_LINES, TEMPLATE_S, TEMPLATE_BYTES = 100_000, 20.0, 1 << 30
"""What a chat template may take for a prompt of one frame: lines, seconds of a processor, memory."""


def resolve(path: str | Path) -> dict[str, str]:
    """Arguments of `from_pretrained` for a model folder or for the hub model it points to.

    Raises `FileNotFoundError` without either, `IncompleteModelError` for a damaged pointer.
    """
    pointer = Path(path) / POINTER
    if pointer.is_file():
        try:
            target = json.loads(pointer.read_text(encoding="utf-8"))
            return {"pretrained_model_name_or_path": target["repo_id"], "revision": target["revision"]}
        except (LookupError, TypeError, ValueError) as error:
            raise IncompleteModelError(f"{pointer}: not a pointer to a model: {error!r}") from None
    if not (Path(path) / "config.json").is_file():
        raise FileNotFoundError(f"{path}: no model here, run the stage that makes it")
    return {"pretrained_model_name_or_path": str(path)}


class IncompleteModelError(ValueError):
    """A model folder whose files are damaged or lack tensors."""


def device() -> str:
    """The kind of device that computes here, which decides the precision: `cuda` or `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def load_model(path: str | Path, dtype: torch.dtype | str | None = None) -> Any:
    """The model with framewise vision attention; bfloat16 on a GPU and float32 elsewhere by default.

    Raises:
        FileNotFoundError: there is no model.
        IncompleteModelError: its weights cannot be read, or tensors are missing or of another shape.
    """
    if not torch.cuda.is_available():
        keep_freed_memory()
    if dtype is None:
        dtype = torch.bfloat16 if torch.cuda.is_available() else torch.float32
    try:
        loaded: Any = AutoModelForImageTextToText.from_pretrained(
            **resolve(path),
            dtype=dtype,
            attn_implementation="sdpa",
            trust_remote_code=False,
            ignore_mismatched_sizes=True,  # refused below, in one line
            output_loading_info=True,
        )
        model, found = loaded
    except SafetensorError as error:
        raise IncompleteModelError(f"{path}: its weights cannot be read: {error}") from None
    # transformers would continue with random weights instead
    wrong = sorted([*found["missing_keys"], *(name for name, *_ in found["mismatched_keys"])])
    if wrong:
        raise IncompleteModelError(
            f"{path}: {len(wrong)} tensors are missing or have another shape, among them {wrong[0]}; "
            "download or make the model again"
        )
    attend_framewise(model)
    return model


def load_processor(path: str | Path) -> Any:
    """The processor, padding on the left as generation and TRL expect.

    Raises `ValueError` for a chat template that needs more than `TEMPLATE_LINES` and the like for a prompt of
    one frame.
    """
    processor = AutoProcessor.from_pretrained(**resolve(path), trust_remote_code=False)
    processor.tokenizer.padding_side = "left"
    with _bounded_templates(path):
        processor.apply_chat_template(
            default_prompts().messages([0.0], None, "?"), tokenize=False, add_generation_prompt=True
        )
    return processor


@contextmanager
def _bounded_templates(path: str | Path) -> Iterator[None]:
    """Bound what chat templates execute: Jinja's sandbox bounds what they reach, not how long they run. A
    template is another's code, compiled to Python under the file name `<template>`.

    Its lines are counted. One line may take long too (`9**9**9`, also while it is compiled), or much memory
    (`"a" * 10**11`).
    """
    try:
        with _counted_lines(path), _limited_time(path), _limited_memory():
            yield
    except MemoryError:
        raise ValueError(f"{path}: its chat template needs more than {TEMPLATE_BYTES >> 30} GiB") from None


@contextmanager
def _limited_time(path: str | Path) -> Iterator[None]:
    """In seconds of processor time, so that a busy machine refuses nothing.

    Python looks at signals inside long operations; it gives them to the main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise ValueError(f"{path}: its chat template runs on after {TEMPLATE_S:g} s")

    before = signal.signal(signal.SIGPROF, stop)
    others = signal.setitimer(signal.ITIMER_PROF, TEMPLATE_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, signal.SIG_DFL if before is None else before)
        signal.setitimer(signal.ITIMER_PROF, *others)


@contextmanager
def _limited_memory() -> Iterator[None]:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + TEMPLATE_BYTES
    bounds = [bound for bound in (most, soft, hard) if bound != resource.RLIM_INFINITY]
    resource.setrlimit(resource.RLIMIT_AS, (min(bounds), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@contextmanager
def _counted_lines(path: str | Path) -> Iterator[None]:
    left = TEMPLATE_LINES

    def count(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal left
        if frame.f_code.co_filename != "<template>":
            return None
        left -= 1
        if left < 0:
            raise ValueError(f"{path}: its chat template runs on after {TEMPLATE_LINES:,} lines")
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(before)


def compile_each_layer(model: Any) -> None:
    """Compile each layer, so that torch.compile fuses the operations around its matrix products.

    Equal layers share compiled code, so this takes seconds where compiling the whole model takes minutes.
    What depends on a batch's lengths and frames stays outside the layers.
    """
    # Both towers' layers, with and without gradients and checkpoints, share one limit; beyond it nothing
    # more is compiled
    allow_recompilations(64)
    model.model.language_model.register_forward_pre_hook(_lay_out, with_kwargs=True)
    for layer in [*model.model.language_model.layers, *model.model.visual.blocks]:
        layer.compile()


def _lay_out(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
    """Compute a batch's layout before the layers: inside, it would break the compiled graph."""
    if (layout := kwargs.get("layout")) is not None:
        work_out(layout, kwargs["inputs_embeds"])
