"""Several answers become one, by hand-made answers with the real benchmarks and judge."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from openo3.benchmarks.ballots import Ballot, Relevance, ballots, counted, score
from openo3.benchmarks.judges import Item, RougeJudge
from openo3.benchmarks.registry import BENCHMARKS
from openo3.benchmarks.voting import Poll
from openo3.core.geometry import RELATIVE_1000
from openo3.media.frame_store import FrameStore
from openo3.model.decoding import Sampling
from openo3.model.engine import LocalEngine
from openo3.prompt_file import default_prompts
from tests.openo3.benchmarks.test_asking import vstar
from tests.openo3.training import workplace
from tests.openo3.training.workplace import LONG, LOST, SHORT

CHOICES = {"id": "1", "question": "Which?", "options": ["a cup", "a jug"], "answer": "B", "group": "short"}
CHOICES |= {"media": LONG, "duration_s": 4.0}


class Counting(RougeJudge):
    """The word judge, which remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[Item] = []

    def rate(self, items: Sequence[Item]) -> list[int]:
        self.asked += items
        return super().rate(items)


def cast(name: str, records: list[dict], answers: list[list[str]], judge: Any = None) -> list[Ballot]:
    kind = BENCHMARKS[name].votable.question
    asked = [
        {
            "prompts": {kind: "?"} if own else {},
            "completions": {kind: [written(a) for a in own]} if own else {},
        }
        for own in answers
    ]
    return ballots(BENCHMARKS[name], records, [RELATIVE_1000] * len(records), asked, judge or RougeJudge())


def written(answer: str) -> str:
    return f"<think>I look.</think><answer>{answer}</answer>"


def test_choices_are_grouped_by_their_letter():
    [ballot] = cast("videomme", [CHOICES], [["A", "B", "a jug", "(B)", "neither"]])
    assert ballot.groups == (0, 1, 1, 1, None)
    assert ballot.scores == (0, 1, 1, 1, 0)


def test_words_are_grouped_as_the_judge_finds_them_the_same():
    [ballot] = cast("vstar", vstar(LONG), [["a fridge", "The fridge.", "a cup", ""]])
    assert ballot.groups == (0, 0, 2, None)
    assert ballot.scores == (1, 1, 0, 0)


@pytest.mark.parametrize(
    ("ratings", "answer", "confidence", "right"),
    [
        (None, "a cup", 0.5, 0),
        ([0, None, 2, 2], "a fridge", 1 / 2.4, 1),
        ([2, 2, 2, 0], "a cup", 2 / 3.2, 0),
    ],
)
def test_relevant_evidence_can_turn_a_vote(ratings, answer, confidence, right):
    benchmark = BENCHMARKS["vstar"]
    found = cast("vstar", vstar(LONG), [["a cup", "the cup", "a fridge", ""]])
    relevance = [Relevance(tuple(ratings), 5, 100)] if ratings else None
    results, [line] = counted(benchmark, found, relevance)
    assert results[0]["answer_vqa"] == answer
    assert results[0]["confidence"] == pytest.approx(confidence)
    assert results[0]["single"] == 0.25
    assert line["completion"] == written(answer)
    assert [sample["group"] for sample in line["samples"]] == [0, 0, 2, None]
    metrics = score(benchmark, results, found, {"completions": 4}, relevance)
    assert (metrics["acc"], metrics["single"], metrics["area"]) == (right, 0.25, right)
    if ratings:
        assert metrics["cost"] == {"completions": 4, "completions_rated": 4 - ratings.count(None), "crops": 5,
                                   "crop_tokens": 100}  # fmt: skip
        assert sum(each["share"] for each in metrics["ratings"].values()) == 1


def test_without_any_readable_answer_there_is_none_and_it_is_wrong():
    benchmark = BENCHMARKS["videomme"]
    found = cast("videomme", [CHOICES, CHOICES], [["neither", ""], []])
    results, lines = counted(benchmark, found)
    assert [result["said"] or "" for result in results] == ["", ""]
    assert [(result["confidence"], result["correct"]) for result in results] == [(0, 0), (0, 0)]
    assert [line["record"] for line in lines] == [0]  # the other was not asked
    assert benchmark.score(results)["acc"] == 0


def test_equal_answers_are_judged_once():
    judge = Counting()
    cast("vstar", vstar(LONG, SHORT), [["a cup"] * 8, ["a cup", "a jug"] * 4], judge)
    assert len(judge.asked) == len(set(judge.asked)) == 3 + 1  # three to rate, one pair to compare


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FrameStore:
    root = tmp_path_factory.mktemp("frames")
    return workplace.write_frames(root / "store", root / "media")


class Scripted(LocalEngine):
    """The shipped model, which is told what to answer and still rates evidence by itself."""

    def __init__(self, answers: Sequence[str]) -> None:
        loaded = LocalEngine.load(Path(__file__).parents[3] / "data/tiny-qwen3-vl")
        super().__init__(loaded.model, loaded.encoder.processor)
        self.answers, self.rated = answers, 0

    def generate(self, prompts: Any, sampling: Sampling, *rest: Any) -> list[list[str]]:
        if sampling.only:
            self.rated += len(prompts)
            return super().generate(prompts, sampling, *rest)
        assert sampling.n == len(self.answers)
        return [list(self.answers) for _ in prompts]


BOX = "<obj>fridge</obj><box>[0,0,500,500]</box>at<t>1.0</t>s"
CITING = f"<think>{BOX}</think><answer>a fridge</answer>"


@pytest.mark.parametrize(
    ("answers", "rated"),
    [
        ([CITING, CITING, written("a cup")], 2),  # the last cites nothing
        ([CITING, CITING, CITING], 0),  # whatever the weights, all say the same
        ([CITING, CITING, written("")], 2),
    ],
)
def test_evidence_is_rated_where_weights_can_matter(store, tmp_path, answers, rated):
    engine = Scripted(answers)
    records = vstar(LONG, LOST)
    poll = Poll(
        BENCHMARKS["vstar"],
        records,
        store,
        engine,
        RougeJudge(),
        default_prompts(),
        Sampling(8, 1.0, n=3),
        tmp_path,
        2,
        "test",
    )
    results, lines, metrics = poll.vote("relevance")
    assert engine.rated == rated
    assert len(lines) == 1
    assert metrics["cost"]["completions_rated"] == metrics["cost"]["crops"] == rated / 2
    assert results[1]["confidence"] == 0
