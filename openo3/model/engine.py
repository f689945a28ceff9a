"""The engine interface, prompts in and completions out, and its implementation with transformers.

`LocalEngine` decodes with transformers: prompts about the same frames share one encoded prefix
(`decoding`), and rows are batched by length. `openo3.model.vllm_engine` implements the same two methods.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

from openo3.core.geometry import BoxSpace
from openo3.core.prompts import Prompts
from openo3.model.decoding import Generation, Sampling, decode
from openo3.model.encode import Prompt, PromptEncoder
from openo3.model.fused_layers import compile_vision
from openo3.model.load import load_model, load_processor
from openo3.model.packing import Branch, Pack


class Engine(Protocol):
    """What evaluation and the server ask of a model."""

    encoder: PromptEncoder

    @property
    def context_tokens(self) -> int:
        """The most tokens of a prompt and its answer together."""
        ...

    def box_space(self, size: tuple[int, int]) -> BoxSpace:
        """The coordinate space of the boxes the model reads and writes, for frames of this `(W, H)`."""
        ...

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        *,
        watch: Callable[[str], None] | None = None,
    ) -> list[list[str]]:
        """`sampling.n` completions for each prompt, in the order of the prompts.

        `watch` receives the first answer's text so far, as often as the engine knows it.
        """
        ...

    @property
    def facts(self) -> dict[str, str]:
        """`name`, `device` and `dtype`: what a protocol says about it."""
        ...

    def choose(self, prompts: Sequence[Prompt], options: Sequence[str]) -> list[int]:
        """For each prompt, which of the `options` is the likeliest next token. Each has to be one token."""
        ...


class LocalEngine:
    """A model of the Qwen-VL family in this process.

    `tokens_per_batch` bounds the prefix tokens decoded at once; raise it on a large GPU.
    """

    def __init__(
        self, model: Any, processor: Any, tokens_per_batch: int = 6144, prompts: Prompts | None = None
    ) -> None:
        self.model = model
        self.encoder = PromptEncoder(processor, prompts)
        self.tokens_per_batch = tokens_per_batch

    @classmethod
    def load(
        cls, path: str | Path, tokens_per_batch: int = 6144, prompts: Prompts | None = None
    ) -> LocalEngine:
        """The model of a folder, on the GPU if there is one, see `PromptEncoder` for `prompts`."""
        model = load_model(path)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = model.to(device).eval()
        compile_vision(model)
        return cls(model, load_processor(path), tokens_per_batch, prompts)

    @property
    def facts(self) -> dict[str, str]:
        """See `Engine`."""
        dtype = str(self.model.dtype).removeprefix("torch.")
        return {"name": "transformers", "device": self.model.device.type, "dtype": dtype}

    @property
    def context_tokens(self) -> int:
        return self.model.config.get_text_config().max_position_embeddings

    def box_space(self, size: tuple[int, int]) -> BoxSpace:
        return self.encoder.box_space(size)

    def generate(
        self,
        prompts: Sequence[Prompt],
        sampling: Sampling,
        progress: str | None = None,
        watch: Callable[[str], None] | None = None,
    ) -> list[list[str]]:
        """See `Engine`; `progress` names a progress bar, none is shown without it.

        `watch` receives the text of a batch's first answer so far, after every token.
        """
        # Several samples of each question would make a shared row long
        groups = same_frames(prompts) if sampling.n == 1 else [[index] for index in range(len(prompts))]
        order = sorted(groups, key=lambda members: len(prompts[members[0]].frames))
        texts: list[list[str]] = [[] for _ in prompts]
        generator = torch.Generator(self.model.device).manual_seed(sampling.seed)
        with tqdm(total=len(prompts), desc=progress, unit="question", disable=progress is None) as bar:
            for batch in self._batches(prompts, order):
                packs = [pack for pack, _ in batch]
                for (_, members), generations in zip(
                    batch, self.decode(packs, sampling, generator, watch), strict=True
                ):
                    for number, index in enumerate(members):
                        answers = generations[number * sampling.n : (number + 1) * sampling.n]
                        texts[index] = [self.encoder.decode(answer.ids) for answer in answers]
                bar.update(sum(len(members) for _, members in batch))
        return texts

    def choose(self, prompts: Sequence[Prompt], options: Sequence[str]) -> list[int]:
        """See `Engine`."""
        return choose(self, prompts, options)

    def decode(
        self,
        packs: Sequence[Pack],
        sampling: Sampling,
        generator: torch.Generator,
        watch: Callable[[str], None] | None = None,
    ) -> list[list[Generation]]:
        """Continue the branches of tokenised packs (the rollouts of reinforcement learning)."""

        def show(written: list[list[Generation]]) -> None:
            if watch is not None:
                watch(self.encoder.decode(written[0][0].ids))

        return decode(
            self.model,
            packs,
            sampling,
            image_token=self.encoder.image_token_id,
            pad_token=self.encoder.tokenizer.pad_token_id,
            end_tokens=self.encoder.end_ids,
            merge=self.encoder.merge,
            generator=generator,
            watch=show if watch else None,
        )

    def _batches(
        self, prompts: Sequence[Prompt], groups: Sequence[list[int]]
    ) -> Iterator[list[tuple[Pack, list[int]]]]:
        """Packs of prompts with the same frames, gathered up to the token budget."""
        batch: list[tuple[Pack, list[int]]] = []
        longest = 0
        for members in groups:
            first = self.encoder.encode(prompts[members[0]])
            others = [self.encoder.encode(prompts[index], first.vision) for index in members[1:]]
            branches = [Branch(encoded.context_ids, ()) for encoded in (first, *others)]
            pack = Pack(first.prefix_ids, first.vision.grids, first.vision.pixel_values, branches)
            longest = max(longest, len(pack.prefix_ids))
            if batch and longest * (len(batch) + 1) > self.tokens_per_batch:
                yield batch
                batch, longest = [], len(pack.prefix_ids)
            batch.append((pack, members))
        if batch:
            yield batch


def choose(engine: Engine, prompts: Sequence[Prompt], options: Sequence[str]) -> list[int]:
    """An engine's `choose` by its `generate`: one greedy token, which can only be an option.

    It takes one forward pass and always has an answer. Raises `ValueError` for an option of several tokens.
    """
    ids = tuple(engine.encoder.token(option) for option in options)
    written = engine.generate(prompts, Sampling(max_new_tokens=1, only=ids))
    return [options.index(text) for [text] in written]


def same_frames(prompts: Sequence[Prompt]) -> list[list[int]]:
    """Indices of the prompts that can share a prefix: those with the same tuple of frames, the very object,
    and the same length of the video. Each index is in one group, in the order of the first ones."""
    groups: list[list[int]] = []
    for index, prompt in enumerate(prompts):
        for members in groups:
            first = prompts[members[0]]
            if first.frames is prompt.frames and first.duration_s == prompt.duration_s:
                members.append(index)
                break
        else:
            groups.append([index])
    return groups
