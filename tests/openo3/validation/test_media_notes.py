"""Media notes of an earlier run are reused when intact and rebuilt when damaged."""

from pathlib import Path

import pytest

from openo3.files.artifacts import write_jsonl
from openo3.media import reader
from openo3.validation import media
from openo3.validation.media import read_index


@pytest.mark.parametrize("note", [b"\0" * 64, b"garbage\n", b'{"sha256": "1", "kin', b"[]\n"])
def test_a_damaged_note_is_set_aside(tmp_path: Path, note: bytes, capsys) -> None:
    known = tmp_path / "media.jsonl"
    known.write_bytes(note)
    read_index(tmp_path / "raw", known)
    assert not known.exists()
    assert (tmp_path / "media.jsonl.damaged").read_bytes() == note
    assert "media.jsonl: damaged" in capsys.readouterr().out


def test_notes_of_another_decoder_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = tmp_path / "media.jsonl"
    write_jsonl(known, [{"sha256": "1", "code": media._code(), "kind": "video", "duration_s": 2.0}])
    assert list(media._remembered(known)) == ["1"]
    monkeypatch.setattr(reader.metadata, "version", lambda library: "0.1")
    media._code.cache_clear()
    try:
        assert media._remembered(known) == {}
    finally:
        media._code.cache_clear()
