"""Every question is asked once, in order, whatever happens in between."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest

from openo3.benchmarks import registry
from openo3.benchmarks.asking import GREY, answer, blank
from openo3.core.geometry import RELATIVE_1000, BoxSpace
from openo3.media.frame_store import FrameStore
from openo3.model.decoding import Sampling
from openo3.model.encode import Prompt
from openo3.model.engine import LocalEngine
from openo3.prompt_file import default_prompts
from tests.openo3.training.workplace import LONG, LOST, SHORT, STILL

KINDS = ["what", "when", "where", "where_2", "when_2"]


class Parrot:
    """An engine that answers with the question and the seed, and remembers what it was asked."""

    def __init__(self) -> None:
        self.calls: list[Sequence[Prompt]] = []

    def box_space(self, size: tuple[int, int]) -> BoxSpace:
        return RELATIVE_1000

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[str]]:
        self.calls.append(prompts)
        return [[f"{sampling.seed}: {prompt.text}"] for prompt in prompts]


@pytest.fixture(scope="module")
def store(workplace: Path) -> FrameStore:
    return FrameStore.open(workplace / "data/frames/train")


@pytest.fixture(scope="module")
def engine(workplace: Path) -> LocalEngine:
    return LocalEngine.load(workplace / "data/models/base")


@pytest.fixture
def ask(store: FrameStore, tmp_path: Path) -> Callable[..., Any]:
    def ask(engine: Any, questions: list[dict], name: str = "vstar", see: Any = tuple, **changed: Any) -> Any:
        sampling = Sampling(**{"max_new_tokens": 8, "seed": 5} | changed)
        kept = tmp_path / "kept.jsonl"
        return answer(
            registry.get(name), questions, store, engine, sampling,
            prompts=default_prompts(), see=see, kept=kept, records_per_batch=2, progress="test",
        )  # fmt: skip

    return ask


def vstar(*media: str) -> list[dict[str, Any]]:
    box = {"timestamp": 1, "frame_index": 4, "xmin": 4, "ymin": 6, "xmax": 32, "ymax": 24}
    return [
        {
            "vid": f"v{number}",
            "domain": "Daily life",
            "fps": 4.0,
            "width": 64,
            "height": 48,
            "frame_count": 16,
            "question": f"What {number}?",
            "answer": "a fridge",
            "object": "fridge",
            "temporal_question": f"When {number}?",
            "timestamps": [1.0, 3.0],
            "spatial_question": f"Where {number}?",
            "spatial_question_2": f"Where is it {number}?",
            "bboxes": [box],
            "media": name,
            "duration_s": 4.0,
        }
        for number, name in enumerate(media)
    ]


FIVE = vstar(LONG, LONG, SHORT, LOST, SHORT)


def test_a_line_for_each_question_in_order(ask) -> None:
    parrot = Parrot()
    results, lines = ask(parrot, FIVE)
    asked = [0, 1, 2, 4]
    assert [(line["record"], line["question"]) for line in lines] == [(k, q) for k in asked for q in KINDS]
    assert all(line["completion"].endswith(line["prompt"]) for line in lines)
    assert all(line["id"] == f"v{line['record']}" for line in lines)
    assert lines[0]["box_space"] == {"kind": "relative_1000", "size": None}
    assert [result["vid"] for result in results] == [record["vid"] for record in FIVE]


def test_the_frames_of_a_batch_are_read_once(ask) -> None:
    parrot = Parrot()
    ask(parrot, FIVE)
    assert [len(call) for call in parrot.calls] == [10, 5, 5]
    assert len({id(prompt.frames) for prompt in parrot.calls[0]}) == 1


def test_a_record_without_frames_stays_in_the_denominator(ask) -> None:
    records = [
        {"path": "p", "question": "q", "answer": "1.0-2.0", "media": media, "duration_s": 4.0}
        for media in (LONG, LOST)
    ]

    class Knows(Parrot):
        def generate(self, prompts: Sequence[Prompt], sampling: Sampling) -> list[list[str]]:
            return [["<think></think><answer>From <t>1.0</t>s to <t>2.0</t>s</answer>"] for _ in prompts]

    benchmark = registry.get("tvgbench")
    results, lines = ask(Knows(), records, "tvgbench")
    assert len(lines) == 1
    scores = benchmark.score(results)
    assert (scores["n"], scores["m_tIoU"]) == (2, 0.5)


def test_of_a_record_about_a_segment_the_segment_is_shown(ask, store: FrameStore) -> None:
    record = {"path": "p", "question": "q", "answer": "1.0-2.0", "duration_s": 2.0}
    record |= {"media": LOST, "frames": LONG}  # any row of the store can be a segment
    parrot = Parrot()
    _, [line] = ask(parrot, [record], "tvgbench")
    [[prompt]] = parrot.calls
    assert line["question"] == "when"
    assert [frame.time_s for frame in prompt.frames] == store.times_s(LONG)
    assert prompt.duration_s == store.duration_s(LONG)


def test_the_picture_of_a_question_is_shown_after_its_video(ask, store: FrameStore) -> None:
    record = {"id": "1", "question": "q", "options": ["a", "b"], "answer": "A", "group": "Adaptation"}
    shown, lost = ({**record, "media": LONG, "picture": name} for name in (STILL, "pictures/lost"))
    parrot = Parrot()
    results, lines = ask(parrot, [shown, {**record, "media": LONG}, lost], "videommmu")
    [with_picture, without] = parrot.calls[0]
    assert [frame.of_question for frame in with_picture.frames] == [False] * len(without.frames) + [True]
    assert with_picture.frames[-1].image.size == store.sizes[STILL]
    assert with_picture.frames[:-1] == without.frames
    assert (len(lines), len(results)) == (2, 3), "a record whose picture is lost is not asked, and counts"


@pytest.mark.parametrize("cut", [0, 1, 40])
def test_kept_answers_are_not_asked_again(ask, tmp_path: Path, cut: int) -> None:
    """The file is cut after two batches, or in the middle of the second, or with a piece of the third."""
    expected = ask(Parrot(), FIVE)
    kept = tmp_path / "kept.jsonl"
    first, second, third = kept.read_bytes().splitlines(keepends=True)
    kept.write_bytes(first + second + third[:cut])
    again = Parrot()
    assert ask(again, FIVE) == expected
    assert [len(call) for call in again.calls] == [5]
    assert kept.read_bytes() == first + second + third
    assert ask(again, FIVE) == expected
    assert len(again.calls) == 1
    kept.write_bytes(first[:-1])  # whole but for its end of line: asked again, as it may be cut
    assert ask(Parrot(), FIVE) == expected
    assert [orjson.loads(line)[0]["record"] for line in kept.read_bytes().splitlines()] == [0, 2, 4]


@pytest.mark.parametrize(
    "damage", [lambda line: bytes(len(line) - 1) + b"\n", lambda line: b"[]\n", lambda line: b"[{}]\n"]
)
def test_damaged_answers_are_asked_again_with_all_that_follow(
    ask, tmp_path: Path, damage: Callable[[bytes], bytes], capsys: pytest.CaptureFixture
) -> None:
    expected = ask(Parrot(), FIVE)
    kept = tmp_path / "kept.jsonl"
    first, second, third = kept.read_bytes().splitlines(keepends=True)
    kept.write_bytes(first + damage(second) + third)
    again = Parrot()
    assert ask(again, FIVE) == expected
    assert [len(call) for call in again.calls] == [5, 5]
    assert kept.read_bytes() == first + second + third
    said = "kept.jsonl: answers after the first 2 records are damaged, asks them again"
    assert capsys.readouterr().out.splitlines() == [said]


def test_batches_have_different_seeds(ask) -> None:
    _, lines = ask(Parrot(), FIVE)
    seeds = {line["record"]: line["completion"].split(":")[0] for line in lines}
    assert seeds[0] == seeds[1] == "5"
    assert len({seeds[0], seeds[2], seeds[4]}) == 3


def test_blind_frames_show_nothing(ask, store: FrameStore) -> None:
    parrot = Parrot()
    ask(parrot, FIVE, see=blank)
    for prompt in parrot.calls[0]:
        seen = store.frames(LONG)
        assert [(f.time_s, f.image.size) for f in prompt.frames] == [(f.time_s, f.image.size) for f in seen]
        assert all((np.asarray(frame.image) == GREY).all() for frame in prompt.frames)


def test_a_model_answers_the_same_again(ask, engine: LocalEngine, tmp_path: Path) -> None:
    for temperature in (0.0, 1.0):
        first = ask(engine, FIVE, temperature=temperature)
        (tmp_path / "kept.jsonl").unlink()
        assert ask(engine, FIVE, temperature=temperature) == first
        kept = tmp_path / "kept.jsonl"
        kept.write_bytes(kept.read_bytes()[:-100])  # cut in the middle of sampling
        assert ask(engine, FIVE, temperature=temperature) == first
        kept.unlink()
        other = ask(engine, FIVE, temperature=temperature, seed=6)
        assert (other == first) is (temperature == 0)
        kept.unlink()


def test_blank_frames_of_different_clips_are_equal(engine: LocalEngine, store: FrameStore) -> None:
    seen, blind = (
        [engine.encoder.vision(see(store.frames(name)[:2])).pixel_values for name in (LONG, SHORT)]
        for see in (tuple, blank)
    )
    assert not seen[0].equal(seen[1])
    assert blind[0].equal(blind[1])
