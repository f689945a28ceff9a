"""All uses of private or experimental parts of transformers and TRL in this package.

`SEAMS` lists them, each with the version it was written against, why it is used and when that may end; a
test compares them with what is installed. The classes here turn each private method into a public hook that
the trainers implement.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from accelerate.utils import broadcast_object_list, gather_object
from peft import PeftModel
from torch.utils.data import Sampler
from transformers import PreTrainedModel, Trainer
from transformers.trainer_utils import rotate_checkpoints
from trl import GRPOConfig, GRPOTrainer, SFTTrainer
from trl.models.utils import unwrap_model_for_generation as unwrap_model_for_generation
from trl.trainer.utils import split_tensor_dict

from openo3.model.upstream import Seam
from openo3.training.checkpoints import seal, space_needed
from openo3.training.disk import noted, noting_torch_save, problem_of, with_patience

OnFullDisk = Literal["continue", "stop"]

_TRL, _TRANSFORMERS = ("trl", "1.16.0"), ("transformers", "5.23.0")
_PROMPTS = "TRL's trainer takes prompts that completions share"
SEAMS = (
    Seam(
        *_TRL,
        "trl.GRPOTrainer._generate_and_score_completions",
        "`SharedPrompts` learns which samples a rollout asks, and keeps them with it",
        _PROMPTS,
        "self, inputs",
    ),
    Seam(
        *_TRL,
        "trl.GRPOTrainer._prepare_inputs",
        "`SharedPrompts` splits a rollout without shuffling, which would tear groups apart",
        "TRL has a setting for it",
        "self, generation_batch",
    ),
    Seam(
        *_TRL,
        "trl.GRPOTrainer._compute_loss",
        "`SharedPrompts` learns which samples a loss is about",
        _PROMPTS,
        "self, model, inputs",
    ),
    Seam(
        *_TRL,
        "trl.GRPOTrainer._get_per_token_logps_and_entropies",
        "`SharedPrompts` scores completions as branches of packs",
        _PROMPTS,
        "self, model, input_ids, attention_mask, logits_to_keep, batch_size=None, compute_entropy=False, "
        "compute_aux_loss=False, pixel_values=None, image_grid_thw=None, num_images=None, "
        "pixel_attention_mask=None, spatial_shapes=None, num_tiles=None, image_sizes=None, "
        "token_type_ids=None, mm_token_type_ids=None, image_position_ids=None",
    ),
    Seam(
        *_TRL,
        "trl.GRPOTrainer.__init__",
        "`rollout_func`, an experimental argument: completions are written by `openo3.model.decoding`",
        "TRL declares it stable",
        mentions="rollout_func",
    ),
    Seam(
        *_TRL,
        "trl.GRPOTrainer",
        "`SharedPrompts` fills the buffer of a rollout's slices",
        "TRL can split a rollout without shuffling",
        mentions="self._buffered_inputs[self._step % self.args.steps_per_generation]",
    ),
    Seam(
        *_TRL,
        "trl.trainer.utils.split_tensor_dict",
        "`SharedPrompts` splits a rollout as TRL does",
        "TRL can split a rollout without shuffling",
        "tensor_dict, num_chunks",
    ),
    Seam(
        *_TRL,
        "trl.models.utils.unwrap_model_for_generation",
        "gathers weights that DeepSpeed has spread, for a rollout",
        "TRL exports it",
        "model, accelerator, gather_deepspeed3_params=True, generation_kwargs=None, "
        "gradient_checkpointing_kwargs=None",
    ),
    Seam(
        *_TRL,
        "trl.SFTTrainer.compute_loss",
        "`count_tokens` corrects the number of tokens, which TRL takes from a mask of one dimension",
        "TRL counts tokens by a method of its own",
        mentions='["num_tokens"] = [self._total_train_tokens]',
    ),
    Seam(
        *_TRANSFORMERS,
        "transformers.Trainer._get_grad_norm",
        "`GradientNorms`: no callback is given the norm before the optimizer's step",
        "`on_pre_optimizer_step` is given the norm",
        "self, model, grad_norm=None",
    ),
    Seam(
        *_TRANSFORMERS,
        "transformers.Trainer._save_checkpoint",
        "`SafeCheckpoints`: older checkpoints must stay until the new one is whole",
        "transformers removes them after a callback, and survives a full disk",
        "self, model, trial",
    ),
    Seam(
        *_TRANSFORMERS,
        "transformers.Trainer._get_output_dir",
        "`SafeCheckpoints` needs the folder of the checkpoints",
        "with `_save_checkpoint`",
        "self, trial",
    ),
    Seam(
        *_TRANSFORMERS,
        "transformers.Trainer._save",
        "`SafeCheckpoints`: the only part of a save in which no process waits for another",
        "with `_save_checkpoint`",
        "self, output_dir=None, state_dict=None",
    ),
    Seam(
        *_TRANSFORMERS,
        "transformers.Trainer",
        "`SafeCheckpoints` replaces DeepSpeed's save while it lasts",
        "with `_save_checkpoint`",
        mentions="self.model_wrapped.save_checkpoint(output_dir",
    ),
    Seam(
        *_TRANSFORMERS,
        "transformers.Trainer._get_train_sampler",
        "`OrderedRows` balances packs over processes",
        "`train_sampling_strategy` takes a sampler",
        "self, train_dataset=None",
    ),
    Seam(
        *_TRANSFORMERS,
        "transformers.trainer_utils.rotate_checkpoints",
        "`SafeCheckpoints` removes older checkpoints as the trainer would",
        "with `_save_checkpoint`",
        "output_dir, save_total_limit=None, best_model_checkpoint=None, use_mtime=False, "
        "checkpoint_prefix='checkpoint'",
    ),
    Seam(
        *_TRANSFORMERS,
        "transformers.PreTrainedModel.gradient_checkpointing_enable",
        "`checkpoint_every_n_layers` replaces it on a model",
        "TRL passes `every_n_layers` and `offload` on as the trainer's settings",
        "self, gradient_checkpointing_kwargs=None, **kwargs",
    ),
)
# Image arguments of `_get_per_token_logps_and_entropies`, which are unused because packs hold the images
_OF_IMAGES = {
    "compute_aux_loss",
    "pixel_values",
    "image_grid_thw",
    "num_images",
    "pixel_attention_mask",
    "spatial_shapes",
    "num_tiles",
    "image_sizes",
    "token_type_ids",
    "mm_token_type_ids",
    "image_position_ids",
}


class SharedPrompts(GRPOTrainer):
    """`GRPOTrainer` whose completions a subclass writes and scores, in the order of its prompts."""

    args: GRPOConfig
    model: PreTrainedModel | PeftModel

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, rollout_func=lambda prompts, trainer: self.rollout(), **kwargs)

    def rollout(self) -> dict[str, Any]:
        """Completions of the rows of `begin_rollout`, as TRL's `rollout_func` returns them."""
        raise NotImplementedError

    def begin_rollout(self, inputs: Sequence[Mapping[str, Any]]) -> torch.Tensor:
        """Store the data set rows of a rollout; return one number per row that identifies it."""
        raise NotImplementedError

    def begin_loss(self, rows: torch.Tensor) -> None:
        """Set the rows of the next loss, as numbered by `begin_rollout`."""
        raise NotImplementedError

    def score_completions(
        self, model: Any, completions: torch.Tensor, places: torch.Tensor, batch_size: int | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Log-probabilities and entropies [rows, completion] of the current rows' `completions` [rows,
        completion], whose tokens are at `places` (bool, the same shape)."""
        raise NotImplementedError

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        rows = self.begin_rollout(inputs)
        output = super()._generate_and_score_completions(inputs)
        output["rows"] = rows
        return output

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        if not self.model.training:
            return self._generate_and_score_completions(generation_batch)
        slices = self.args.steps_per_generation
        assert slices is not None  # TRL derives it where it is not set
        if self._step % (slices * self.num_iterations) == 0 or self._buffered_inputs is None:
            rollout = self._generate_and_score_completions(generation_batch)
            self._buffered_inputs = split_tensor_dict(rollout, slices)
        return self._buffered_inputs[self._step % slices]

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        self.begin_loss(inputs["rows"])
        return super()._compute_loss(model, inputs)

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        **of_images: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        if unknown := of_images.keys() - _OF_IMAGES:
            raise TypeError(f"this TRL scores completions with {', '.join(sorted(unknown))}, see SEAMS")
        completions, places = input_ids[:, -logits_to_keep:], attention_mask[:, -logits_to_keep:].bool()
        logps, entropies = self.score_completions(model, completions, places, batch_size)
        return logps, entropies if compute_entropy else None, None


def step_in_accumulation(trainer: GRPOTrainer) -> int:
    """How many batches of the optimizer's current step are done. (TRL's own count starts at zero when a run
    resumes.)"""
    return trainer._step % trainer.args.gradient_accumulation_steps


def checkpoint_every_n_layers(model: Any) -> None:
    """Let `every_n_layers` and `offload` of `gradient_checkpointing_kwargs` survive a rollout.

    They are settings of transformers' trainer, but TRL, which switches checkpointing off and on again around
    a rollout, hands all settings on as if they were torch's.
    """
    enable = model.gradient_checkpointing_enable

    def enable_again(gradient_checkpointing_kwargs: dict[str, Any] | None = None, **own: Any) -> None:
        settings = dict(gradient_checkpointing_kwargs or {})
        own = {name: settings.pop(name) for name in ("every_n_layers", "offload") if name in settings} | own
        enable(settings or None, **own)

    model.gradient_checkpointing_enable = enable_again


@contextmanager
def count_tokens(trainer: SFTTrainer, tokens: int, training: bool) -> Iterator[None]:
    """Around a loss: TRL has then counted `tokens`, and none in evaluation."""
    total = trainer._total_train_tokens + (tokens if training else 0)
    yield
    trainer._total_train_tokens = total
    trainer._metrics["train" if training else "eval"]["num_tokens"] = [total]


class GradientNorms(Trainer):
    """A mixin, before a transformers trainer among the bases: calls `on_gradient_norm` before each update."""

    def on_gradient_norm(self, norm: Any) -> None:
        """`norm`: of all gradients before clipping, a number or a tensor, the same in all processes."""
        raise NotImplementedError

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        norm = super()._get_grad_norm(model, grad_norm)
        self.on_gradient_norm(norm)
        return norm


class SafeCheckpoints(Trainer):
    """A mixin, before a transformers trainer among the bases: a failed save never loses a whole checkpoint.

    Older checkpoints are removed only after the new one is complete and sealed. A checkpoint for which the
    disk has too little space, or which any process cannot write, is one line on standard error; with
    `on_full_disk` "continue" training goes on to the next save, with "stop" all processes end. The trained
    model waits for space (`openo3.training.disk.with_patience`).
    """

    def __init__(self, *args: Any, on_full_disk: OnFullDisk = "continue", **kwargs: Any) -> None:
        self.on_full_disk = on_full_disk
        self._problems: list[str] | None = None  # of the checkpoint that is being saved, in this process
        super().__init__(*args, **kwargs)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        folder = Path(self._get_output_dir(trial=trial))
        name = f"checkpoint-{self.state.global_step}"
        problem = self._from_main(self._shortage(folder) if self.is_world_process_zero() else None)
        if problem is None:
            problem = self._try_to_save(model, trial, folder, name)
        if problem is None:
            return
        if self.is_world_process_zero():
            shutil.rmtree(folder / name, ignore_errors=True)
            then = "training continues" if self.on_full_disk == "continue" else "training stops"
            self._say(f"{name} was not saved ({problem}): earlier checkpoints are kept, {then}")
        if self.on_full_disk == "stop":
            raise SystemExit(1)

    def _try_to_save(self, model: Any, trial: Any, folder: Path, name: str) -> str | None:
        """The first problem of any process, the same in all processes."""
        problems: list[str] = []
        limit = self.args.save_total_limit
        self._problems, self.args.save_total_limit = problems, None  # so that the save removes nothing
        try:
            with noting_torch_save(problems), self._deepspeed_reaches_the_end(name, problems):
                super()._save_checkpoint(model, trial)
        except Exception as error:
            problem = problem_of(error)
            if problem is None:
                raise
            if self.is_fsdp_enabled:
                self._leave(name, problem)
            problems.append(problem)
        finally:
            self._problems, self.args.save_total_limit = None, limit
        problem = next((found[0] for found in gather_object([problems]) if found), None)
        if self.is_world_process_zero() and problem is None:
            try:
                if self.is_deepspeed_enabled:
                    (folder / name / "latest").write_text(self._tag)
                seal(folder / name)
                rotate_checkpoints(str(folder), save_total_limit=limit)
            except OSError as error:
                problem = problem_of(error)
        return self._from_main(problem)

    def _save(self, output_dir: str | None = None, state_dict: dict[str, Any] | None = None) -> None:
        if self._problems is not None:
            noted(super()._save, self._problems)(output_dir, state_dict)
            return
        save = super()._save
        with_patience(lambda: save(output_dir, state_dict), str(output_dir))

    @property
    def _tag(self) -> str:
        return f"global_step{self.state.global_step}"

    @contextmanager
    def _deepspeed_reaches_the_end(self, name: str, problems: list[str]) -> Iterator[None]:
        """Inside, no process leaves DeepSpeed's save early for a problem with the disk: the others would
        wait for it at the end of the save. The file `latest`, without which the checkpoint is not loaded, is
        written once all parts are there."""
        if not self.is_deepspeed_enabled:
            yield
            return
        engine: Any = self.model_wrapped
        save = engine.save_checkpoint

        def save_checkpoint(folder: str, exclude_frozen_parameters: bool = False) -> None:
            try:
                save(
                    folder,
                    tag=self._tag,
                    save_latest=False,
                    exclude_frozen_parameters=exclude_frozen_parameters,
                )
            except Exception as error:
                if (problem := problem_of(error)) is None:
                    raise
                self._leave(name, problem)

        files = engine.checkpoint_engine
        replaced = [
            (engine, "save_checkpoint", save_checkpoint),
            (engine, "_copy_recovery_script", noted(engine._copy_recovery_script, problems)),
            (files, "makedirs", noted(files.makedirs, problems)),
        ]
        for owner, attribute, function in replaced:
            setattr(owner, attribute, function)
        try:
            yield
        finally:
            for owner, attribute, _ in replaced:
                delattr(owner, attribute)

    def _leave(self, name: str, problem: str) -> None:
        """End this process: the others wait for it inside the save and cannot be told. The launcher ends
        them."""
        self._say(f"{name} was not saved ({problem}): earlier checkpoints are kept, training stops")
        raise SystemExit(1)

    def _shortage(self, folder: Path) -> str | None:
        """Why a checkpoint should not be started, `None` if there is space for it."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            needed = space_needed(folder) or self._first_size()
            free = shutil.disk_usage(folder).free
        except OSError as error:
            return problem_of(error)
        if free >= needed:
            return None
        return f"it needs {needed / 1e9:.2f} GB, {folder} has {free / 1e9:.2f} GB free"

    def _first_size(self) -> int:
        """Bytes of a checkpoint before there is one: the weights, and two moments of those that are trained;
        DeepSpeed adds a single precision copy of them. Of a model with an adapter, the adapter alone."""
        states = 0 if self.args.save_only_model else 12 if self.is_deepspeed_enabled else 8
        assert self.model is not None  # the trainer has made one by now, if it was given a function
        adapter = isinstance(self.accelerator.unwrap_model(self.model), PeftModel)
        return sum(
            getattr(weights, "ds_numel", weights.numel())
            * (weights.element_size() + states * weights.requires_grad)
            for weights in self.model.parameters()
            if weights.requires_grad or not adapter
        )

    def _from_main(self, value: Any) -> Any:
        return broadcast_object_list([value])[0]

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def lost_process(error: RuntimeError) -> bool:
    """Whether an error says that another process of this run is gone. (Nothing else tells: gloo, NCCL and
    the store raise errors of different types.)"""
    text = str(error)
    of_transport = ("Connection closed by peer", "Connection reset by peer", "Connection refused")
    return any(word in text for word in (*of_transport, "ncclRemoteError", "Broken pipe"))


class OrderedRows(Trainer):
    """A mixin, before a transformers trainer among the bases: the subclass may order the training rows."""

    def order(self) -> Sampler[int] | None:
        """The rows of every epoch in an order that is the same in all processes; `None` for the trainer's
        own. Of consecutive batches, process k computes every k-th."""
        raise NotImplementedError

    def _get_train_sampler(self, train_dataset: Any = None) -> Any:
        return self.order() or super()._get_train_sampler(train_dataset)
