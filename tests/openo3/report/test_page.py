"""The page is self-contained, deterministic, safe against hostile texts, and works in a browser."""

import copy
import dataclasses
import re
from html.parser import HTMLParser

import pytest
from markupsafe import escape

from openo3.benchmarks.registry import BENCHMARKS
from openo3.report.comparison import main_comparison
from openo3.report.headline import sentences
from openo3.report.inputs import Inputs
from openo3.report.page import html
from openo3.report.tables import markdown, section
from tests.support.browser import BROWSER, Browser
from tests.support.finished_run import HOSTILE

VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """Tags, attributes, cell texts and ids of a page; `open` is empty at the end if every tag was closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags, self.attributes, self.cells, self.open = [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.cells[-1] += data


@pytest.fixture(scope="module")
def text(inputs, frames):
    return html(inputs, frames, examples=6, about="a small run")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_equal_inputs_give_equal_bytes(folder, frames, text):
    assert html(Inputs.read(folder), frames, examples=6, about="a small run") == text


def test_the_page_loads_nothing_from_outside(page, text):
    links = {
        value for _, name, value in page.attributes if name in ("href", "src", "srcset", "action", "poster")
    }
    assert {link.partition("#")[0] for link in links if not link.startswith("data:image/jpeg;base64,")} == {
        "",
        "frames/index.html",
        "gallery/index.html",
        "validation/index.html",
    }
    assert "link" not in page.tags
    style, script = (re.search(f"<{tag}>(.*?)</{tag}>", text, re.S)[1] for tag in ("style", "script"))
    assert not re.search(r"url\(|@import|https?:", style)
    assert not re.search(r"https?:|fetch|import|XMLHttp", script)
    assert len(text) < 3_000_000


def test_the_page_is_well_formed_and_its_ids_are_unique(page):
    assert page.open == []
    ids = [value for _, name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    anchors = {value[1:] for _, name, value in page.attributes if name == "href" and value.startswith("#")}
    assert anchors <= set(ids)


def test_every_picture_has_a_text_alternative(text):
    drawings = re.findall(r"<svg [^>]*>", text)
    assert len(drawings) > 50
    assert all('aria-label="' in drawing or "aria-hidden" in drawing for drawing in drawings)


@pytest.mark.parametrize("benchmark", ["vstar", "tvgbench", "videomme"])
def test_the_numbers_of_the_table_are_on_the_page(inputs, page, benchmark):
    found = section(inputs, main_comparison(inputs, benchmark))
    for table in (found.main, *found.further):
        lines = [["", *(column.heading for column in table.columns)]]
        for (_, name, detail), cells in table.rows:
            texts = [f"{cell.sign} {cell.text}{cell.interval}".lstrip() if cell else "-" for cell in cells]
            lines.append([f"{name}{detail}", *texts])
        whole = [text for line in lines for text in line]
        assert any(page.cells[k : k + len(whole)] == whole for k in range(len(page.cells)))


def test_the_page_begins_with_the_headline(inputs, text):
    comparisons = [main_comparison(inputs, name) for name in inputs.benchmarks]
    said = " ".join(sentences(comparisons, inputs.added_rewards))
    assert "over the base asked plainly" in said
    assert f'<p class="lead">{escape(said)}</p>' in text


def test_the_charts_show_the_base_with_plain_prompts(inputs, text):
    spread = [
        score["tIoU_1"]
        for score in BENCHMARKS["vstar"].scoring.records(inputs.results["base", "vstar", "plain"])
    ]
    assert f"Base: mean {sum(spread) / len(spread):.2f}" in text
    assert "V-STaR, base asked plainly; hollow: GSPO blind" in text
    plain = 100 * inputs.metrics["base"]["vstar"]["plain"]["mAM"]
    assert re.search(rf"mAM: Base {plain:.1f}, SFT [\d.]+, GSPO [\d.]+, GSPO, blind", text)


def test_only_some_multiple_choice_questions_are_shown(inputs, frames):
    page = html(inputs, frames, examples=6)
    assert len(re.findall(r'id="vstar-\d+"', page)) == 6
    assert len(re.findall(r'id="videomme-\d+"', page)) == BENCHMARKS["videomme"].display.max_examples


def test_the_published_numbers_are_shown_and_labelled(page, text):
    assert "As published, on the real V-STaR" in text
    assert {"19.3", "22.4", "33.7", "46.6", "35.5", "49.0"} <= set(page.cells)


def test_no_text_becomes_markup(inputs, frames, text):
    texts = ("question", "answer", "object", "domain", "vid")
    results = copy.deepcopy(dict(inputs.results))
    for (_, name, _), records in results.items():
        for record in records:
            for field in {"vstar": texts, "videomme": ("question", "group", "id")}.get(name, ("question",)):
                record[field] += HOSTILE
            if name == "videomme":
                record["options"] = [option + HOSTILE for option in record["options"]]
    answers = copy.deepcopy(dict(inputs.answers))
    for records in answers.values():
        for lines in records:
            for line in lines.values():
                line["completion"] = f"{HOSTILE}<obj>{HOSTILE}</obj>{line['completion']}"
    stages = {**inputs.stages, "sft": {HOSTILE: 1}}
    attacked = dataclasses.replace(inputs, results=results, answers=answers, stages=stages)
    page = Page(html(attacked, frames, examples=6, about=HOSTILE))
    assert page.tags.count("script") == 1
    assert "img" not in page.tags
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]
    assert set(page.tags) == set(Page(text).tags) | {"sup"}


def test_a_benchmark_that_was_not_evaluated_has_no_section(inputs, frames):
    def without(*names):
        metrics = {
            model: {k: v for k, v in found.items() if k not in names}
            for model, found in inputs.metrics.items()
        }
        results = {key: value for key, value in inputs.results.items() if key[1] not in names}
        return dataclasses.replace(inputs, metrics=metrics, results=results)

    only_vstar = html(without("tvgbench", "videomme"), frames, examples=2)
    assert "TVGBench was not evaluated in this run" in only_vstar
    assert 'id="queries"' not in only_vstar
    assert "Video-MME" not in only_vstar
    only_tvgbench = html(without("vstar", "videomme"), {}, examples=2)
    assert "V-STaR was not evaluated in this run" in only_tvgbench
    assert 'id="evidence"' not in only_tvgbench
    assert 'id="queries"' in only_tvgbench


def test_without_any_benchmark_training_is_still_shown(inputs):
    nothing = dataclasses.replace(inputs, metrics={model: {} for model in inputs.metrics}, results={})
    page = html(nothing, {}, examples=2)
    assert page.count("was not evaluated in this run") == 2
    assert page.count('class="raw') > 10
    assert markdown(nothing) == "\n"


def test_a_record_without_frames_or_answers_is_no_example(inputs, frames):
    answers = {
        key: [{} if k == 1 else found for k, found in enumerate(records)]
        for key, records in inputs.answers.items()
    }
    results = copy.deepcopy(dict(inputs.results))
    for (_, name, _), records in results.items():
        if name == "vstar":
            records[0]["media"] = "videos/vstar/gone.mp4"
    page = html(dataclasses.replace(inputs, answers=answers, results=results), frames, examples=20)
    shown = set(re.findall(r'id="vstar-(\d+)"', page))
    assert len(shown) == 6
    assert not shown & {"0", "1"}


needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
PROBE = """(() => {
  const chip = document.querySelector(".claim[data-claim]");
  const same = () => [...document.querySelectorAll(".lit")].map((e) => e.tagName.toLowerCase()).sort();
  chip.dispatchEvent(new PointerEvent("pointerover", {bubbles: true}));
  const lit = same();
  chip.dispatchEvent(new PointerEvent("pointerout", {bubbles: true}));
  const after = same();
  const chart = document.querySelector("svg[data-chart]"), place = chart.getBoundingClientRect();
  const output = chart.closest("figure").querySelector("output"), resting = output.textContent;
  chart.dispatchEvent(new PointerEvent("pointermove", {clientX: place.left + place.width / 2}));
  const pointed = output.textContent;
  chart.dispatchEvent(new PointerEvent("pointerleave"));
  const wide = document.documentElement.scrollWidth - window.innerWidth;
  return {lit, after, pointed, back: output.textContent === resting, wide};
})()"""


@pytest.fixture(scope="module")
def browser():
    with Browser() as started:
        yield started


@pytest.fixture
def address(tmp_path, text):
    file = tmp_path / "page.html"
    file.write_text(text, encoding="utf-8")
    return file.as_uri()


@needs_browser
@pytest.mark.parametrize("width", [1280, 500])
def test_the_page_works_in_a_real_browser(browser, address, width):
    page = browser.open(address, width=width)
    found = page.run(PROBE)
    assert page.complaints() == []
    assert found["lit"] == ["circle", "g", "span"]  # the dot on the timeline, the box, the chip
    assert found["after"] == []
    assert re.fullmatch(r"step [\d.]+: [\d.e-]+", found["pointed"])
    assert found["back"]
    assert found["wide"] <= 0


@needs_browser
def test_pictures_enlarge_and_no_table_of_the_runs_is_cut(browser, address):
    cut = "[...document.querySelectorAll('#data .scroll')].filter(e => e.scrollWidth > e.clientWidth).length"
    captions = "[...document.querySelectorAll('.results caption')]"
    ends = f"Math.max(...{captions}.map(e => e.getBoundingClientRect().right))"
    width_of = "document.querySelector('{} svg').getBoundingClientRect().width"
    for width in (420, 1200):
        page = browser.open(address, width=width)
        assert page.run(cut) == 0
        assert page.run(ends) <= width
    small = page.run(width_of.format(".picture"))
    page.run("document.querySelector('.picture').focus()")
    page.press("Enter")
    assert page.run(width_of.format("dialog.enlarged")) > 1.5 * small
    page.run("document.querySelector('dialog').click()")
    assert not page.run("document.querySelector('dialog').open")


def test_rewards_that_no_rollout_earned_are_said_instead_of_drawn(inputs, frames):
    rows = [
        {key: "0.0" if key.startswith("rewards/") else value for key, value in row.items()}
        for row in inputs.curves["gspo"]
    ]
    changed = dataclasses.replace(inputs, curves={**inputs.curves, "gspo": rows})
    shown = html(changed, frames, examples=1)
    assert "No rollout earned these, so they have no chart: Answer; Answer: span overlap;" in shown
    assert "Answer: span overlap: from" not in shown
    assert "Total reward: from" in shown


def test_a_stage_without_records_is_said_to_have_changed_nothing(inputs, frames):
    stages = {**inputs.stages, "gspo": {**inputs.stages["gspo"], "steps": 0}}
    shown = html(dataclasses.replace(inputs, stages=stages), frames, examples=1)
    assert shown.count("so it did not change the model") == 1


def test_numbers_of_a_run_have_names_in_words(page):
    assert {"Steps", "Loss"} <= set(page.cells)
    assert not [cell for cell in page.cells if "rewards/" in cell or "last /" in cell]
