"""`download.source` as a list: the published data from a real HTTP server, and a folder, in one
`data/raw`."""

import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

from openo3.configuration import ConfigurationError, parse_block
from openo3.fetch.limits import Limits
from openo3.fetch.plan import FetchError
from openo3.files.artifacts import read_json, read_jsonl
from stages import download, validate
from tests.support import local_folder, published
from tests.support.archives import contents, needs_zip
from tools.hub_server import HubServer

QUICK = Limits(threads=4, stall_s=20, tries=2, wait_s=0.01)
VIDEOS = f"videos/local/videos/{local_folder.CLIP}"


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        published.publish(server, tmp_path)
        local_folder.write(tmp_path / "mine")
        yield server


def params(*names: str) -> download.Params:
    own = download.Published(annotations=("sft", "rl", "vstar"), table="own.yaml")
    return download.Params(names, path="mine", published=own, limits=QUICK)


def rows(root: Path, name: str) -> list[dict]:
    return json.loads((root / "data/raw/annotations" / name).read_text())


@needs_zip
def test_published_and_own_data_come_together(server, tmp_path, capsys):
    download.run(params("published", "local"), tmp_path)
    assert rows(tmp_path, "STGR-SFT.json") == [*published.SFT, *local_folder.sft_rows()]
    assert rows(tmp_path, "STGR-RL.json") == [*published.RL, *local_folder.rl_rows()]
    said = capsys.readouterr().out
    assert "STGR-SFT.json: 6 of published (rows 0 to 5), then 5 of local (rows 6 to 10)\n" in said
    media = set(contents(tmp_path / "data/raw/media"))
    assert {VIDEOS, "videos/stgr/plm/videos/sav_1.mp4", "videos/tvgbench/charades/t1.mp4"} <= media
    manifest = {line["path"]: line for line in read_jsonl(tmp_path / "data/raw/manifest.jsonl")}
    assert {path.removeprefix("media/") for path in manifest if path.startswith("media/")} == media
    assert manifest["annotations/V_STaR_test.json"]["origin"].startswith("hf://datasets/")
    assert "origin" not in manifest["annotations/TVGBench.json"]  # which only the folder has


@needs_zip
def test_every_row_keeps_its_source_through_validation(server, tmp_path):
    download.run(params("published", "local"), tmp_path)
    validate.run(validate.Params(max_rejected_share=0.2), tmp_path)
    found = Counter(row["source"] for row in read_jsonl(tmp_path / "data/validated/sft.jsonl"))
    assert found["local"] == 5
    assert found.keys() >= {"STR_plm_rdcap", "TreeVGR", "TVG_didemo"}
    counted = read_json(tmp_path / "metrics/validation.json")["sources"]["sft"]
    assert {"local", "STR_plm_rdcap"} <= counted.keys()


@needs_zip
def test_a_benchmark_comes_from_the_first_source_that_has_it(server, tmp_path, capsys):
    server.requests.clear()
    local_folder.annotate(
        tmp_path / "mine", "V_STaR_test.json", [local_folder.vstar_record() | {"answer": "mine"}]
    )
    download.run(params("local", "published"), tmp_path)
    assert [row["answer"] for row in rows(tmp_path, "V_STaR_test.json")] == ["mine"]
    assert "published vstar: left out" in capsys.readouterr().out
    assert not [request for request in server.requests if "V-STaR" in request.path]
    download.run(params("published", "local"), tmp_path)
    assert [row["answer"] for row in rows(tmp_path, "V_STaR_test.json")] == ["a fridge"]
    assert "V_STaR_test.json: left out" in capsys.readouterr().out


@needs_zip
def test_a_second_run_changes_nothing(server, tmp_path):
    download.run(params("published", "local"), tmp_path)
    before = contents(tmp_path / "data")
    done = download.run(params("published", "local"), tmp_path)
    assert (done.copied, done.removed) == (0, 0)
    assert contents(tmp_path / "data") == before


@needs_zip
def test_leaving_a_source_out_again_fetches_nothing_anew(server, tmp_path):
    download.run(params("published"), tmp_path)
    alone = contents(tmp_path / "data")
    download.run(params("published", "local"), tmp_path)
    server.requests.clear()
    done = download.run(params("published"), tmp_path)
    assert contents(tmp_path / "data") == alone
    assert done.copied == 2  # the two training files
    assert not [request for request in server.requests if request.path.endswith(".mp4")]


@needs_zip
@pytest.mark.parametrize("away", ["folder", "hub"])
def test_a_source_that_is_away_costs_the_other_nothing(server, tmp_path, monkeypatch, away):
    download.run(params("published", "local"), tmp_path)
    before = contents(tmp_path / "data")
    if away == "folder":
        shutil.move(tmp_path / "mine", tmp_path / "unmounted")
    else:
        monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(FetchError):
        download.run(params("published", "local"), tmp_path)
    assert contents(tmp_path / "data") == before


@needs_zip
def test_two_sources_never_write_one_path(server, tmp_path):
    folder = tmp_path / "mine"
    local_folder.annotate(folder, "STGR-SFT.json", [published.SFT[0] | {"id": "another"}])
    for path in ("videos/stgr/plm/videos/sav_1.mp4", "videos/stgr/plm/kfs/sav_1/0.jpg"):
        (folder / path).parent.mkdir(parents=True)
        (folder / path).write_bytes(b"something else")
    with pytest.raises(FetchError, match=r"sav_1/?.*: .* and .* would both be written there; rename one"):
        download.run(params("published", "local"), tmp_path)
    assert not (tmp_path / "data/raw/manifest.jsonl").exists()


@needs_zip
def test_a_file_that_one_source_lacks_is_taken_from_the_other(server, tmp_path):
    clip = tmp_path / "mine/videos/timerft" / published.LOST
    clip.parent.mkdir()
    shutil.copyfile(tmp_path / "clip.mp4", clip)
    local_folder.annotate(tmp_path / "mine", "STGR-SFT.json", [published.SFT[-1] | {"id": "found"}])
    done = download.run(params("published", "local"), tmp_path)
    assert done.missing == 0
    assert (tmp_path / "data/raw/media/videos/timerft" / published.LOST).is_file()


def test_one_source_in_a_list_is_the_same_as_without_one(tmp_path):
    local_folder.write(tmp_path / "mine")
    for name, source in (("one", "local"), ("two", ("local",))):
        (tmp_path / name).mkdir()
        download.run(download.Params(source, path=str(tmp_path / "mine")), tmp_path / name)
    assert contents(tmp_path / "one/data") == contents(tmp_path / "two/data")


def test_rows_that_validate_rejects_stay_as_they_are(tmp_path):
    """Broken rows are told apart after joining: none is lost, mended, or worse."""
    from openo3.annotations.files import STGR_FILES
    from openo3.annotations.rows import read_rows
    from openo3.fetch.joined import joined
    from openo3.fetch.plan import Item, Plan
    from openo3.fetch.random_access import LocalFile

    texts = [b'[{"a": NaN, "b": "\xff", "c": 1e400}, 5, null]', b"[]", b'[{"d": "\\ud800"}]']
    plans = {}
    for number, text in enumerate(texts):
        (tmp_path / f"{number}.json").write_bytes(text)
        item = Item("annotations/STGR-RL.json", LocalFile(tmp_path / f"{number}.json"), "annotations")
        plans[f"source {number}"] = Plan([item])
    [item] = joined(plans, tmp_path / "joined").items
    expected = [repr(row) for number in range(3) for row in read_rows(tmp_path / f"{number}.json")]
    assert [repr(row) for row in STGR_FILES[1].rows(item.origin.path)] == expected


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere", "source must be one or several of local, shapes, published, found 'nowhere'"),
        (["local", "x"], "source must be one or several of local, shapes, published, found 'x'"),
        ([], "source must be one or several of local, shapes, published"),
        (["local", "local"], "source names one source twice"),
    ],
)
def test_an_impossible_source_is_one_line(source, said):
    with pytest.raises(ConfigurationError) as error:
        parse_block("params.yaml", "download", {"source": source}, download.Params)
    assert str(error.value) == f"params.yaml: download: {said}"
