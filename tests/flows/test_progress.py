import pytest

from flows.progress import Progress


@pytest.mark.parametrize(
    ("line", "percent", "text"),
    [
        (
            "sft:  45%|####5     | 135/300 [02:10<02:40,  1.03it/s]",
            45,
            "sft: 135/300 [02:10<02:40,  1.03it/s]",
        ),
        (" 50%|█████     | 2/4 [00:01<00:01, 1.9it/s]", 50, "2/4 [00:01<00:01, 1.9it/s]"),
        ("raw:   3%|▎  | 1.2M/40.0M [00:01<00:33, 1.2MB/s]", 3, "raw: 1.2M/40.0M [00:01<00:33, 1.2MB/s]"),
        ("evaluate, base: 100%|##| 4/4 [00:01<?, ?it/s]", 100, "evaluate, base: 4/4 [00:01<?, ?it/s]"),
    ],
)
def test_a_progress_bar_is_parsed(line, percent, text):
    progress = Progress()
    assert progress.read(line)
    assert (progress.percent, str(progress)) == (percent, text)


def test_trainer_metrics_are_added_to_the_progress():
    progress = Progress()
    progress.read("  0%| | 0/4 [00:00<?, ?it/s]")
    progress.read("{'loss': '0.4127', 'grad_norm': 1.25, 'reward': 3.9, 'epoch': '0.5', 'name': 'x'}")
    assert str(progress) == "0/4 [00:00<?, ?it/s]; reward 3.9, loss 0.4127, epoch 0.5, grad_norm 1.25"


@pytest.mark.parametrize(
    "line",
    ["", "100% sure", "{'a': __import__('os')}", "{'a': " + "[" * 500, "{'x'}", "a|b|c [", "{'a': {}}"],
)
def test_any_other_line_is_not_progress(line):
    progress = Progress()
    progress.read(line)
    assert (progress.percent, str(progress)) == (None, "")


def test_progress_is_shown_at_most_every_few_seconds():
    progress = Progress(every_s=1000)
    assert not progress.due()
    progress.read("1%|# | 1/100 [00:01<00:33, 1it/s]")
    assert progress.due()
    progress.read("2%|# | 2/100 [00:02<00:33, 1it/s]")
    assert not progress.due()
