"""A real Qwen3-VL of under four million parameters: configuration, tokenizer and processor.

The classes are those of Qwen3-VL-8B; only sizes differ. The rest of the pipeline loads the saved folder with
`from_pretrained`, like any model of the family.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    Qwen2Tokenizer,
    Qwen2VLImageProcessor,
    Qwen3VLConfig,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

PATCH, MERGE = 16, 2
MAX_PIXELS = 128 * 96
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>",
           "<|image_pad|>", "<|video_pad|>")  # fmt: skip
GRAMMAR = tuple(f"<{slash}{tag}>" for tag in ("think", "answer", "obj", "box", "t") for slash in ("", "/"))
WORDS = r"""\p{L}+| ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+"""
CHAT_TEMPLATE = """{%- for message in messages %}<|im_start|>{{ message.role }}
{% if message.content is string %}{{ message.content }}{% else %}{% for part in message.content %}\
{% if part.type == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part.text }}{% endif %}\
{% endfor %}{% endif %}<|im_end|>
{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""


def tokenizer(corpus: Iterable[str], vocabulary: int = 640) -> Qwen2Tokenizer:
    """Train a byte-level BPE tokenizer with Qwen's special tokens and, like Qwen's, one token per digit.

    The grammar's tags are added tokens but not special ones. Decoding drops special tokens, and the rewards
    need the tags.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"<[^<>]*>"), "isolated"),
            pre_tokenizers.Split(Regex(WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    bpe.train_from_iterator((strip_grammar(text) for text in corpus), trainer)
    trained = json.loads(bpe.to_str())["model"]
    settings: dict[str, Any] = {  # transformers accepts more types here than its hints say
        "vocab": trained["vocab"],
        "merges": [tuple(merge) for merge in trained["merges"]],
        "unk_token": None,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "model_max_length": 8192,
    }
    result = Qwen2Tokenizer(**settings)
    special: list[Any] = [AddedToken(token, special=True) for token in SPECIAL]
    tags: list[Any] = [AddedToken(tag, special=False, normalized=False) for tag in GRAMMAR]
    result.add_special_tokens({"additional_special_tokens": special})
    result.add_tokens(tags)
    return result


def strip_grammar(text: str) -> str:
    """Text without tags and special tokens, so that no merges are learnt from them."""
    for tag in (*GRAMMAR, *SPECIAL):
        text = text.replace(tag, "\n")  # not a space, which would become part of the next word's token
    return text


def processor(text: Qwen2Tokenizer) -> Qwen3VLProcessor:
    """Qwen3-VL's processor with a small pixel budget."""
    size = {"shortest_edge": PATCH * MERGE * PATCH * MERGE, "longest_edge": MAX_PIXELS}
    half = [0.5, 0.5, 0.5]
    vision: dict[str, Any] = {
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": 2,
        "image_mean": half,
        "image_std": half,
    }
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size, **vision),
        video_processor=Qwen3VLVideoProcessor(size=size, **vision),
        tokenizer=text,
        chat_template=CHAT_TEMPLATE,
    )


def config(text: Qwen2Tokenizer) -> Qwen3VLConfig:
    """3.6 million parameters: six language layers of width 192, four vision layers of width 128."""
    image, video, start, end = (
        text.added_tokens_encoder[token]
        for token in ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    )
    return Qwen3VLConfig(
        text_config={
            "vocab_size": (len(text) + 63) // 64 * 64,
            "hidden_size": 192,
            "intermediate_size": 384,
            "num_hidden_layers": 6,
            "num_attention_heads": 6,
            "num_key_value_heads": 3,
            "head_dim": 32,
            "max_position_embeddings": 8192,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": [6, 5, 5],
                "mrope_interleaved": True,
            },
            "tie_word_embeddings": True,
            "initializer_range": 0.08,
            "pad_token_id": text.pad_token_id,
            "eos_token_id": text.eos_token_id,
        },
        vision_config={
            "depth": 4,
            "hidden_size": 128,
            "intermediate_size": 256,
            "num_heads": 4,
            "patch_size": PATCH,
            "spatial_merge_size": MERGE,
            "temporal_patch_size": 2,
            "out_hidden_size": 192,
            "num_position_embeddings": 64,
            "deepstack_visual_indexes": [1],
            "initializer_range": 0.08,
        },
        image_token_id=image,
        video_token_id=video,
        vision_start_token_id=start,
        vision_end_token_id=end,
        tie_word_embeddings=True,
    )
