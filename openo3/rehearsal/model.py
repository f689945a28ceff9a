"""A hub model with random weights, made from its published configuration without a download.

Neither speed nor memory nor disk depends on what the weights are. Completions do: a random model hardly ever
ends one, so its rollouts are as long as they may be.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from ruamel.yaml import YAML
from safetensors.torch import save_file
from tqdm import tqdm
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    Qwen2_5_VLConfig,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
    Qwen3VLConfig,
)

from openo3.files.artifacts import write_json
from openo3.rehearsal.footprint import Shape
from openo3.shapes import tiny

CONFIGURATIONS = Path(__file__).with_name("models.yaml")
SHARD_BYTES = 4 * 2**30
VOCABULARY = 8192  # of the tokenizer, at most; the model's own vocabulary is as large as the published one
_SPECIAL = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
_NOISE = 2**24 + 43  # a prime number of random values, so that no two rows of a matrix repeat them alike


@dataclass(frozen=True)
class Size:
    """How large a model is: `weights` in all, those of the language layers (`text`), which each token
    passes, and those of the vision tower, which each patch passes."""

    weights: int
    text: int
    vision: int
    shape: Shape


def known() -> list[str]:
    """The hub models that can be built without a download."""
    return sorted(_configurations())


def configuration(source: str, layers: int | None = None) -> Any:
    """The published configuration of a hub model, on request with its first `layers` language layers alone.

    Its special tokens are those of `tiny`'s tokenizer, see `build`. Raises `KeyError` for an unknown model.
    """
    facts = _configurations()[source]
    text = dict(facts["text"])
    if layers:
        text["num_hidden_layers"] = min(layers, text["num_hidden_layers"])
    kind = Qwen3VLConfig if facts["family"] == "qwen3_vl" else Qwen2_5_VLConfig
    tied = facts.get("tied", False)
    return kind(text_config=text, vision_config=dict(facts["vision"]), tie_word_embeddings=tied)


def layers_of(source: str) -> int:
    """How many language layers the published model has."""
    return _configurations()[source]["text"]["num_hidden_layers"]


def size_of(config: Any) -> Size:
    """The size of a model by its configuration; no memory is taken."""
    text, count = config.get_text_config(), {"text": 0, "vision": 0, "other": 0}
    for name, tensor in _tensors(config):
        part = "vision" if ".visual." in f".{name}" else "text" if ".layers." in name else "other"
        count[part] += tensor.numel()
    weights = sum(count.values())
    width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    shape = Shape(
        weights / 1e9, text.num_hidden_layers, text.hidden_size, text.intermediate_size,
        text.num_key_value_heads * width,
    )  # fmt: skip
    return Size(weights, count["text"], count["vision"], shape)


def size_of_folder(folder: Path) -> Size:
    """The size of a model in a folder."""
    return size_of(AutoConfig.from_pretrained(folder))


def build(source: str, folder: Path, corpus: Iterable[str], layers: int | None = None) -> None:
    """Write a hub model with random weights in bfloat16, with tokenizer and processor, as `from_pretrained`
    reads it. `corpus`: the texts that are asked and answered, from which the tokenizer learns, so that they
    have about as many tokens as with the published one."""
    config = configuration(source, layers)
    tokenizer = tiny.tokenizer(corpus, VOCABULARY)
    for field, token in _SPECIAL.items():
        setattr(config, field, tokenizer.convert_tokens_to_ids(token))
    text = config.get_text_config()
    text.eos_token_id, text.pad_token_id, text.bos_token_id = (
        tokenizer.eos_token_id,
        tokenizer.pad_token_id,
        None,
    )
    config.dtype = text.dtype = config.vision_config.dtype = torch.bfloat16
    config.architectures = [type(_empty(config)).__name__]
    folder.mkdir(parents=True, exist_ok=True)
    config.save_pretrained(folder)
    _processor(config, tokenizer).save_pretrained(folder)
    _write_weights(config, folder)


def _processor(config: Any, tokenizer: Any) -> Any:
    if isinstance(config, Qwen3VLConfig):
        return tiny.processor(tokenizer)
    vision = config.vision_config
    side = vision.patch_size * vision.spatial_merge_size
    settings: dict[str, Any] = {
        "size": {"shortest_edge": side * side, "longest_edge": 128 * side * side},
        "patch_size": vision.patch_size,
        "merge_size": vision.spatial_merge_size,
        "temporal_patch_size": vision.temporal_patch_size,
    }
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(**settings),
        video_processor=Qwen2VLVideoProcessor(**settings),
        tokenizer=tokenizer,
        chat_template=tiny.CHAT_TEMPLATE,
    )


def _write_weights(config: Any, folder: Path) -> None:
    """Shards of a few gigabytes and their index, one after the other: the model is never in memory whole."""
    noise = torch.randn(_NOISE, generator=torch.Generator().manual_seed(0)).mul_(0.02).to(torch.bfloat16)
    tensors = list(_tensors(config))
    where: dict[str, str] = {}
    shard: dict[str, torch.Tensor] = {}
    written = held = 0

    def write() -> None:
        nonlocal written, held
        name = f"model-{written:05d}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        where.update(dict.fromkeys(shard, name))
        shard.clear()
        written, held = written + 1, 0

    with tqdm(total=len(tensors), desc="random weights", unit="tensor", disable=None) as bar:
        for name, like in tensors:
            shard[name] = _values(name, like.shape, noise)
            held += 2 * like.numel()
            bar.update()
            if held >= SHARD_BYTES:
                write()
    if shard:
        write()
    total = 2 * sum(tensor.numel() for _, tensor in tensors)
    write_json(
        folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": where}
    )


def _values(name: str, shape: torch.Size, noise: torch.Tensor) -> torch.Tensor:
    """A norm's weights are ones and biases are zero; matrices are the noise, as often as it takes."""
    if len(shape) == 1:
        fill = torch.zeros if name.endswith("bias") else torch.ones
        return fill(shape, dtype=torch.bfloat16)
    count = math.prod(shape)
    return noise.repeat(-(-count // len(noise)))[:count].view(shape).clone()


def _tensors(config: Any) -> Iterator[tuple[str, torch.Tensor]]:
    """Names and shapes of what a folder of this model holds; a head that is tied to the embeddings is not."""
    for name, tensor in _empty(config).state_dict().items():
        if not (config.tie_word_embeddings and name == "lm_head.weight"):
            yield name, tensor


def _empty(config: Any) -> Any:
    with torch.device("meta"):
        return AutoModelForImageTextToText.from_config(config)


@cache
def _configurations() -> dict[str, Any]:
    return YAML(typ="safe").load(CONFIGURATIONS)
