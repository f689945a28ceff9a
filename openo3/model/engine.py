"""The engine interface, prompts in and completions out, and its implementation with transformers.

`LocalEngine` decodes with transformers: prompts about the same frames share one encoded prefix
(`decoding`), and rows are batched by length. `openo3.model.vllm_engine` implements the same two methods.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import torch
from tqdm import tqdm

from openo3.core.geometry import BoxSpace
from openo3.core.prompts import Prompts
from openo3.model.batch_size import (
    UNMEASURED,
    TokensPerBatch,
    TooLargeError,
    fitting,
    out_of_memory,
    release,
)
from openo3.model.decoding import Generation, Sampling, decode
from openo3.model.encode import Prompt, PromptEncoder
from openo3.model.fused_layers import compile_vision
from openo3.model.load import load_model, load_processor
from openo3.model.packing import Branch, Pack

_PROBED = 32  # new tokens of the prompt that is measured


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
    def facts(self) -> dict[str, Any]:
        """`name`, `device` and `dtype`: what a protocol says about it."""
        ...

    def choose(self, prompts: Sequence[Prompt], options: Sequence[str]) -> list[int]:
        """For each prompt, which of the `options` is the likeliest next token. Each has to be one token."""
        ...


class LocalEngine:
    """A model of the Qwen-VL family in this process.

    `tokens_per_batch` bounds the prefix tokens decoded at once; raise it on a large GPU. With `whole_rows` it
    counts whole rows, answers to come included. "auto" measures with the first prompts how many such tokens
    the memory holds. A batch that does not fit after all is decoded in halves, and so are later ones.
    """

    def __init__(
        self,
        model: Any,
        processor: Any,
        tokens_per_batch: TokensPerBatch = 6144,
        prompts: Prompts | None = None,
        *,
        whole_rows: bool = False,
    ) -> None:
        self.model = model
        self.encoder = PromptEncoder(processor, prompts)
        self.unmeasured = tokens_per_batch == "auto"
        self.whole_rows = whole_rows or self.unmeasured
        self.tokens_per_batch = UNMEASURED if tokens_per_batch == "auto" else tokens_per_batch
        self.found = False  # whether the number was measured, or reduced
        self.remember: Callable[[int], None] = lambda tokens: None

    @classmethod
    def load(
        cls, path: str | Path, tokens_per_batch: TokensPerBatch = 6144, prompts: Prompts | None = None
    ) -> LocalEngine:
        """The model of a folder, on the GPU if there is one, see `PromptEncoder` for `prompts`."""
        model = load_model(path)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        model = model.to(device).eval()
        compile_vision(model)
        return cls(model, load_processor(path), tokens_per_batch, prompts)

    @property
    def facts(self) -> dict[str, Any]:
        """See `Engine`; `tokens_per_batch` too where it was found here: sampled answers depend on it."""
        dtype = str(self.model.dtype).removeprefix("torch.")
        known = {"name": "transformers", "device": self.model.device.type, "dtype": dtype}
        return known | ({"tokens_per_batch": self.tokens_per_batch} if self.found else {})

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
        if self.unmeasured and order:
            self.measure(self._pack(prompts, order[-1]), sampling)
        packs = (self._pack(prompts, members) for members in order)
        with tqdm(total=len(prompts), desc=progress, unit="question", disable=progress is None) as bar:
            for members, generations in zip(
                order, self.decode_all(packs, sampling, generator, watch), strict=True
            ):
                for number, index in enumerate(members):
                    answers = generations[number * sampling.n : (number + 1) * sampling.n]
                    texts[index] = [self.encoder.decode(answer.ids) for answer in answers]
                bar.update(len(members))
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

    def decode_all(
        self,
        packs: Iterable[Pack],
        sampling: Sampling,
        generator: torch.Generator,
        watch: Callable[[str], None] | None = None,
    ) -> Iterator[list[Generation]]:
        """`decode` for any number of packs, as many at once as `tokens_per_batch` says."""
        for batch in self._batches(packs, sampling):
            yield from self._decode_within_memory(batch, sampling, generator, watch)

    def _decode_within_memory(
        self,
        packs: Sequence[Pack],
        sampling: Sampling,
        generator: torch.Generator,
        watch: Callable[[str], None] | None,
    ) -> list[list[Generation]]:
        """`decode`, in halves while memory is not sufficient. Raises `TooLargeError` if it is not for one."""
        state = generator.get_state()
        try:
            return self.decode(packs, sampling, generator, watch)
        except Exception as error:
            if not out_of_memory(error):
                raise
        generator.set_state(state)
        release()  # only here: the error held what the attempt had allocated
        longest = max(self._row(pack, sampling) for pack in packs)
        if len(packs) == 1:
            raise TooLargeError(
                f"a prompt of {len(packs[0].prefix_ids):,} tokens with its answers does not fit into memory: "
                "show fewer or smaller frames, or allow fewer new tokens"
            )
        half = (len(packs) + 1) // 2
        self.set_tokens_per_batch(min(self.tokens_per_batch, longest * half))
        print(
            f"out of memory with {len(packs)} prompts at once: goes on with at most "
            f"{self.tokens_per_batch:,} tokens at once",
            file=sys.stderr,
            flush=True,
        )
        return [
            written
            for part in (packs[:half], packs[half:])
            for written in self._decode_within_memory(part, sampling, generator, watch)
        ]

    def measure(self, pack: Pack, sampling: Sampling, to_come: int = 0) -> int:
        """Set how many tokens are decoded at once by what this prompt takes, see `batch_size.fitting`.

        Its answers are cut short: what they take grows with their length.
        """
        short = replace(sampling, n=1, max_new_tokens=min(_PROBED, sampling.max_new_tokens))

        def decode() -> int:
            self._decode_within_memory([pack], short, torch.Generator(self.model.device), None)
            return self._row(pack, short)

        text = self.model.config.get_text_config()
        width = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        cached = 2 * text.num_hidden_layers * text.num_key_value_heads * width * self.model.dtype.itemsize
        self.set_tokens_per_batch(fitting(self.model.device, decode, cached, to_come))
        return self.tokens_per_batch

    def set_tokens_per_batch(self, tokens: int) -> None:
        """From now on, and `remember` it."""
        self.tokens_per_batch, self.found, self.unmeasured = tokens, True, False
        self.remember(tokens)

    def _pack(self, prompts: Sequence[Prompt], members: Sequence[int]) -> Pack:
        """Prompts with the same frames."""
        first = self.encoder.encode(prompts[members[0]])
        others = [self.encoder.encode(prompts[index], first.vision) for index in members[1:]]
        branches = [Branch(encoded.context_ids, ()) for encoded in (first, *others)]
        return Pack(first.prefix_ids, first.vision.grids, first.vision.pixel_values, branches)

    def _batches(self, packs: Iterable[Pack], sampling: Sampling) -> Iterator[list[Pack]]:
        """Packs gathered up to the token budget, every row counted as the longest."""
        batch: list[Pack] = []
        longest = 0
        for pack in packs:
            row = self._row(pack, sampling)
            longest = max(longest, row)
            if batch and longest * (len(batch) + 1) > self.tokens_per_batch:
                yield batch
                batch, longest = [], row
            batch.append(pack)
        if batch:
            yield batch

    def _row(self, pack: Pack, sampling: Sampling) -> int:
        """The tokens of a row that count."""
        if not self.whole_rows:
            return len(pack.prefix_ids)
        branches = sum(len(branch.context_ids) + sampling.max_new_tokens for branch in pack.branches)
        return len(pack.prefix_ids) + sampling.n * branches


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
