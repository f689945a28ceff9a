"""GSPO over packs computes the same as TRL over rows, with less work."""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import GRPOConfig, GRPOTrainer

from openo3.core import rewards
from openo3.core.rewards import RewardSettings, all_rewards
from openo3.core.schema import STGR_TASKS, Task
from openo3.model import engine
from openo3.model.batch_size import CPU_MOST, TokensPerBatch
from openo3.model.load import load_model, load_processor
from openo3.training.examples import Examples
from openo3.training.gspo import (
    GroundedGSPOTrainer,
    gspo_trainer,
    prepare_vllm,
    reward_functions,
)
from tests.openo3.training import workplace

MIXED = [0, 0, 4, 4, 3, 3, 5, 5]  # key frames, an image, two clips


@pytest.fixture
def make(place: Path, examples: Examples, tmp_path: Path):
    """A trainer with the given settings changed."""

    def trainer(tokens_per_batch: TokensPerBatch = 32768, **changed: Any) -> GroundedGSPOTrainer:
        config = GRPOConfig(output_dir=str(tmp_path / "run"), **workplace.GSPO | changed)
        base = place / "data/models/base"
        made = gspo_trainer(
            load_model(base),
            load_processor(base),
            examples,
            config,
            RewardSettings(),
            tokens_per_batch=tokens_per_batch,
        )
        made.model.train()
        return made

    return trainer


def rollout(trainer: GroundedGSPOTrainer, rows: list[int] = MIXED) -> dict[str, Any]:
    return trainer._generate_and_score_completions([trainer.train_dataset[index] for index in rows])


def arguments(rolled: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Token ids, mask and length of the completions, as TRL passes them."""
    ids = torch.cat([rolled["prompt_ids"], rolled["completion_ids"]], 1)
    mask = torch.cat([rolled["prompt_mask"], rolled["completion_mask"]], 1)
    return ids, mask, rolled["completion_ids"].shape[1]


def separate_rows(trainer: GroundedGSPOTrainer, rolled: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """TRL's own computation: each completion has its own copy of the prompt and its frames."""
    ids, mask, keep = arguments(rolled)
    seen = [trainer.encoded[index].vision for index in rolled["rows"].tolist()]
    logps, entropies, _ = GRPOTrainer._get_per_token_logps_and_entropies(
        trainer,
        trainer.model,
        ids,
        mask,
        keep,
        compute_entropy=True,
        pixel_values=torch.cat([vision.pixel_values for vision in seen]),
        image_grid_thw=torch.cat([torch.tensor(vision.grids) for vision in seen]),
        num_images=[len(vision.grids) for vision in seen],
        mm_token_type_ids=(ids == trainer.examples.encoder.image_token_id).int(),
    )
    return logps, entropies


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_scores_equal_those_of_separate_rows(make, temperature: float) -> None:
    trainer = make(temperature=temperature)
    rolled = rollout(trainer)
    mask = rolled["completion_mask"].bool()
    ours, our_entropies, _ = trainer._get_per_token_logps_and_entropies(
        trainer.model, *arguments(rolled), compute_entropy=True
    )
    theirs, their_entropies = separate_rows(trainer, rolled)
    torch.testing.assert_close(ours[mask], theirs[mask], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(our_entropies[mask], their_entropies[mask], atol=1e-4, rtol=1e-4)
    assert not ours[~mask].any()
    # Decoding and scoring give equal log-probabilities, so the old policy needs no separate pass
    torch.testing.assert_close(rolled["old_per_token_logps"][mask], theirs[mask], atol=1e-4, rtol=1e-4)


def test_gradients_equal_those_of_separate_rows(make) -> None:
    trainer = make()
    rolled = rollout(trainer)
    gradients = []
    for logps in (
        trainer._get_per_token_logps_and_entropies(trainer.model, *arguments(rolled))[0],
        separate_rows(trainer, rolled)[0],
    ):
        trainer.model.zero_grad()
        (logps * rolled["completion_mask"]).sum().backward()
        gradients.append([parameter.grad.clone() for parameter in trainer.model.parameters()])
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("tokens_per_batch", [1, 260, 32768])
def test_batches_of_a_rollout_keep_the_order(make, tokens_per_batch: int) -> None:
    """Scored with the prompt it was generated for, a completion has the log-probability recorded then."""
    trainer = make(tokens_per_batch)
    rolled = rollout(trainer)
    mask = rolled["completion_mask"].bool()
    theirs, _ = separate_rows(trainer, rolled)
    torch.testing.assert_close(rolled["sampling_per_token_logps"][mask], theirs[mask], atol=1e-4, rtol=1e-4)


def test_a_number_of_tokens_that_was_found_is_kept_beside_the_checkpoints(
    make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    found = make("auto")
    ids = rollout(found)["completion_ids"]
    tokens = found.engine.tokens_per_batch
    assert 256 < tokens <= CPU_MOST
    assert found.facts == {"steps_left_out": 0, "tokens_per_batch": tokens}
    assert f"gspo: decodes {tokens:,} tokens at once" in capsys.readouterr().out
    monkeypatch.setattr(engine, "fitting", lambda *_: 1)
    resumed = make("auto")
    assert torch.equal(rollout(resumed)["completion_ids"], ids)
    assert resumed.engine.tokens_per_batch == tokens
    assert make().facts == {"steps_left_out": 0}


def test_scoring_in_batches_changes_nothing(make) -> None:
    trainer = make()
    rolled = rollout(trainer, [0, 0, 4, 4, 4, 3, 5, 5])
    whole, in_parts = (
        trainer._get_per_token_logps_and_entropies(trainer.model, *arguments(rolled), batch_size=size)[0]
        for size in (None, 3)
    )
    torch.testing.assert_close(whole, in_parts, atol=1e-5, rtol=1e-5)


def test_scoring_restores_the_training_mode(make) -> None:
    trainer = make()
    for training in (True, False):
        trainer.model.train(training)
        rollout(trainer)
        assert trainer.model.training is training


def test_every_task_gets_only_its_own_rewards(examples: Examples) -> None:
    """One row of each of the six tasks, a direct question and their perfect completions, in one batch."""
    examples = examples.with_direct()
    functions = {f.__name__: f for f in reward_functions(examples, RewardSettings())}
    assert list(functions) == [*rewards.REWARDS, *rewards.ADDED] == list(all_rewards())
    rows = list(range(len(examples.samples)))
    completions = [[{"role": "assistant", "content": examples.target(s)}] for s in examples.samples]
    state = type("State", (), {"global_step": 0, "max_steps": 10})()
    values = {n: f(completions=completions, sample=rows, trainer_state=state) for n, f in functions.items()}
    tasks = [sample.task for sample in examples.samples]
    applies = {
        "ans_acc": {Task.TEMPORAL_SPATIAL, Task.MCQ, Task.FREE_FORM, Task.TEMPORAL_MCQ},
        "ans_tiou": {Task.TEMPORAL, Task.TEMPORAL_MCQ},
        "ans_viou": {Task.VISUAL},
        "thk_temporal_point": {Task.TEMPORAL_SPATIAL},
        "thk_temporal_segment": {Task.TEMPORAL, Task.TEMPORAL_MCQ},
        "thk_spatial": {Task.TEMPORAL_SPATIAL, Task.VISUAL},
        "format": set(STGR_TASKS),
        "ans_where": {Task.WHERE},
        "thk_objects": {Task.TEMPORAL_SPATIAL},
    }
    assert set(tasks) == set(Task)
    for name, column in values.items():
        assert [value is not None for value in column] == [task in applies[name] for task in tasks], name
    answered = [values[n][r] for n in ("ans_acc", "ans_tiou", "ans_viou", "ans_where") for r in rows]
    assert [value for value in answered if value is not None] == pytest.approx([1] * 9)
    # In another order or for other rows, each value stays with its row
    turned = {
        n: f(completions=completions[::-1], sample=rows[::-1], trainer_state=state)
        for n, f in functions.items()
    }
    assert {name: column[::-1] for name, column in turned.items()} == values
    wrong = functions["ans_acc"](completions=completions[::-1], sample=rows, trainer_state=state)
    assert wrong != values["ans_acc"]


def test_the_temporal_proximity_tightens_during_training(examples: Examples) -> None:
    point = {f.__name__: f for f in reward_functions(examples, RewardSettings())}["thk_temporal_point"]
    text = "<think><obj>cup</obj><box>[1,1,2,2]</box>at<t>4.4</t>s</think><answer>a</answer>"
    states = [type("State", (), {"global_step": step, "max_steps": 100})() for step in (0, 50, 99)]
    said = [{"role": "assistant", "content": text}]
    early, middle, late = (point(completions=[said], sample=[0], trainer_state=s)[0] for s in states)
    assert early > middle > late
    fixed = {f.__name__: f for f in reward_functions(examples, RewardSettings(adaptive=False))}
    values = [fixed["thk_temporal_point"](completions=[said], sample=[0], trainer_state=s)[0] for s in states]
    assert values == [late] * 3


def test_reward_weights_are_matched_by_name(place: Path, examples: Examples, tmp_path: Path) -> None:
    config = GRPOConfig(output_dir=str(tmp_path / "run"), **workplace.GSPO)
    base = place / "data/models/base"
    weights = {"ans_where": 3.0, "thk_spatial": 0.0}
    trainer = gspo_trainer(
        load_model(base), load_processor(base), examples, config, RewardSettings(weights=weights)
    )
    weighed = dict(zip(trainer.reward_func_names, trainer.reward_weights.tolist(), strict=True))
    assert weighed == dict.fromkeys(rewards.REWARDS, 1.0) | {"thk_objects": 0.0} | weights


def test_a_direct_question_is_rolled_out_on_the_evenly_spaced_frames(
    place: Path, examples: Examples, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every completion is scored by `ans_where` alone."""
    examples = examples.with_direct()
    [row] = [n for n, sample in enumerate(examples.samples) if sample.task is Task.WHERE]
    judged = []
    monkeypatch.setitem(
        rewards.ADDED, "ans_where", lambda sample, completion, **_: judged.append(sample.id) or 0.25
    )
    config = GRPOConfig(output_dir=str(tmp_path / "run"), **workplace.GSPO)
    base = place / "data/models/base"
    settings = RewardSettings(weights={"ans_where": 1.0})
    trainer = gspo_trainer(load_model(base), load_processor(base), examples, config, settings)
    trainer.model.train()
    rollout(trainer, [row, row, 1, 1])
    assert len(trainer.encoded[row].vision.grids) == len(trainer.encoded[1].vision.grids)
    assert trainer.encoded[row].prefix_ids == trainer.encoded[1].prefix_ids
    question = examples.encoder.tokenizer.decode(trainer.encoded[row].context_ids)
    assert question.startswith("Where is the cup?\nAnswer for the seconds 2 as JSON")
    assert judged.count(examples.samples[row].id) == 2
    logged = {name: values[0] for name, values in trainer._metrics["train"].items() if "rewards/" in name}
    assert logged["rewards/ans_where/mean"] > 0


def test_mini_batches_hold_whole_groups(make) -> None:
    trainer = make(per_device_train_batch_size=4, steps_per_generation=2)
    batch = [trainer.train_dataset[index] for index in MIXED]
    parts = []
    for step in range(2):
        trainer._step = step
        parts.append(trainer._prepare_inputs(batch))
    assert [part["rows"].tolist() for part in parts] == [MIXED[:4], MIXED[4:]]
    assert len({id(part) for part in parts}) == 2


def train(trainer: GroundedGSPOTrainer) -> list[dict[str, Any]]:
    """Train to the end; return the logs of each step."""
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


@pytest.mark.usefixtures("varied_reward")
def test_the_ratio_changes_within_a_rollout_and_is_clipped(make, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make(epsilon=1e-6, epsilon_high=1e-6, max_steps=4)
    moved = []
    compute = trainer._compute_loss

    def watched(model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        loss = compute(model, inputs)
        now, _ = separate_rows(trainer, inputs)
        mask = inputs["completion_mask"]
        ratios = ((now - inputs["old_per_token_logps"]) * mask).sum(1) / mask.sum(1)
        moved.append(ratios.detach().abs().max().item())
        return loss

    monkeypatch.setattr(trainer, "_compute_loss", watched)
    clipped = [entry["clip_ratio/region_mean"] for entry in train(trainer)]
    assert max(moved[0], moved[2]) < 1e-5 < 1e-3 < min(moved[1], moved[3])
    assert max(clipped[0], clipped[2]) < max(clipped[1], clipped[3])


SMALL = {"per_device_train_batch_size": 2}
SETTINGS = {
    "several updates per rollout": {},
    "on policy": {"steps_per_generation": 1},
    "rollouts used twice": {"num_iterations": 2},
    "accumulated": {"gradient_accumulation_steps": 2, "steps_per_generation": 4, **SMALL},
    "accumulated rollouts": {"gradient_accumulation_steps": 2, "steps_per_generation": 1},
    "one rollout a step": {"gradient_accumulation_steps": 2, "steps_per_generation": 2},
    "groups across mini-batches": {"num_generations": 4, "per_device_train_batch_size": 2},
    "kl": {"beta": 0.04},
    "checkpointed": {"gradient_checkpointing": True},
    "some layers checkpointed": {
        "gradient_checkpointing": True,
        "gradient_checkpointing_kwargs": {"use_reentrant": False, "every_n_layers": 2},
    },
    "other temperature": {"temperature": 0.7, "top_p": 0.9},
    "truncated left out": {"mask_truncated_completions": True},
    "padded": {"pad_to_multiple_of": 8},
    "half precision": {"bf16": True},
    "dapo": {"loss_type": "dapo"},
}


@pytest.mark.usefixtures("varied_reward")
@pytest.mark.parametrize("changed", SETTINGS.values(), ids=SETTINGS)
def test_training_works_with_each_setting(make, changed: dict[str, Any]) -> None:
    trainer = make(max_steps=2, **changed)
    before = [parameter.clone() for parameter in trainer.model.parameters()]
    logged = train(trainer)
    assert [entry["step"] for entry in logged] == [1, 2]
    assert all(torch.tensor(entry["loss"]).isfinite() for entry in logged)
    after = trainer.model.parameters()
    trained = any(not torch.equal(old, new) for old, new in zip(before, after, strict=True))
    assert trained or "mask_truncated_completions" in changed


@pytest.mark.usefixtures("varied_reward")
def test_the_reference_is_the_policy_before_training(make) -> None:
    trainer = make(beta=0.04, max_steps=4, learning_rate=1e-2)
    rolled = rollout(trainer)
    mask = rolled["completion_mask"].bool()
    torch.testing.assert_close(
        rolled["ref_per_token_logps"][mask], rolled["old_per_token_logps"][mask], atol=1e-4, rtol=1e-4
    )
    start = {name: value.clone() for name, value in trainer.ref_model.state_dict().items()}
    kl = [entry["kl"] for entry in train(trainer)]
    assert abs(kl[0]) < 1e-6 < kl[-1]
    assert all(torch.equal(start[name], value) for name, value in trainer.ref_model.state_dict().items())
    rolled = rollout(trainer)
    apart = (rolled["ref_per_token_logps"] - rolled["old_per_token_logps"])[rolled["completion_mask"].bool()]
    assert apart.abs().max() > 1e-3


def test_the_reference_of_an_adapter_is_the_model_without_it(make) -> None:
    """With an adapter the reference is the same model, the adapter switched off."""
    trainer = make()
    trainer.beta, trainer.ref_model = 0.04, None
    assert not trainer._writes_as_it_scores


def test_partial_gradient_checkpointing_is_restored_after_a_rollout(make) -> None:
    kwargs = {"use_reentrant": False, "every_n_layers": 2}
    trainer = make(max_steps=2, gradient_checkpointing=True, gradient_checkpointing_kwargs=kwargs)
    train(trainer)
    blocks = [*trainer.model.model.visual.blocks, *trainer.model.model.language_model.layers]
    assert {block.gradient_checkpointing for block in blocks} == {True, False}


class Elsewhere:
    """Answers like TRL's vLLM client, with the trainer's own model, and records the requests."""

    def __init__(self, trainer: GroundedGSPOTrainer) -> None:
        self.trainer, self.asked = trainer, []

    def sync_weights(self) -> None:
        pass

    def generate(self, prompts, images, num_generations):
        self.asked = [(tuple(ids), len(shown)) for ids, shown in zip(prompts, images, strict=True)]
        written = self.trainer._written_here()
        logprobs = [[[value] for value in generation.logprobs] for generation in written]
        logprobs[0][0] = [None]  # how TRL encodes NaN
        return prompts, [generation.ids for generation in written], logprobs, None


@pytest.mark.usefixtures("varied_reward")
@pytest.mark.parametrize("mode", ["colocate", "server"])
def test_completions_from_vllm_are_scored_by_the_trainer(
    make, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server is told where a frame's patches are, the colocated engine puts them in place of one token."""
    trainer = make(vllm_mode=mode)
    here = rollout(trainer)
    trainer.use_vllm, trainer.vllm_generation, trainer._last_loaded_step = True, Elsewhere(trainer), -1
    monkeypatch.setattr(trainer, "_forget_frames", lambda: None)
    trainer.vllm_importance_sampling_correction = False
    there = rollout(trainer)
    encoder = trainer.examples.encoder
    for index, (ids, frames) in zip(MIXED, trainer.vllm_generation.asked, strict=True):
        encoded = trainer.encoded[index]
        whole = (*encoded.prefix_ids, *encoded.context_ids)
        assert ids == (whole if mode == "server" else tuple(encoder.unexpanded(encoded)))
        assert frames == len(encoded.vision.grids)
        assert (ids.count(encoder.image_token_id) == frames) == (mode == "colocate")
    assert torch.equal(here["completion_ids"], there["completion_ids"])
    assert not trainer._writes_as_it_scores
    mask = here["completion_mask"].bool()
    ours, theirs = (rolled["old_per_token_logps"][mask] for rolled in (here, there))
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("changed", "corrected"),
    [
        ({}, True),
        ({"top_p": 0.95}, False),
        ({"top_k": 20}, False),
        ({"min_p": 0.1}, False),
        ({"top_k": -1}, True),  # vLLM's value for "all"
        ({"generation_kwargs": {"top_p": 0.9}}, False),
        ({"generation_kwargs": {"repetition_penalty": 1.1}}, False),
        ({"top_p": 0.95, "generation_kwargs": {"top_p": 1.0}}, True),
        ({"vllm_importance_sampling_correction": False}, False),
    ],
    ids=str,
)
def test_vllm_samples_with_the_same_constraints_as_decoding(
    examples: Examples, tmp_path: Path, changed: dict[str, Any], corrected: bool
) -> None:
    config = GRPOConfig(output_dir=str(tmp_path), **workplace.GSPO | changed)
    config.generation_kwargs = (config.generation_kwargs or {}) | {"seed": 3, "logit_bias": {7: 1.0}}
    asked = config.vllm_importance_sampling_correction
    with pytest.warns(UserWarning, match="cuts the choice") if asked > corrected else nullcontext():
        prepare_vllm(config, examples.encoder)
    assert config.vllm_importance_sampling_correction is corrected
    assert config.generation_kwargs["seed"] == 3
    assert config.generation_kwargs["logit_bias"] == {7: 1.0, examples.encoder.image_token_id: -100.0}
    assert examples.encoder.tokenizer.eos_token_id in config.generation_kwargs["stop_token_ids"]


def test_masking_by_vllm_log_probabilities_requires_all_of_them(examples: Examples, tmp_path: Path) -> None:
    settings = workplace.GSPO | {"top_p": 0.95, "off_policy_mask_threshold": 0.5}
    with pytest.raises(ValueError, match="off_policy_mask_threshold"):
        prepare_vllm(GRPOConfig(output_dir=str(tmp_path), **settings), examples.encoder)


def test_completions_end_at_the_limit(make) -> None:
    trainer = make(max_completion_length=3)
    rolled = rollout(trainer)
    assert rolled["completion_ids"].shape[1] <= 3
    assert rolled["completion_mask"].sum(1).min() >= 1
    assert 0 <= trainer._metrics["train"]["completions/clipped_ratio"][0] <= 1


def test_a_group_of_equal_rewards_has_no_gradient_and_is_counted(make, monkeypatch) -> None:
    for name in rewards.REWARDS:
        monkeypatch.setitem(
            rewards.REWARDS, name, lambda sample, completion, **_: float(sample.task is Task.MCQ)
        )
    trainer = make()
    rolled = rollout(trainer)
    assert not rolled["advantages"].any()
    assert trainer._metrics["train"]["frac_reward_zero_std"] == [1]


@pytest.mark.usefixtures("varied_reward")
def test_advantages_sum_to_zero_within_the_group(make) -> None:
    advantages = rollout(make())["advantages"].view(-1, 2)
    torch.testing.assert_close(advantages.sum(1), torch.zeros(4), atol=1e-4, rtol=0)
    assert advantages.any()


def test_accumulated_rollouts_have_different_seeds(make) -> None:
    trainer = make(gradient_accumulation_steps=2, steps_per_generation=1)
    seeds = []
    for step, batch in ((0, 0), (0, 1), (1, 2), (1, 3)):
        trainer.state.global_step, trainer._step = step, batch
        seeds.append(trainer._rollout_seed())
    assert len(set(seeds)) == 4
    trainer.state.global_step, trainer._step = 1, 0  # resumes from a checkpoint
    assert trainer._rollout_seed() == seeds[2]


def test_too_few_samples_for_a_rollout_are_an_error(make) -> None:
    with pytest.raises(ValueError, match="16 prompts"):
        make(steps_per_generation=8)


@pytest.mark.usefixtures("varied_reward")
def test_a_resumed_run_equals_the_uninterrupted_one(make, tmp_path: Path) -> None:
    whole = make(save_total_limit=None, **SMALL)
    expected = train(whole)
    resumed = make(**SMALL)
    resumed.train(resume_from_checkpoint=os.path.join(tmp_path, "run", "checkpoint-2"))
    logged = [entry for entry in resumed.state.log_history if "loss" in entry]
    for name in ("step", "loss", "reward", "entropy", "completions/mean_length"):
        one, other = ([entry[name] for entry in run if name in entry] for run in (logged, expected))
        assert one == pytest.approx(other), name
