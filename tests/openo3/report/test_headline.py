"""The headline states what the numbers show, and no more."""

import dataclasses

import pytest

from openo3.benchmarks.conditions import CONDITIONS
from openo3.report.comparison import PAIRS, Cell, Comparison, main_comparison
from openo3.report.headline import sentences

FALL, RISE, SAME = (
    Cell(-7.9, -10.0, -5.0, "down", signed=True),
    Cell(11.9, 8.0, 15.0, "up", signed=True),
    Cell(0.8, -1.6, 3.1, "", signed=True),
)
VSTAR = ("mAM", "acc", "tIoU_1", "vIoU_1", "tIoU_2", "vIoU_2")


def compared(benchmark="vstar", metrics=VSTAR, base="plain", **changes) -> Comparison:
    """Nothing changed but `changes`, by pair (`sft_base`) and metric."""
    asked = {"base": CONDITIONS[base], "sft": CONDITIONS["greedy"], "gspo": CONDITIONS["greedy"]}
    levels = {"base": 43.1, "sft": 55.0, "gspo": 58.2}
    return Comparison(
        benchmark=benchmark,
        n=1160,
        asked=asked,
        levels={model: dict.fromkeys(metrics, Cell(value, 0.0, 99.0)) for model, value in levels.items()},
        gains={pair: dict.fromkeys(metrics, SAME) | changes.get("_".join(pair), {}) for pair in PAIRS},
    )


def test_a_rise_at_both_steps_is_stated():
    assert sentences([compared(sft_base={"mAM": RISE}, gspo_sft={"mAM": RISE})], {}) == [
        "SFT raises mAM from 43.1 to 55.0 (+11.9 [+8.0, +15.0]) over the base asked plainly, "
        "on the same 1,160 held-out V-STaR records.",
        "GSPO raises mAM from 55.0 to 58.2 (+11.9 [+8.0, +15.0]) over SFT.",
        "No single axis fell significantly at any step.",
    ]


def test_a_fall_at_both_steps_is_stated():
    first, second, _ = sentences([compared(sft_base={"mAM": FALL}, gspo_sft={"mAM": FALL})], {})
    assert first.startswith(
        "SFT lowers mAM from 43.1 to 55.0 (-7.9 [-10.0, -5.0]) against the base asked plainly"
    )
    assert second == "GSPO lowers mAM from 55.0 to 58.2 (-7.9 [-10.0, -5.0]) against SFT."


def test_a_difference_within_the_noise_is_no_change():
    first, second, third = sentences([compared()], {})
    assert first.startswith(
        "SFT brings no significant change in mAM over the base asked plainly: from 43.1 to "
    )
    assert (
        second == "GSPO brings no significant change in mAM over SFT: from 55.0 to 58.2 (+0.8 [-1.6, +3.1])."
    )
    assert third == "No single axis fell significantly at any step."
    assert not any(word in first + second for word in ("raises", "lowers"))


def test_axes_that_fell_are_named_with_the_step():
    changes = {"sft_base": {"vIoU_1": FALL, "vIoU_2": FALL, "acc": RISE}, "gspo_sft": {"vIoU_1": FALL}}
    assert sentences([compared(**changes)], {})[2:] == [
        "SFT significantly lowers Where (chain 1) (-7.9 [-10.0, -5.0]) and Where (chain 2) "
        "(-7.9 [-10.0, -5.0]) against the base.",
        "GSPO significantly lowers Where (chain 1) (-7.9 [-10.0, -5.0]) against SFT.",
    ]


def test_two_small_falls_that_add_up_are_stated_as_a_fall():
    changes = {"gspo_base": {"vIoU_1": FALL, "acc": FALL}, "sft_base": {"acc": FALL}}
    assert sentences([compared(**changes)], {})[2:] == [
        "SFT significantly lowers What (-7.9 [-10.0, -5.0]) against the base.",
        "The two stages together significantly lower Where (chain 1) (-7.9 [-10.0, -5.0]) against the base.",
    ]


def test_falls_on_other_benchmarks_are_stated():
    other = compared("tvgbench", ("m_tIoU",), gspo_sft={"m_tIoU": FALL})
    said = sentences([compared(), other], {})
    assert "GSPO significantly lowers TVGBench's tIoU (-7.9 [-10.0, -5.0]) against SFT." in said
    assert "V-STaR" not in " ".join(sentences([other], {}))
    assert sentences([other], {})[0].startswith(
        "SFT brings no significant change in TVGBench's tIoU over the base"
    )


def test_a_base_without_plain_answers_is_labelled():
    assert (
        "over the base asked in the grammar, for which it was not fine-tuned, on the same"
        in sentences([compared(base="greedy", sft_base={"mAM": RISE})], {})[0]
    )


def test_no_evaluation_gives_no_headline():
    assert sentences([], {}) == []


@pytest.mark.parametrize(("order", "verb"), [(("base", "gspo"), "raises"), (("gspo", "base"), "lowers")])
def test_real_results_are_stated_in_the_right_direction(inputs, order, verb):
    """With the answers of two models swapped, a rise must be reported as a fall."""
    before, after = (inputs.key(model, "vstar") for model in order)
    keys = {inputs.key("base", "vstar"): before, inputs.key("sft", "vstar"): after}
    results = dict(inputs.results) | {key: inputs.results[other] for key, other in keys.items()}
    metrics = {
        model: {name: dict(found) for name, found in of.items()} for model, of in inputs.metrics.items()
    }
    for (model, name, condition), (m, n, c) in keys.items():
        metrics[model][name][condition] = inputs.metrics[m][n][c]
    swapped = main_comparison(dataclasses.replace(inputs, results=results, metrics=metrics), "vstar")
    first, *_, last = sentences([swapped], {})
    assert first.startswith(f"SFT {verb} mAM from {swapped.levels['base']['mAM'].text} to ")
    assert ("No single axis fell" in last) == (verb == "raises")


def test_rewards_beyond_those_of_the_paper_are_named():
    assert sentences([compared()], {"ans_where": 1.0, "thk_objects": 2.0})[-1] == (
        "GSPO's rewards are the paper's seven, “Answer: boxes at seconds” (weight 1) and "
        "“Evidence: the right objects” (weight 2)."
    )
    assert not any("rewards" in sentence for sentence in sentences([compared()], {}))


def test_equal_scores_are_stated_as_equal():
    zero = dict.fromkeys(VSTAR, Cell(0.0, 0.0, 0.0, "", signed=True))
    assert "GSPO scores exactly as SFT on every metric." in sentences([compared(gspo_sft=zero)], {})
