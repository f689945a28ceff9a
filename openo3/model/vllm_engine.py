"""vLLM as an engine: the same prompts, with its kernels and its scheduler.

vLLM puts a frame's patches in place of one image token itself. It knows frames by their content and the
beginnings of prompts by their tokens, so a record's frames are encoded once for all its questions here too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from openo3.core.geometry import BoxSpace
from openo3.core.prompts import Prompts
from openo3.model.decoding import Sampling
from openo3.model.encode import Prompt, PromptEncoder
from openo3.model.engine import choose
from openo3.model.load import load_processor, resolve
from openo3.model.upstream import vllm_dtype, vllm_max_model_len, vllm_shutdown

MM_PROCESSOR_KWARGS = {"do_resize": False}
"""Frames have the model's size already; vLLM's image processor would enlarge small ones, and with that
change what the tokens of a prompt stand for."""


class VLLMEngine:
    """A model inside of `vllm.LLM`, see `openo3.model.engine.Engine`. Close it to end vLLM's processes."""

    def __init__(self, llm: Any, processor: Any, prompts: Prompts | None = None) -> None:
        self.llm = llm
        self.encoder = PromptEncoder(processor, prompts)

    @classmethod
    def load(
        cls, path: str | Path, settings: Mapping[str, Any], prompts: Prompts | None = None
    ) -> VLLMEngine:
        """`settings` go to `vllm.LLM` under its own names; see `PromptEncoder` for `prompts`.

        Raises `ImportError` without vLLM, `FileNotFoundError` where no model is, `TypeError` or `ValueError`
        for a setting that vLLM does not know or cannot follow.
        """
        from vllm import LLM  # pyright: ignore[reportMissingImports]  # in the GPU lock alone

        model = resolve(path)
        defaults = {
            "revision": model.get("revision"),
            "trust_remote_code": False,
            "dtype": "bfloat16" if torch.cuda.is_available() else "float32",
            "limit_mm_per_prompt": {"video": 0},
            "mm_processor_kwargs": dict(MM_PROCESSOR_KWARGS),
        }
        llm = LLM(model["pretrained_model_name_or_path"], **defaults | dict(settings))
        return cls(llm, load_processor(path), prompts)

    def close(self) -> None:
        vllm_shutdown(self.llm)

    @property
    def facts(self) -> dict[str, str]:
        """See `openo3.model.engine.Engine`."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return {"name": "vllm", "device": device, "dtype": vllm_dtype(self.llm)}

    @property
    def context_tokens(self) -> int:
        return vllm_max_model_len(self.llm)

    def box_space(self, size: tuple[int, int]) -> BoxSpace:
        return self.encoder.box_space(size)

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        watch: Callable[[str], None] | None = None,
    ) -> list[list[str]]:
        """See `Engine`; `watch` is called once, in the end.

        Every answer is sampled with a seed of its own (vLLM counts on from the prompt's). Raises `ValueError`
        if vLLM's `max_model_len` leaves an answer less than `sampling.max_new_tokens`.
        """
        outputs = self.llm.generate(
            [self._request(prompt, sampling) for prompt in prompts],
            [self._decoding(sampling, sampling.seed + sampling.n * index) for index in range(len(prompts))],
            use_tqdm=False,
        )
        texts = [[self.encoder.decode(answer.token_ids) for answer in output.outputs] for output in outputs]
        if watch:
            watch(texts[0][0])
        return texts

    def choose(self, prompts: Sequence[Prompt], options: Sequence[str]) -> list[int]:
        """See `Engine`."""
        return choose(self, prompts, options)

    def _request(self, prompt: Prompt, sampling: Sampling) -> dict[str, Any]:
        images = [frame.image for frame in prompt.frames]
        encoded = self.encoder.encode(prompt, self.encoder.unseen([image.size for image in images]))
        tokens = len(encoded.prefix_ids) + len(encoded.context_ids)
        most = vllm_max_model_len(self.llm)
        if tokens + sampling.max_new_tokens > most:
            raise ValueError(
                f"max_model_len is {most}, but a prompt has {tokens} tokens and its answer may have "
                f"{sampling.max_new_tokens} (max_new_tokens)"
            )
        ids = self.encoder.unexpanded(encoded)
        return {"prompt_token_ids": ids, "multi_modal_data": {"image": images}}

    def _decoding(self, sampling: Sampling, seed: int) -> Any:
        from vllm import SamplingParams  # pyright: ignore[reportMissingImports]  # in the GPU lock alone

        return SamplingParams(
            n=sampling.n,
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            repetition_penalty=sampling.repetition_penalty,
            max_tokens=sampling.max_new_tokens,
            seed=seed,
            detokenize=False,
            allowed_token_ids=list(sampling.only) or None,
            **token_rules(self.encoder),
        )


def token_rules(encoder: PromptEncoder) -> dict[str, Any]:
    """Settings of `vllm.SamplingParams` that let it write what `decode` may: an answer ends with any of the
    encoder's ending tokens and no other, and nobody writes the token that stands for a patch."""
    return {
        "logit_bias": {encoder.image_token_id: -100.0},
        "stop_token_ids": list(encoder.end_ids),
        "ignore_eos": True,  # of what vLLM itself takes for the end
    }
