"""The prompts and targets of each sample, and which samples are too long and skipped."""

from dataclasses import replace

import pytest

from openo3.core.evidence import read_where
from openo3.core.geometry import RELATIVE_1000, BoxSpace, pixels
from openo3.core.schema import Box, KeyFrame, Sample, Task
from openo3.model.encode import PromptEncoder
from openo3.prompt_file import default_prompts
from openo3.training.examples import Examples, key_times
from tests.openo3.training import workplace

A, B, C, D = ((side / 10, 0.2, side / 10 + 0.2, 0.4) for side in (1, 3, 5, 7))


def spatial(id: str, media: str, keys: dict[float, dict[str, tuple[Box, ...]]]) -> Sample:
    """A temporal-spatial record with these boxes by time."""
    frames = tuple(KeyFrame(10 + number, time_s) for number, time_s in enumerate(keys))
    items = {10 + number: found for number, found in enumerate(keys.values())}
    return replace(workplace.samples()[0], id=id, media=media, key_frames=frames, key_items=items)


def derived(examples: Examples, *samples: Sample) -> list[Sample]:
    """The direct questions about these samples, which are appended to them."""
    own = [*samples, *examples.samples[3:]]
    direct = replace(examples, samples=own).with_direct()
    assert list(direct.samples[: len(own)]) == own
    return list(direct.samples[len(own) :])


def known(sample: Sample) -> dict[float, dict[str, tuple[Box, ...]]]:
    return {key.time_s: sample.key_items[key.idx] for key in sample.key_frames}


def test_a_direct_question_pools_the_boxes_of_all_records_of_a_video(examples: Examples) -> None:
    """Uses the object with the most boxes over all records of the video, at its whole seconds in order."""
    where = derived(
        examples,
        spatial("one", "long.mp4", {1.2: {"dog": (C,), "cup": (B,)}, 3.0: {"cup": (A,)}}),
        spatial("two", "short.mp4", {1.0: {"cup": (C,), "hat": (D,)}}),
        spatial("three", "long.mp4", {3.1: {"dog": (A,)}, 1.9: {"cup": (D,)}}),
    )
    assert [(sample.media, list(known(sample).items())) for sample in where] == [
        ("long.mp4", [(1.0, {"cup": (B,)}), (2.0, {"cup": (D,)}), (3.0, {"cup": (A,)})]),
        ("short.mp4", [(1.0, {"cup": (C,)})]),  # the first of those with equally many boxes
    ]
    assert [sample.question for sample in where] == [
        default_prompts().where("Where is the cup?", [1, 2, 3]),
        default_prompts().where("Where is the cup?", [1]),
    ]
    assert {sample.task for sample in where} == {Task.WHERE}
    assert len({sample.id for sample in where} | {"one", "two", "three"}) == 5
    assert not any(sample.answer or sample.reasoning for sample in where)


def test_fractional_seconds_and_ambiguous_objects_are_not_asked(examples: Examples) -> None:
    keys = {
        1.25: {"cup": (A,)}, 1.26: {"cup": (B,)}, 2.74: {"cup": (C,)}, 2.75: {"cup": (D,)},
        2.0: {"cup": (A, B), "dog": ()}, 0.5: {"dog": (A,)},
    }  # fmt: skip
    [cup] = derived(examples, spatial("one", "long.mp4", keys))
    assert known(cup) == {1.0: {"cup": (A,)}, 3.0: {"cup": (D,)}}


def test_only_temporal_spatial_records_give_direct_questions(examples: Examples) -> None:
    assert any(sample.key_items for sample in examples.samples[3:])
    assert derived(examples) == []
    [cup] = examples.with_direct().samples[len(examples.samples) :]  # of both records about the long clip
    assert known(cup) == {2.0: {"cup": ((0.1, 0.2, 0.3, 0.4),)}}  # its other time is 0.7 s


def test_a_direct_question_has_the_vstar_prompt(examples: Examples) -> None:
    """Shows only the evenly spaced frames, unlike its record, and has no instruction."""
    direct = examples.with_direct()
    [cup] = direct.samples[len(examples.samples) :]
    assert key_times(cup) == ()
    assert key_times(examples.samples[0])
    frames = direct.frames(cup)
    assert not any(frame.key for frame in frames)
    even = direct.frames(examples.samples[1])
    assert [frame.time_s for frame in frames] == [frame.time_s for frame in even]
    assert direct.prompt(cup).text == cup.question
    assert direct.prompt(cup).duration_s == direct.store.duration_s(cup.media)
    assert direct.tokens(cup, answered=True) == direct.tokens(cup, answered=False) + len(
        direct.encoder.target(direct.target(cup))
    )


@pytest.mark.parametrize(
    ("space", "said"),
    [
        (RELATIVE_1000, '{"1": [300,200,500,400], "3": [100,200,300,400]}'),
        (pixels((100, 50)), '{"1": [30,10,50,20], "3": [10,10,30,20]}'),
    ],
)
@pytest.mark.parametrize("reasoning", [True, False])
def test_a_direct_answer_uses_the_box_space_of_the_model(
    examples: Examples, space: BoxSpace, said: str, reasoning: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    [cup] = derived(examples, spatial("one", "long.mp4", {3.0: {"cup": (A,)}, 1.0: {"cup": (B,)}}))
    monkeypatch.setattr(Examples, "box_space", lambda *_: space)
    assert replace(examples, reasoning=reasoning).target(cup) == said
    assert read_where(said, space) == {"1": [pytest.approx(B)], "3": [pytest.approx(A)]}


def test_training_asks_with_templates_of_ones_own(examples: Examples) -> None:
    """Templates reach the questions, the direct ones, and what surrounds both."""
    default = default_prompts()
    own = replace(
        default,
        conversation=replace(default.conversation, frame="[{time}]{image}"),
        grammar=replace(default.grammar, temporal_spatial="{question} Cite."),
        questions=replace(default.questions, where="{question} At {seconds}?"),
    )
    asked = replace(examples, encoder=PromptEncoder(examples.encoder.processor, own)).with_direct()
    first, last = asked.samples[0], asked.samples[-1]
    assert asked.prompt(first).text == f"{first.question} Cite."
    assert last.question.endswith(" At 2?")
    shown = asked.encoder.decode(asked.encode(first).prefix_ids)
    assert "[0.0]" in shown
    assert "Frame" not in shown


def test_without_reasoning_prompt_and_answer_are_plain(examples: Examples) -> None:
    plain = replace(examples, reasoning=False)
    assert [plain.target(sample) for sample in plain.samples] == [
        "a cup", "From 1.0s to 3.5s", "a blue cup", "B", "cup[250,250,500,500]", "a red car",
        "From 1.0s to 3.5s\nCorrect Option: C",
    ]  # fmt: skip
    for sample in plain.samples:
        assert plain.prompt(sample).text == sample.question
        assert examples.prompt(sample).text == default_prompts().task(sample.task, sample.question)
        assert plain.tokens(sample, answered=True) < examples.tokens(sample, answered=True)
        shown = plain.frames(sample), examples.frames(sample)
        assert len({tuple(frame.time_s for frame in frames) for frames in shown}) == 1
    assert plain.with_direct().reasoning is plain.within(10_000, answered=True).reasoning is False


def test_lengths_are_counted_in_tokens(examples: Examples) -> None:
    for sample in examples.samples:
        encoded = examples.encode(sample)
        prompt = len(encoded.prefix_ids) + len(encoded.context_ids)
        answer = len(examples.encoder.target(examples.target(sample)))
        assert examples.tokens(sample, answered=False) == prompt
        assert examples.tokens(sample, answered=True) == prompt + answer


@pytest.mark.parametrize("answered", [True, False])
def test_only_samples_that_fit_are_kept(examples: Examples, answered: bool) -> None:
    lengths = [examples.tokens(sample, answered=answered) for sample in examples.samples]
    limit = sorted(lengths)[len(lengths) // 2]
    within = examples.within(limit, answered=answered)
    fitting = [sample for sample, length in zip(examples.samples, lengths, strict=True) if length <= limit]
    assert list(within.samples) == fitting
    assert within.too_long == len(lengths) - len(fitting) > 0
    assert within.without_frames == examples.without_frames
    assert examples.within(None, answered=answered) is examples
