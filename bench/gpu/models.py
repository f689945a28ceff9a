"""Models and inputs to measure: Qwen2.5-VL with random weights, random frames and text, FLOP counts.

Neither speed nor memory depends on what the weights are. The numbers of the 7B configuration are those that
Qwen2.5-VL-7B-Instruct was published with.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import (
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from openo3.model.attention import attend_framewise
from openo3.model.packing import Branch, Pack
from openo3.shapes import tiny

TEXT = {
    "7b": {
        "vocab_size": 152064,
        "hidden_size": 3584,
        "intermediate_size": 18944,
        "num_hidden_layers": 28,
        "num_attention_heads": 28,
        "num_key_value_heads": 4,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]},
    },
    "tiny": {
        "vocab_size": 4096,
        "hidden_size": 128,
        "intermediate_size": 512,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
    },
}
VISION = {
    "7b": {
        "depth": 32,
        "hidden_size": 1280,
        "intermediate_size": 3420,
        "num_heads": 16,
        "fullatt_block_indexes": [7, 15, 23, 31],
    },
    "tiny": {
        "depth": 4,
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_heads": 4,
        "fullatt_block_indexes": [3],
    },
}
WINDOW, PATCH, MERGE = 112, 14, 2


@dataclass(frozen=True)
class Size:
    """Sizes of a prompt and its completions. `height` and `width` of frames are in patches of 14 pixels."""

    model: str
    frames: int
    height: int
    width: int
    prompt_tokens: int
    new_tokens: int
    prompts: int
    completions: int = 4

    @property
    def patches(self) -> int:
        """The vision tokens of all frames of a prompt."""
        return self.frames * self.height * self.width


SIZES = {
    # 16 frames of 252 x 392 pixels
    "7b": Size("7b", 16, 18, 28, prompt_tokens=2432, new_tokens=768, prompts=32),
    "tiny": Size("tiny", 8, 6, 8, prompt_tokens=160, new_tokens=48, prompts=8),
}


@dataclass(frozen=True)
class Picture:
    """The fields of `openo3.media.frame_store.Frame`, without that module's dependencies."""

    image: Image.Image
    time_s: float
    key: bool = False
    of_question: bool = False


def processor() -> Any:
    """Qwen2.5-VL's processor with a small vocabulary, made without downloads."""
    size = {"shortest_edge": 28 * 28, "longest_edge": 128 * 28 * 28}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size, patch_size=PATCH, merge_size=MERGE),
        video_processor=Qwen2VLVideoProcessor(size=size, patch_size=PATCH, merge_size=MERGE),
        tokenizer=tiny.tokenizer(["Frame 1 at 2.0s. When is the red circle in view? From 1.0s to 4.5s"]),
        chat_template=tiny.CHAT_TEMPLATE,
    )


def build(name: str, layers: int | None = None) -> Any:
    """The model on this machine's device, in bfloat16 on a GPU, with the first `layers` of both towers."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tokens = processor().tokenizer
    special = {
        f"{name}_token_id": tokens.convert_tokens_to_ids(token)
        for name, token in (
            ("image", "<|image_pad|>"),
            ("video", "<|video_pad|>"),
            ("vision_start", "<|vision_start|>"),
            ("vision_end", "<|vision_end|>"),
        )
    }
    ends = {"pad_token_id": tokens.pad_token_id, "eos_token_id": tokens.eos_token_id, "bos_token_id": None}
    vision = {
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "window_size": WINDOW,
        "out_hidden_size": TEXT[name]["hidden_size"],
    }
    config = Qwen2_5_VLConfig(
        text_config={**TEXT[name], **ends, "max_position_embeddings": 128000},
        vision_config={**VISION[name], **vision},
        tie_word_embeddings=False,
        **special,
    )
    if layers:
        text: Any = config.text_config
        vision_tower: Any = config.vision_config
        text.num_hidden_layers = vision_tower.depth = layers
        text.layer_types = text.layer_types[:layers]
        vision_tower.fullatt_block_indexes = [layers - 1]
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen2_5_VLForConditionalGeneration._from_config(
            config, dtype=torch.bfloat16 if device == "cuda" else torch.float32, attn_implementation="sdpa"
        )
    attend_framewise(model)
    return model.eval()


def attend_plainly(model: Any) -> None:
    """Use transformers' own `sdpa`, which attends frame by frame and window by window in the vision tower."""
    model.model.visual.config._attn_implementation = "sdpa"
    model.model.language_model.config._attn_implementation = "sdpa"


def packs(model: Any, size: Size, count: int, *, written: bool, seed: int = 0) -> list[Pack]:
    """Prompts of random frames and text, with completions as targets if `written`."""
    rng = np.random.default_rng(seed)
    config = model.config
    merged = size.height * size.width // MERGE**2
    made = []
    for number in range(count):
        ids: list[int] = []
        for _ in range(size.frames):
            ids += [*rng.integers(0, 200, 4), config.vision_start_token_id]
            ids += [config.image_token_id] * merged + [config.vision_end_token_id]
        ids += list(rng.integers(0, 200, size.prompt_tokens - len(ids)))
        pixels = torch.randn(
            size.patches, 3 * 2 * PATCH * PATCH, generator=torch.Generator().manual_seed(number + seed)
        )
        targets = rng.integers(0, 200, (size.completions, size.new_tokens)).tolist()
        branches = [Branch(ids[-1:], target if written else ()) for target in targets]
        grids = np.array([[1, size.height, size.width]] * size.frames)
        made.append(Pack(ids[:-1], grids, pixels, branches if written else branches[:1]))
    return made


def rows(model: Any, pack: Pack) -> dict[str, torch.Tensor]:
    """A pack as an ordinary batch: one row per branch, each with its own copy of the prompt and frames."""
    ids = torch.tensor(
        [[*pack.prefix_ids, *branch.context_ids, *branch.target_ids] for branch in pack.branches]
    )
    copies = len(pack.branches)
    if pack.pixel_values is None:
        raise ValueError("the pack has no pixels")
    inputs = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "mm_token_type_ids": (ids == model.config.image_token_id).int(),
        "pixel_values": pack.pixel_values.repeat(copies, 1),
        "image_grid_thw": torch.tensor(pack.grids).repeat(copies, 1),
    }
    return {name: tensor.to(model.device) for name, tensor in inputs.items()}


def special_tokens(model: Any) -> dict[str, Any]:
    """Special token IDs, as keyword arguments of `decode` and `collate`."""
    return {
        "image_token": model.config.image_token_id,
        "pad_token": model.config.text_config.pad_token_id,
        "merge": MERGE,
    }


def forward_flops(
    config: Any, size: Size, *, tokens: int, pairs: int, logits: int, frames: int | None = None
) -> float:
    """FLOPs of one forward pass.

    The language model processes `tokens` with `pairs` of visible query and key, and projects `logits` of them
    onto the vocabulary. The vision tower processes the frames of a prompt.
    """
    text, vision = config.text_config, config.vision_config
    frame = size.height * size.width
    patches = frame * (size.frames if frames is None else frames)
    width, shared = text.hidden_size, text.num_key_value_heads / text.num_attention_heads
    layer = 2 * width * (2 * width + 2 * width * shared + 3 * text.intermediate_size)
    written = text.num_hidden_layers * (tokens * layer + 4 * width * pairs)
    written += 2 * width * text.vocab_size * logits
    block = 2 * vision.hidden_size * (4 * vision.hidden_size + 3 * vision.intermediate_size)
    whole = len(vision.fullatt_block_indexes)
    seen = whole * frame + (vision.depth - whole) * min(frame, (vision.window_size // PATCH) ** 2)
    joined = vision.hidden_size * MERGE**2
    merger = 2 * patches / MERGE**2 * joined * (joined + vision.out_hidden_size)
    return written + patches * (vision.depth * block + 4 * vision.hidden_size * seen) + merger
