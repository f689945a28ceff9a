"""The gallery: its folder, and its page in a real browser."""

import http.server
import json
import os
import shutil
import threading
from functools import partial
from pathlib import Path

import orjson
import pytest

from openo3.benchmarks.registry import BENCHMARKS
from openo3.cli.main import main
from openo3.core.geometry import RELATIVE_1000
from openo3.files.artifacts import read_json, read_jsonl, write_json, write_jsonl
from openo3.gallery.build import write
from openo3.gallery.clips import Clips, known_again
from openo3.gallery.paged import PAGE_BYTES
from openo3.gallery.predictions import GalleryError
from openo3.report.examples import gallery_address
from openo3.report.inputs import Inputs
from tests.support.browser import BROWSER, Browser
from tests.support.clips import ffmpeg
from tests.support.finished_run import HOSTILE, write_run
from tests.support.mutations import mutants

MANY = 3_000
EVIL = "</script><script>document.title='taken'</script><img src=x onerror=\"document.title='taken'\">"
COUNT = "document.querySelector('.count').textContent"
READY = "document.querySelector('main .o3-player') !== null"
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished")
    write_run(folder, videos=2)
    return folder


@pytest.fixture
def own(finished, tmp_path):
    """A finished run that a test may change."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture(scope="module")
def root(finished, tmp_path_factory):
    """A finished run with 3,000 records in two checkpoints, and markup in every text of one record."""
    root = tmp_path_factory.mktemp("run")
    shutil.copytree(finished, root, dirs_exist_ok=True)
    for run in ("gspo/tvgbench/greedy", "base/tvgbench/plain"):
        multiply(root / "data/predictions" / run, MANY)
    for model in ("base", "sft", "gspo"):
        for path in (root / f"data/predictions/{model}/vstar").glob("*.results.json"):
            spoil(path)
    evil = root / "data/predictions/<img src=x onerror=alert(1)>/vstar"
    evil.mkdir(parents=True)
    for ending in ("jsonl", "results.json"):
        os.link(root / f"data/predictions/sft/vstar/greedy.{ending}", evil / f"<b>&quot;.{ending}")
    return root


def multiply(path: Path, count: int) -> None:
    """Repeat the records of a run, each repetition under a question of its own."""
    results, lines = read_json(f"{path}.results.json"), list(read_jsonl(f"{path}.jsonl"))
    many = results + [
        {**results[k % len(results)], "question": f"{results[k % len(results)]['question']}, case {k}"}
        for k in range(len(results), count)
    ]
    write_json(f"{path}.results.json", many)
    write_jsonl(f"{path}.jsonl", [{**lines[k % len(lines)], "record": k} for k in range(count)])


def spoil(path: Path) -> None:
    results = read_json(path)
    benchmark = BENCHMARKS["vstar"]
    evil = dict.fromkeys(("question", "answer", "object", "domain", "vid"), EVIL)
    lines_path = path.with_name(path.name.replace("results.json", "jsonl"))
    lines = list(read_jsonl(lines_path))
    for line in lines:
        if line["record"] == 3:
            claim = "<obj>&lt;b&gt; onerror=1</obj><box>[0,0,500,500]</box>at<t>1.0</t>s"
            line["completion"] = f"<think>{EVIL} {claim}</think><answer>{EVIL}</answer>"
            line["prompt"] = EVIL
    said = {line["question"]: line["completion"] for line in lines if line["record"] == 3}
    record = {**{key: value for key, value in results[3].items() if key != "VQA_score"}, **evil}
    results[3] = {**benchmark.result(record, said, RELATIVE_1000), "VQA_score": 1}
    write_json(path, results)
    write_jsonl(lines_path, lines)


@pytest.fixture(scope="module")
def gallery(root):
    return write(root, root / "reports/gallery")


@pytest.fixture(scope="module")
def browser():
    with Browser() as started:
        yield started


@pytest.fixture
def opened(browser, gallery):
    """Opens the gallery from disk at an address; no test may leave a complaint or ask another place."""
    tabs = []

    def at(address=""):
        tab = browser.open(gallery.page.resolve().as_uri() + address, 1440, 900)
        tabs.append(tab)
        tab.wait(READY)
        return tab

    yield at
    for tab in tabs:
        assert tab.complaints() == []
        assert all(url.startswith(gallery.page.parent.resolve().as_uri()) for url in tab.requests())


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without printing each request."""

    def log_message(self, format, *args):
        """Print nothing."""


def data(path: Path):
    """The value that a data file gives to the page."""
    text = path.read_text(encoding="utf-8").removeprefix("openo3Browse.receive(").rstrip(";\n")[:-1]
    return json.loads(text[text.index(",") + 1 :])


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=lambda benchmark: benchmark.name)
def test_every_benchmark_says_what_its_questions_ask_for_and_what_scores_them(benchmark):
    assert benchmark.scoring.asks
    named = {column for columns in benchmark.scoring.asks.values() for column in columns.values()}
    assert named <= set(benchmark.scoring.columns)


def test_every_prediction_is_in_a_file_of_bounded_size(root, gallery):
    pages = sorted((gallery.page.parent / "data").glob("*/page-*.js"))
    assert all(page.stat().st_size < PAGE_BYTES + 20_000 for page in pages)
    shown = {
        (page.parent.name, record["number"], int(run), part["kind"]): part["text"]
        for page in pages
        for record in data(page)
        for run, answer in record["runs"].items()
        for part in answer["parts"]
    }
    said = sum(len(list(read_jsonl(path))) for path in (root / "data/predictions").glob("*/*/*.jsonl"))
    assert len(shown) == said
    assert gallery.predictions == sum(
        len(orjson.loads(path.read_bytes())) for path in (root / "data/predictions").glob("*/*/*.json")
    )


def test_clips_that_browsers_play_are_linked_and_taken_again(own):
    written = write(own, own / "out")
    assert written.clips == {"linked": 2}
    assert written.media_bytes > 0
    assert written.disk_bytes == written.data_bytes
    [first, *_] = sorted((own / "out/media").iterdir())
    assert first.stat().st_nlink == 2
    assert write(own, own / "out") == written


def test_other_clips_are_converted_once_and_absent_ones_are_named(own):
    clips = sorted((own / "data/raw/media").rglob("*.mp4"))
    ffmpeg("-f", "lavfi", "-i", "testsrc=d=2:s=64x48:r=8", "-c:v", "mpeg4", "-y", clips[0])
    clips[1].unlink()
    first = write(own, own / "out", ["sft"])
    [copy] = (own / "out/media").iterdir()
    written = copy.stat().st_ino
    assert first.clips == {"converted": 1, "missing": 1}
    assert first.disk_bytes > first.data_bytes
    assert write(own, own / "out", ["sft"]).clips == {"converted": 1, "missing": 1}
    [copy] = (own / "out/media").iterdir()
    assert copy.stat().st_ino == written
    missing = {record["missing"] for page in (own / "out/data/vstar").glob("page-*") for record in data(page)}
    assert missing == {"", "its file is not in data/raw/media"}


@pytest.mark.parametrize("codec", ["libx264", "mpeg4"])
def test_another_clip_of_the_same_size_and_time_is_not_shown_as_the_old_one(tmp_path, codec):
    """Browsers play the one and get a copy of the other."""
    raw, out = tmp_path / "raw", tmp_path / "out"
    raw.mkdir()
    known, urls = {}, []
    for source in ("testsrc", "testsrc", "testsrc2"):
        file = raw / "a.mp4"
        ffmpeg("-f", "lavfi", "-i", f"{source}=d=1:s=64x48:r=8", "-c:v", codec, "-y", file)
        rest = 50_000 - file.stat().st_size
        file.write_bytes(file.read_bytes() + rest.to_bytes(4, "big") + b"free" + bytes(rest - 8))
        os.utime(file, ns=(0, 0))
        folder = tmp_path / "new"
        folder.mkdir()
        clip = Clips(raw, folder, out, known, tuple).clip("a.mp4")
        known = known_again([clip])
        shutil.rmtree(out, ignore_errors=True)
        folder.rename(out)
        urls.append(clip.media["url"])
    assert urls[0] == urls[1] != urls[2]


def test_names_of_media_lead_nowhere_else(own):
    (own / "secret.mp4").write_bytes(next((own / "data/raw/media").rglob("*.mp4")).read_bytes())
    (own / "data/raw/media/link.mp4").symlink_to(own / "secret.mp4")
    for path in (own / "data/predictions/sft/tvgbench").glob("*.json"):
        results = read_json(path)
        for record, media in zip(results, ("../../../secret.mp4", "/etc/hostname", "link.mp4"), strict=False):
            record["media"] = media
        write_json(path, results)
    write(own, own / "out", ["sft"])
    records = data(own / "out/data/tvgbench/page-0000.js")
    assert [record["missing"] for record in records[:3]] == [
        "its path climbs out with ..", "its path absolute", "its path a link leads out",
    ]  # fmt: skip
    assert len(list((own / "out/media").iterdir())) == 2


def test_a_segment_is_shown_with_the_times_of_its_clip(own):
    path = own / "data/predictions/sft/tvgbench/greedy.results.json"
    results = read_json(path)
    before = write(own, own / "out", ["sft"])
    [plain, *_] = data(before.page.parent / "data/tvgbench/page-0000.js")
    write_json(path, [{**results[0], "segment": [1.0, 4.0]}, *results[1:]])
    write(own, own / "out", ["sft"])
    [shifted, *_] = data(own / "out/data/tvgbench/page-0000.js")
    assert shifted["start_s"] == 1.0
    assert shifted["truth"]["spans"] == [[time_s + 1 for time_s in plain["truth"]["spans"][0]]]
    one, other = (record["runs"]["0"]["parts"][0]["shown"] for record in (plain, shifted))
    assert other["spans"] == [[time_s + 1 for time_s in one["spans"][0]]]
    times = [
        [piece["time_s"] for piece in shown["shown"]["answer"] if "time_s" in piece] for shown in (one, other)
    ]
    assert times[1] == [time_s + 1 for time_s in times[0]] != []


def test_a_folder_of_something_else_is_not_replaced(root, tmp_path, monkeypatch, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.chdir(root)
    assert main(["gallery", "--out", str(tmp_path)]) == 2
    assert "name another folder" in capsys.readouterr().err
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert main(["gallery", "--models", "gpt"]) == 2
    assert "--models gpt: no predictions; there are " in capsys.readouterr().err


@pytest.mark.parametrize("name", ["notes.txt", "media/mine.mp4", "data/vstar/list-000.js.bak", ".git/config"])
def test_a_gallery_that_holds_files_of_others_is_not_replaced(own, monkeypatch, capsys, name):
    monkeypatch.chdir(own)
    assert main(["gallery", "--models", "sft"]) == 0
    file = own / "reports/gallery" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text("mine")
    assert main(["gallery", "--models", "sft"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert (
        said == f"openo3: --out reports/gallery: holds {name}, which is not the gallery's; move it elsewhere"
    )
    assert file.read_text() == "mine"


@pytest.mark.parametrize("part", ["greedy.results.json", "greedy.jsonl", "gallery.json"])
def test_mutants_of_its_files_are_shown_or_refused_in_one_line(own, monkeypatch, capsys, part):
    monkeypatch.chdir(own)
    for file in own.glob("data/predictions/*/*/*"):
        if not file.match("sft/tvgbench/greedy.*"):
            file.unlink()
    assert main(["gallery", "--models", "sft"]) == 0
    [target] = [*own.glob(f"data/predictions/sft/tvgbench/{part}"), *own.glob(f"reports/gallery/{part}")]
    lines = target.read_text().splitlines(keepends=True)
    first, rest = (lines[0], lines[1:]) if part.endswith("jsonl") else ("".join(lines), [])
    for text in mutants(json.loads(first), 25):
        target.write_text("".join([text, "\n", *rest]))
        capsys.readouterr()
        status = main(["gallery", "--models", "sft"])
        said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("openo3: ")]
        assert (status, len(said)) in ((0, 0), (2, 1)), text[:300]
        assert status == 0 or part != "gallery.json", "damaged notes of our own are made anew"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"media": None}, "vstar/greedy.results.json: ValueError: record 1 names no media"),
        ({"VQA_score": None}, "vstar/greedy.results.json: ValueError: record 1 has no VQA_score"),
        ({"timestamps": "soon"}, "vstar/greedy.results.json: "),
    ],
)
def test_results_that_cannot_be_read_are_refused_in_one_line(own, monkeypatch, capsys, change, message):
    path = own / "data/predictions/sft/vstar/greedy.results.json"
    results = read_json(path)
    write_json(path, [results[0], {**results[1], **change}, *results[2:]])
    monkeypatch.chdir(own)
    assert main(["gallery", "--models", "sft"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("openo3: data/predictions/sft/")
    assert message in said
    assert not (own / "reports/gallery").exists()


def test_runs_over_different_records_are_refused(own):
    path = own / "data/predictions/gspo/vstar/greedy.results.json"
    results = read_json(path)
    write_json(path, results[::-1])
    with pytest.raises(GalleryError, match=r"gspo/vstar/greedy: record 0 is not that of sft/vstar/greedy"):
        write(own, own / "out", ["sft", "gspo"])
    assert not (own / "out").exists()


@needs_browser
def test_thousands_of_records_are_filtered_within_two_frames(opened):
    tab = opened("#b=tvgbench&left=gspo:greedy&right=base:plain")
    assert f"{MANY:,} of {MANY:,} records" in tab.run(COUNT)
    assert tab.run("document.querySelectorAll('.row').length") < 40
    took = tab.run("""(async () => {
        const input = document.querySelector('input[name=text]'), took = [];
        for (const text of ['c', 'ca', 'case', 'case 2', 'case 29', 'r', 're', 'red', 're', '', 'o', '']) {
          input.value = text;
          const start = performance.now();
          input.dispatchEvent(new Event('input'));
          took.push(performance.now() - start);
          await new Promise(requestAnimationFrame);
        }
        return took.sort((a, b) => a - b); })()""")
    assert took[len(took) // 4] < 34  # milliseconds; of a machine that is busy, the undisturbed ones count
    tab.run("(() => { const i = document.querySelector('input[name=text]'); i.value = 'case 2999';"
            "i.dispatchEvent(new Event('input')); })()")  # fmt: skip
    tab.wait(f"{COUNT}.startsWith('1 of')")
    tab.wait("location.hash.includes('find=case%202999')")


@needs_browser
def test_an_address_opens_the_record_and_its_filters(opened):
    tab = opened("#b=tvgbench&r=2990&left=gspo:greedy&right=&low=0.2&order=best&fail=none")
    assert tab.run("document.querySelector('h2').textContent").endswith("case 2990")
    assert tab.run("document.querySelectorAll('.pane').length") == 1
    assert tab.run("document.querySelector('.failures [aria-pressed=true]').dataset.key") == "none"
    scores = tab.run("[...document.querySelectorAll('.row .pill')].map((e) => Number(e.textContent))")
    assert scores == sorted(scores, reverse=True)
    assert min(scores) >= 0.2
    tab.run("location.hash = '#b=vstar&r=1&part=where'")
    tab.wait("document.querySelectorAll('.pane').length === 2")
    assert tab.run("document.querySelector('.parts [aria-pressed=true]').textContent").startswith("Where")


@needs_browser
def test_the_report_links_to_its_examples_in_the_gallery(opened, finished):
    file, _, address = gallery_address("vstar", 2, Inputs.read(finished)).partition("#")
    assert file == "gallery/index.html"
    tab = opened(f"#{address}")
    assert "record 2" in tab.run("document.querySelector('.labels').textContent")
    assert tab.run("[...document.querySelectorAll('select')].slice(0, 2).map((e) => e.value)") == [
        "gspo:greedy",
        "base:plain",
    ]
    assert tab.run("location.hash") == f"#{address}"


@needs_browser
def test_two_checkpoints_play_side_by_side(opened):
    tab = opened("#b=vstar&r=1&left=gspo:greedy&right=sft:greedy&part=where")
    names = "[...document.querySelectorAll('.pane > h3')].map((e) => e.textContent.slice(0, 4))"
    assert tab.run(names) == ["GSPO", "SFTa"]
    tab.wait("[...document.querySelectorAll('video')].every((v) => v.readyState >= 2)")
    answered = "p.querySelectorAll('.o3-mark:not(.o3-true)').length === 1"
    tab.wait(f"[...document.querySelectorAll('.pane')].every((p) => {answered})")
    assert tab.run("document.querySelectorAll('.o3-mark.o3-true').length") == 2
    tab.press("x")
    tab.wait(f"{names}[0] === 'SFTa'")
    assert "left=sft:greedy&right=gspo:greedy" in tab.run("location.hash")


@needs_browser
def test_no_text_becomes_markup(opened):
    tab = opened("#b=vstar&r=3&left=gspo:greedy&right=base:greedy")
    assert tab.run("document.querySelector('h2').textContent") == EVIL
    before = tab.run("document.querySelectorAll('script, img').length")
    for part in ("what", "when", "where"):
        tab.click(f".parts [data-part={part}]")
        tab.wait(f"document.querySelector('.parts [aria-pressed=true]').dataset.part === '{part}'")
    assert EVIL in tab.run("document.querySelector('.pane pre').textContent")
    names = "[...document.querySelector('select[name=left]').options].map((o) => o.value)"
    evil = "<img src=x onerror=alert(1)>:<b>&quot;"
    assert evil in tab.run(names)
    tab.run(f"(() => {{ const s = document.querySelector('select[name=left]'); s.value = {json.dumps(evil)};"
            "s.dispatchEvent(new Event('change')); })()")  # fmt: skip
    tab.wait("document.querySelector('.pane h3').textContent.includes('onerror')")
    assert tab.run("document.querySelectorAll('script, img').length") == before
    assert EVIL in tab.run("document.title")
    hostile = opened("#b=vstar&r=0&left=base:greedy")
    assert HOSTILE in hostile.run("document.querySelector('.pane pre').textContent")


@needs_browser
def test_the_keyboard_reaches_records_questions_and_the_search(opened):
    tab = opened("#b=vstar&r=0")
    tab.press("j")
    tab.wait("location.hash.includes('r=1&')")
    tab.press("2")
    tab.wait("document.querySelector('.parts [aria-pressed=true]').dataset.part === 'when'")
    tab.run("document.querySelector('.records').focus()")
    tab.press("End")
    tab.wait("location.hash.includes('r=5&')")
    tab.wait("document.querySelector('.records').getAttribute('aria-activedescendant') === 'row-5'")
    tab.press("/")
    assert tab.run("document.activeElement.name") == "text"
    tab.press("j")
    assert tab.run("document.activeElement.value") == "j"
    assert "r=5&" in tab.run("location.hash")


@needs_browser
def test_it_works_from_a_web_server(browser, gallery):
    handler = partial(Quiet, directory=gallery.page.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tab = browser.open(f"http://127.0.0.1:{server.server_port}/#b=vstar&r=2")
        tab.wait(READY)
        tab.wait("[...document.querySelectorAll('video')].every((v) => v.readyState >= 2)")
        assert tab.complaints() == []
        server.shutdown()
