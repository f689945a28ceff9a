"""Parameters that hold for one run."""

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


def test_they_are_changed_for_a_while(params):
    with parameters.changed(narrow):
        assert params.read_text() == BEFORE.replace("    tvgbench: [greedy]\n", "")
    assert params.read_text() == BEFORE


def test_a_killed_run_is_put_right_by_the_next(params):
    change = parameters.changed(narrow)
    change.__enter__()
    assert params.read_text() != BEFORE
    parameters.put_back()
    assert params.read_text() == BEFORE
    parameters.put_back()
    assert params.read_text() == BEFORE


def test_what_somebody_edited_meanwhile_stays(params):
    with parameters.changed(narrow):
        params.write_text("mine: 1\n")
    assert params.read_text() == "mine: 1\n"


def test_a_refused_change_changes_nothing(params):
    def refuse(_):
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"), parameters.changed(refuse):
        pass
    assert params.read_text() == BEFORE
    assert not parameters.KEPT.exists()


def test_a_damaged_note_is_set_aside(params):
    parameters.KEPT.parent.mkdir()
    parameters.KEPT.write_bytes(bytes(64))
    parameters.put_back()
    assert params.read_text() == BEFORE
    assert not parameters.KEPT.exists()
    with parameters.changed(narrow):
        pass
    assert params.read_text() == BEFORE
