"""Group Sequence Policy Optimization with TRL's `GRPOTrainer`, over packs.

TRL implements the algorithm: sampling of prompts, group-normalised advantages, sequence-level importance
ratios, clipping, KL, logging. This module replaces how completions are written and scored, because TRL
gives every completion its own copy of the prompt and its frames:

* rollout: the G completions of a prompt grow as branches in one row (`openo3.model.decoding`);
* update: they are scored as branches in one row (`openo3.model.packing`), so a prompt's frames pass the
  vision tower and its text the language model once per group and update, not G times;
* mini-batches hold whole groups: TRL shuffles completions across a rollout, which would tear them apart.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from itertools import groupby
from math import ceil, gcd
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from datasets import Dataset
from peft import LoraConfig, PeftModel
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence
from transformers import TrainerCallback
from trl import GRPOConfig

from openo3.core import rewards
from openo3.core.evidence import parse_completion
from openo3.core.rewards import RewardSettings, all_rewards
from openo3.files.artifacts import read_json, write_json
from openo3.model.attention import attend_framewise
from openo3.model.batch_size import TokensPerBatch
from openo3.model.decoding import Generation, Sampling
from openo3.model.encode import Encoded, PromptEncoder
from openo3.model.engine import LocalEngine
from openo3.model.packing import Branch, Pack, collate, model_inputs
from openo3.model.upstream import vllm_forget_frames, vllm_set_processor_kwargs
from openo3.model.vllm_engine import MM_PROCESSOR_KWARGS, token_rules
from openo3.training.examples import Examples
from openo3.training.necessity import NecessityParams, NecessityReward
from openo3.training.nonfinite import FiniteSteps, OnNonFinite
from openo3.training.trl_compat import (
    OnFullDisk,
    SafeCheckpoints,
    SharedPrompts,
    checkpoint_every_n_layers,
    step_in_accumulation,
    unwrap_model_for_generation,
)


def reward_functions(examples: Examples, settings: RewardSettings) -> list[Callable[..., list[float | None]]]:
    """The rewards as TRL calls them; each completion is scored by its own sample's task."""

    parsed = lru_cache(maxsize=4096)(parse_completion)  # once, not once for each reward

    def scored(name: str, reward: rewards.Reward) -> Callable[..., list[float | None]]:
        def function(
            completions: Sequence[Any], sample: Sequence[int], trainer_state: Any, **_: Any
        ) -> list[float | None]:
            progress = (
                trainer_state.global_step / max(1, trainer_state.max_steps) if settings.adaptive else 1.0
            )
            return [
                reward(
                    examples.samples[index],
                    parsed(message[0]["content"], examples.box_space(examples.samples[index])),
                    progress=progress,
                    gate=settings.gate,
                    gate_s=settings.gate_s,
                    coverage=settings.coverage,
                )
                for message, index in zip(completions, sample, strict=True)
            ]

        function.__name__ = name
        return function

    return [scored(name, reward) for name, reward in all_rewards().items()]


class GroundedGSPOTrainer(FiniteSteps, SafeCheckpoints, SharedPrompts):
    """TRL's `GRPOTrainer` with shared prompts, see the module.

    `tokens_per_batch` bounds the tokens, of prompts and of completions to come, that are decoded at once, see
    `LocalEngine`.
    With TRL's `use_vllm` completions are written by vLLM instead, which shares prompts in its own way.
    `necessity` is among the reward functions and asks the model.
    """

    def __init__(
        self,
        *args: Any,
        examples: Examples,
        tokens_per_batch: TokensPerBatch,
        necessity: NecessityReward | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        if self.args.max_completion_length is None:
            raise ValueError("max_completion_length needs a number of tokens")
        self.max_new_tokens = self.args.max_completion_length
        checkpoint_every_n_layers(self.accelerator.unwrap_model(self.model))
        if self.ref_model is not None:
            attend_framewise(self.accelerator.unwrap_model(self.ref_model))
        if self.use_vllm and self.args.vllm_mode == "colocate":  # TRL has no setting for it
            vllm_set_processor_kwargs(self.vllm_generation.llm, MM_PROCESSOR_KWARGS)
        self.examples = examples
        self.engine = LocalEngine(
            self.model, self.processing_class, tokens_per_batch, examples.prompts, whole_rows=True
        )
        self.generator = torch.Generator(self.accelerator.device)
        self.rows: list[int] = []
        self.encoded: dict[int, Encoded] = {}
        self.written_logps: torch.Tensor | None = None
        if necessity:
            necessity.answering = self.answering

    def groups(self) -> list[tuple[Encoded, int]]:
        """The prompts of the current rows, each with its number of consecutive rows."""
        return [(self.encoded[index], len(list(same))) for index, same in groupby(self.rows)]

    def rollout(self) -> dict[str, Any]:
        """Completions of the current rows, as TRL's `rollout_func` returns them."""
        written = self._written_by_vllm() if self.use_vllm else self._written_here()
        prompt_ids = [
            [*encoded.prefix_ids, *encoded.context_ids]
            for encoded, count in self.groups()
            for _ in range(count)
        ]
        logprobs = [generation.logprobs for generation in written]
        if not self.use_vllm:  # vLLM's may be None where they are not a number
            self.written_logps = pad_sequence([torch.tensor(row) for row in logprobs], batch_first=True)
        return {"prompt_ids": prompt_ids, "completion_ids": [g.ids for g in written], "logprobs": logprobs}

    def _written_here(self) -> list[Generation]:
        self.generator.manual_seed(self._rollout_seed())
        written: list[Generation] = []
        with self.answering() as engine:
            for count, members in groupby(self.groups(), key=lambda group: group[1]):
                packs = [open_prompt(encoded) for encoded, _ in members]
                sampling = Sampling(self.max_new_tokens, self.temperature, self.top_p, count)
                if engine.unmeasured:
                    self._find_tokens_per_batch(packs, sampling)
                for generations in engine.decode_all(packs, sampling, self.generator):
                    written += generations
        return written

    @contextmanager
    def answering(self) -> Iterator[LocalEngine]:
        """The engine with the model as it is now, in evaluation mode, its weights gathered if they are
        spread."""
        with (
            unwrap_model_for_generation(
                self.model_wrapped,
                self.accelerator,
                gather_deepspeed3_params=self.args.ds3_gather_for_generation,
                gradient_checkpointing_kwargs=_as_dict(self.args.gradient_checkpointing_kwargs),
            ) as model,
            self.accelerator.autocast(),
        ):
            training = model.training
            self.engine.model = model.get_base_model() if isinstance(model, PeftModel) else model
            model.eval()
            yield self.engine
            model.train(training)

    def _written_by_vllm(self) -> list[Generation]:
        """Completions by TRL's vLLM client, colocated or on a server, whose weights TRL synchronises.

        The colocated engine expands image tokens itself; for a server TRL finds frames by their patches.
        """
        self._forget_frames()
        server = self.args.vllm_mode == "server"
        prompts, images = [], []
        for index in self.rows:
            encoded = self.encoded[index]
            whole = [*encoded.prefix_ids, *encoded.context_ids]
            prompts.append(whole if server else self.examples.encoder.unexpanded(encoded))
            images.append([frame.image for frame in self.examples.frames(self.examples.samples[index])])
        assert self.args.num_generations is not None  # TRL derives it where it is not set
        _, ids, logprobs, _ = self.vllm_generation.generate(
            prompts=prompts, images=images, num_generations=self.args.num_generations
        )
        return [
            Generation(list(row), [value[0] for value in values])
            for row, values in zip(ids, logprobs, strict=True)
        ]

    def _forget_frames(self) -> None:
        """Clear vLLM's cache of encoded frames: TRL updates the weights but not the cache."""
        if self.args.vllm_mode == "colocate":
            vllm_forget_frames(self.vllm_generation.llm)
        elif self.accelerator.is_main_process:
            client = self.vllm_generation.vllm_client
            client.session.post(f"{client.base_url}/reset_encoder_cache").raise_for_status()

    def _rollout_seed(self) -> int:
        """One per process and rollout, the same when a run resumes from a checkpoint. (Several rollouts can
        fall into one step of the optimizer.)"""
        accumulated = self.args.gradient_accumulation_steps
        batch = self.state.global_step * accumulated + step_in_accumulation(self)
        stream = batch * self.accelerator.num_processes + self.accelerator.process_index
        return self.args.seed + 1_000_003 * stream

    def _find_tokens_per_batch(self, packs: Sequence[Pack], sampling: Sampling) -> None:
        """What fits on each GPU, by the longest prompt. It is kept beside the checkpoints: a resumed run
        decodes the same batches, and so the same completions."""
        assert self.args.output_dir is not None  # transformers names one where none is set
        kept = Path(self.args.output_dir) / f"tokens_per_batch.{self.accelerator.num_processes}.json"
        if kept.is_file():
            self.engine.set_tokens_per_batch(read_json(kept))
            return
        longest = max(packs, key=lambda pack: len(pack.prefix_ids))
        own = self.engine.measure(longest, sampling, self._optimizer_to_come())
        self.engine.set_tokens_per_batch(min(gather_object([own])))
        if self.accelerator.is_main_process:
            write_json(kept, self.engine.tokens_per_batch)
            print(f"gspo: decodes {self.engine.tokens_per_batch:,} tokens at once", flush=True)

    def _optimizer_to_come(self) -> int:
        """Bytes of AdamW's two moments, which the first update makes. (DeepSpeed has its own by then.)"""
        if self.is_deepspeed_enabled or self.state.global_step:
            return 0
        return sum(8 * weights.numel() for weights in self.model.parameters() if weights.requires_grad)

    @property
    def facts(self) -> dict[str, Any]:
        """See `FiniteSteps`."""
        found = {"tokens_per_batch": self.engine.tokens_per_batch} if self.engine.found else {}
        return super().facts | found

    def begin_rollout(self, inputs: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        self.rows = [row["sample"] for row in inputs]
        self.encoded = {index: self.examples.encode(self.examples.samples[index]) for index in set(self.rows)}
        return torch.tensor(self.rows)

    def begin_loss(self, rows: torch.Tensor) -> None:
        self.rows = rows.tolist()
        self.name_samples(self.examples.samples[index].id for index in self.rows)

    def score_completions(
        self, model: Any, completions: torch.Tensor, places: torch.Tensor, batch_size: int | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Score each group of the current rows as one pack."""
        written, width = self.written_logps, completions.shape[1]
        old_policy = model is self.model and not torch.is_grad_enabled()
        if old_policy and written is not None and self._writes_as_it_scores:
            # The old policy is the one that has just generated, so its log-probabilities equal those of the
            # forward pass that would recompute them
            return pad(written, (0, width - written.shape[1])).to(completions.device), None
        texts = [ids[place].tolist() for ids, place in zip(completions, places, strict=True)]
        parts, row = [], 0
        for packs in self._scoring_batches(texts, batch_size or len(texts)):
            stop = row + sum(len(pack.branches) for pack in packs)
            parts.append(self._score(model, packs, places[row:stop]))
            row = stop
        logps, entropies = (torch.cat(values) for values in zip(*parts, strict=True))
        return logps, entropies

    @property
    def _writes_as_it_scores(self) -> bool:
        """Whether decoding and scoring agree to rounding, as they do in full precision. With an adapter the
        same model also serves as the reference, so the two calls cannot be told apart."""
        full = self.model.dtype == torch.float32 and self.accelerator.mixed_precision == "no"
        return full and not self.use_vllm and (self.beta == 0 or self.ref_model is not None)

    def _scoring_batches(self, texts: Sequence[Sequence[int]], most: int) -> Iterator[list[Pack]]:
        """The current rows with their completions, a pack per group, up to `most` rows or one group."""
        packs: list[Pack] = []
        rows = start = 0
        for encoded, count in self.groups():
            if packs and rows + count > most:
                yield packs
                packs, rows = [], 0
            packs.append(open_prompt(encoded, texts[start : start + count]))
            rows, start = rows + count, start + count
        yield packs

    def _score(
        self, model: Any, packs: Sequence[Pack], places: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Log-probabilities and entropies of the packs' completions, at `places` [rows, completion]."""
        encoder = self.examples.encoder
        batch = collate(
            packs,
            image_token=encoder.image_token_id,
            pad_token=encoder.tokenizer.pad_token_id,
            merge=encoder.merge,
        )
        scored = batch["labels"][:, 1:] >= 0  # a token's log-probability stands where it was predicted
        with self.accelerator.autocast():
            outputs = model(**model_inputs(model, batch), fused_lm_head=True)
        entropy = outputs.log_probs.detach() if outputs.entropy is None else outputs.entropy
        return _spread(outputs.log_probs, scored, places), _spread(entropy, scored, places)


def open_prompt(encoded: Encoded, completions: Sequence[Sequence[int]] = ((),)) -> Pack:
    """A prompt with its completions as branches, whose common context is the prompt's last token: the
    completion's first token is predicted from it."""
    shared, last = encoded.context_ids[:-1], encoded.context_ids[-1:]
    branches = [Branch(last, completion) for completion in completions]
    return Pack((*encoded.prefix_ids, *shared), encoded.vision.grids, encoded.vision.pixel_values, branches)


def _spread(values: torch.Tensor, scored: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
    """Values at the scored positions of packs, row by row, as [rows, completion] padded with zero."""
    flat = values[scored.to(values.device)]
    return values.new_zeros(places.shape).masked_scatter(places.to(values.device), flat)


def check_enough_samples(config: GRPOConfig, samples: int) -> None:
    """Check that there are at least as many samples as a rollout has prompts: TRL would train on none.

    Raises `ValueError` with settings that fit.
    """
    assert config.generation_batch_size  # TRL derives what is not set
    assert config.num_generations
    prompts = config.generation_batch_size // config.num_generations
    if samples < prompts:
        raise ValueError(
            f"a rollout has {prompts} prompts (generation_batch_size / num_generations), but there are only "
            f"{samples} records with frames: set per_device_train_batch_size to {config.num_generations} and "
            f"steps_per_generation to at most {samples}"
        )


def check_save_steps(config: GRPOConfig) -> None:
    """Check that checkpoints fall on the start of a rollout, since they do not hold a partly used rollout.

    Raises `ValueError` for a `save_steps` in the middle of a rollout, with the next good number.
    """
    if config.save_strategy != "steps":
        return
    save_steps = config.save_steps
    if save_steps < 1:  # a share of all steps
        if config.max_steps <= 0:
            raise ValueError("save_steps as a share of all steps needs max_steps; give a number of steps")
        save_steps = ceil(config.max_steps * save_steps)
    assert config.steps_per_generation is not None  # TRL derives it where it is not set
    batches = config.steps_per_generation * config.num_iterations
    steps = batches // gcd(batches, config.gradient_accumulation_steps)
    if save_steps % steps:
        raise ValueError(
            f"save_steps {int(save_steps)} falls into the middle of a rollout, which lasts {steps} steps "
            f"(steps_per_generation): the next good number is {ceil(save_steps / steps) * steps}"
        )


def prepare_vllm(config: GRPOConfig, encoder: PromptEncoder) -> None:
    """Set `config` so that vLLM samples as `decode` does and its completions are weighted alike.

    TRL corrects a completion's weight by the ratio of the model's probability to vLLM's. With `top_p` or
    another cut, vLLM's probability of every token is higher, so completions would be down-weighted with
    their length. The correction is therefore turned off there, with a warning.

    Raises `ValueError` if `off_policy_mask_threshold`, which compares the same two, is set beside a cut.
    """
    own, rules = _as_dict(config.generation_kwargs) or {}, token_rules(encoder)
    bias = {"logit_bias": (own.get("logit_bias") or {}) | rules["logit_bias"]}
    config.generation_kwargs = rules | own | bias
    if not _cuts(config, own):
        return
    if config.off_policy_mask_threshold is not None:
        raise ValueError("off_policy_mask_threshold with use_vllm needs top_p 1 and no other cut")
    if config.vllm_importance_sampling_correction:
        warnings.warn(
            "top_p or the like cuts the choice: no correction by vLLM's probabilities", stacklevel=2
        )
    config.vllm_importance_sampling_correction = False


def _as_dict(settings: dict[str, Any] | str | None) -> dict[str, Any] | None:
    """Settings inside those of a trainer, which may also be JSON text."""
    return json.loads(settings) if isinstance(settings, str) else settings


def _cuts(config: GRPOConfig, own: Mapping[str, Any]) -> bool:
    """Whether vLLM samples from a truncated distribution."""

    def setting(name: str) -> Any:
        return own.get(name, getattr(config, name))

    return (
        setting("top_p") < 1
        or (setting("top_k") or 0) > 0
        or (setting("min_p") or 0) > 0
        or setting("repetition_penalty") != 1
    )


def gspo_trainer(
    model: Any,
    processor: Any,
    examples: Examples,
    config: GRPOConfig,
    settings: RewardSettings,
    callbacks: Sequence[TrainerCallback] = (),
    tokens_per_batch: TokensPerBatch = 32768,
    lora: LoraConfig | None = None,
    on_non_finite: OnNonFinite = "stop",
    on_full_disk: OnFullDisk = "continue",
    necessity: NecessityParams | None = None,
) -> GroundedGSPOTrainer:
    """A trainer over all samples; `config.importance_sampling_level` "sequence" makes GRPO GSPO.

    With `necessity`, the reward of this name counts too.

    Raises `ValueError` for too few samples, see `check_enough_samples`.
    """
    check_enough_samples(config, len(examples.samples))
    config.remove_unused_columns = False
    if config.use_vllm:
        prepare_vllm(config, examples.encoder)
    config.reward_weights = [settings.weight(name) for name in all_rewards()]
    functions = reward_functions(examples, settings)
    asking = NecessityReward(examples, necessity) if necessity else None
    if necessity and asking:
        config.reward_weights.append(necessity.weight)
        functions.append(asking)
    rows = {
        "prompt": [[{"role": "user", "content": sample.question}] for sample in examples.samples],
        "sample": list(range(len(examples.samples))),
    }
    return GroundedGSPOTrainer(
        model=model,
        reward_funcs=functions,
        args=config,
        train_dataset=Dataset.from_dict(rows),
        processing_class=processor,
        callbacks=list(callbacks),
        peft_config=lora,
        examples=examples,
        tokens_per_batch=tokens_per_batch,
        necessity=asking,
        on_non_finite=on_non_finite,
        on_full_disk=on_full_disk,
    )
