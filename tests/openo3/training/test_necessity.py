"""The reward `necessity`: which groups get it, what it is, and that training uses it only where it is set."""

import math
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from trl import GRPOConfig

from openo3.core.rewards import RewardSettings, all_rewards
from openo3.model.engine import LocalEngine
from openo3.model.load import load_model, load_processor
from openo3.model.necessity import MAIN, Effect
from openo3.training.examples import Examples
from openo3.training.gspo import gspo_trainer
from openo3.training.necessity import NecessityParams, NecessityReward, share_lost
from tests.openo3.training import workplace

CLAIM = (
    "<think>The <obj>cup</obj><box>[100,200,600,700]</box>at<t>2.2</t>s moves.</think><answer>a cup</answer>"
)
ROWS = [0, 0, 1, 1, 4, 4, 5, 5]  # temporal-spatial, temporal, an image, free-form


def effect(*gaps: float) -> Effect:
    return Effect({MAIN: -1.0}, {MAIN: -5.0}, {MAIN: [gap - 5.0 for gap in gaps]})


def said(*texts: str) -> list[Any]:
    return [[{"role": "assistant", "content": text}] for text in texts]


@pytest.fixture(scope="module")
def engine(place: Path) -> LocalEngine:
    return LocalEngine.load(place / "data/models/base")


def reward(examples: Examples, engine: LocalEngine, **params: Any) -> NecessityReward:
    made = NecessityReward(examples, NecessityParams(**params))

    @contextmanager
    def answering():
        yield engine

    made.answering = answering
    return made


def test_the_share_of_the_probability_that_is_lost() -> None:
    assert share_lost([effect(math.log(2), math.log(2))]) == pytest.approx(0.5)
    assert share_lost([effect(math.log(2)), effect(-3.0)]) == pytest.approx(0.25)
    assert share_lost([effect(50.0)]) == pytest.approx(1.0)


def test_each_group_gets_its_turn(examples: Examples, engine: LocalEngine) -> None:
    """One group in two; the temporal task cites nothing, so it never gets one."""
    asking = reward(examples, engine, every=2, draws=1)
    for step, expected in (
        (0, [True, True, False, False, True, True, False, False]),
        (1, [*[False] * 6, True, True]),
    ):
        found = asking(
            completions=said(*[CLAIM] * 8), sample=ROWS, trainer_state=SimpleNamespace(global_step=step)
        )
        assert [value is not None for value in found] == expected
        assert all(value is None or 0 <= value <= 1 for value in found)


def test_an_answer_without_evidence_or_form_gets_nothing(examples: Examples, engine: LocalEngine) -> None:
    asking = reward(examples, engine, every=1, draws=1)
    texts = ["<think>It moves.</think><answer>a cup</answer>", CLAIM.partition("<answer>")[0]]
    state = SimpleNamespace(global_step=0)
    assert asking(completions=said(*texts), sample=[0, 0], trainer_state=state) == [0.0, 0.0]
    both = asking(completions=said(*texts, CLAIM), sample=[0, 0, 0], trainer_state=state)
    alone = asking(completions=said("", "", CLAIM), sample=[0, 0, 0], trainer_state=state)
    assert both[2] == pytest.approx(alone[2], abs=1e-4)


def trainer(place: Path, examples: Examples, folder: Path, necessity: NecessityParams | None, **changed: Any):
    config = GRPOConfig(output_dir=str(folder), **workplace.GSPO | changed)
    base = place / "data/models/base"
    made = gspo_trainer(
        load_model(base), load_processor(base), examples, config, RewardSettings(), necessity=necessity
    )
    made.model.train()
    return made


def test_it_is_off_unless_it_is_set(place: Path, examples: Examples, tmp_path: Path) -> None:
    plain = trainer(place, examples, tmp_path / "off", None)
    assert plain.reward_func_names == [*all_rewards()]
    asking = trainer(place, examples, tmp_path / "on", NecessityParams(weight=0.5))
    assert asking.reward_func_names == [*all_rewards(), "necessity"]
    assert asking.reward_weights.tolist() == [*plain.reward_weights.tolist(), 0.5]


def test_training_asks_the_model_as_it_is_now(place: Path, examples: Examples, tmp_path: Path) -> None:
    """In a rollout whose completions all cite something, the reward counts for the group whose turn it is and
    leaves the model in training."""
    asking = trainer(place, examples, tmp_path, NecessityParams(every=2, draws=1), max_steps=2)
    rows = [asking.train_dataset[index] for index in (0, 0, 2, 2)]
    completions = said(*[CLAIM] * 4)
    found = asking._calculate_rewards(rows, [row["prompt"] for row in rows], completions, [[1]] * 4)
    column = found[:, asking.reward_func_names.index("necessity")]
    assert column.isnan().tolist() == [False, False, True, True]
    assert asking.model.training
    asking.train()
    logged = [entry for entry in asking.state.log_history if "rewards/necessity/mean" in entry]
    assert logged
