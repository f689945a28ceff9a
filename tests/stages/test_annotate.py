"""The stage writes no records unless it is enabled; what it writes passes `download` and `validate`."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from openo3.annotating.clips import AnnotateError
from openo3.annotating.prompts import DEFAULT
from openo3.files.artifacts import read_json, read_jsonl
from openo3.prompt_file import DEFAULT as COMMON
from stages import annotate, download, validate
from tests.openo3.annotating import annotator
from tests.support.chat_endpoint import endpoint


def workplace(root: Path) -> Path:
    YAML().dump({"prompts": str(COMMON)}, root / "params.yaml")
    annotator.folder_of(root / "local/clips", 2)
    return root


def params(url: str, **settings: object) -> annotate.Params:
    return annotate.Params(True, "local", str(DEFAULT), annotator.params(url, **settings))


def test_a_stage_that_is_off_writes_no_records(tmp_path):
    assert annotate.run(annotate.Params(False, "local", str(DEFAULT)), tmp_path) is None
    assert [path.name for path in (tmp_path / "data/annotated").iterdir()] == ["annotate.json"]


def test_its_records_are_downloaded_and_accepted(tmp_path):
    root = workplace(tmp_path)
    with endpoint(annotator.answer) as server:
        annotate.run(params(server.url), root)
        count = len(server.bodies)
        annotate.run(params(server.url), root)
        assert len(server.bodies) == count  # replies survive the output, which DVC removes
    media = root / "data/annotated/videos/clips/clip 0.mp4"
    assert media.stat().st_nlink == 1  # DVC makes outputs read-only: never the user's own file
    download.run(download.Params("local", "data/annotated"), root)
    assert validate.run(validate.Params(max_rejected_share=0.0), root) is None
    assert len(list(read_jsonl(root / "data/validated/sft.jsonl"))) == 2
    assert not read_json(root / "metrics/validation.json")["missing"]


def test_questions_must_be_where_dvc_notices_a_change(tmp_path):
    root = workplace(tmp_path)
    (root / "questions.txt").write_text("What?\n")
    with pytest.raises(AnnotateError, match=r"questions\.txt is not in local"):
        annotate.run(params("http://127.0.0.1:9/v1", questions="questions.txt"), root)
