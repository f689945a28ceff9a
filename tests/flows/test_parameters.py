"""Parameters that are overridden for one run."""

import pytest

from flows import parameters

BEFORE = (
    "# the default\nevaluate:\n  decodings:   # by benchmark\n    vstar: [greedy]\n    tvgbench: [greedy]\n"
)


@pytest.fixture
def params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "params.yaml"
    file.write_text(BEFORE)
    return file


def narrow(blocks):
    del blocks["evaluate"]["decodings"]["tvgbench"]


def test_overrides_last_for_one_run(params):
    with parameters.changed(narrow):
        assert params.read_text() == BEFORE.replace("    tvgbench: [greedy]\n", "")
    assert params.read_text() == BEFORE


def test_the_next_run_restores_the_parameters_of_a_killed_run(params):
    change = parameters.changed(narrow)
    change.__enter__()
    assert params.read_text() != BEFORE
    parameters.restore()
    assert params.read_text() == BEFORE
    parameters.restore()
    assert params.read_text() == BEFORE


def test_edits_made_during_a_run_are_kept(params):
    with parameters.changed(narrow):
        params.write_text("mine: 1\n")
    assert params.read_text() == "mine: 1\n"


def test_a_refused_override_changes_nothing(params):
    def refuse(_):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), parameters.changed(refuse):
        pass
    assert params.read_text() == BEFORE
    assert not parameters.KEPT.exists()


def test_a_damaged_note_is_set_aside(params):
    parameters.KEPT.parent.mkdir()
    parameters.KEPT.write_bytes(bytes(64))
    parameters.restore()
    assert params.read_text() == BEFORE
    assert not parameters.KEPT.exists()
    with parameters.changed(narrow):
        pass
    assert params.read_text() == BEFORE
