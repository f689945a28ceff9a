"""Media notes of an earlier run are reused when intact and rebuilt when damaged."""

from pathlib import Path

import pytest

from openo3.validation.media import read_index


@pytest.mark.parametrize("note", [b"\0" * 64, b"garbage\n", b'{"sha256": "1", "kin', b"[]\n"])
def test_a_damaged_note_is_set_aside(tmp_path: Path, note: bytes, capsys) -> None:
    known = tmp_path / "media.jsonl"
    known.write_bytes(note)
    read_index(tmp_path / "raw", known)
    assert not known.exists()
    assert (tmp_path / "media.jsonl.damaged").read_bytes() == note
    assert "media.jsonl: damaged" in capsys.readouterr().out
