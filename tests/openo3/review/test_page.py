"""The pages in a real browser, over real clips: looking, from disk and in one file, and editing."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from openo3.annotations.rejections import Reason
from openo3.core.evidence import parse_span
from openo3.review.app import create_app
from openo3.review.build import write as write_page
from openo3.review.collection import Collection, opened
from openo3.review.decisions import Review
from tests.openo3.review.folder import BROKEN, EVIL, write
from tests.support.asgi import served
from tests.support.browser import BROWSER, Browser, Page

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium or Chrome on this machine")
pytestmark = [pytest.mark.slow]

READY = "document.querySelector('main .o3-player') !== null"
PLAYS = "[...document.querySelectorAll('main video')].every((v) => v.readyState >= 2)"
COUNT = "document.querySelector('.count').textContent"
SAID = "document.querySelector('.decide .said').textContent"
GOOD, ALL = 5, 5 + len(BROKEN) + 1


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    with opened(write(tmp_path_factory.mktemp("page") / "clips")) as found:
        yield found


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as started:
        yield started


def row_of(reason: Reason) -> int:
    return GOOD + list(BROKEN).index(reason)


@contextmanager
def serving(collection: Collection, out: Path, api_key: str | None = None) -> Iterator[str]:
    """The address of a server that edits, and what it writes is in `out`."""
    clips = out.with_name(f"{out.name}-clips")
    clips.mkdir(exist_ok=True)
    with Review.opened(collection, out) as review, served(create_app(review, clips, api_key)) as address:
        yield address
    shutil.rmtree(clips)


def open_page(browser: Browser, address: str, **options: object) -> Page:
    page = browser.open(address, **options)  # type: ignore[arg-type]
    page.wait(READY)
    return page


def usable(out: Path) -> dict[str, dict]:
    return {row["id"]: row for row in json.loads((out / "STGR-SFT.json").read_text(encoding="utf-8"))}


# ---- looking


@needs_browser
@pytest.mark.parametrize("name", ["folder", "one.html"])
def test_every_record_is_shown_without_a_network(
    browser: Browser, collection: Collection, tmp_path: Path, name: str
) -> None:
    address = write_page(collection, tmp_path / name).page.resolve().as_uri()
    page = open_page(browser, f"{address}#r=0")
    page.wait(PLAYS)
    assert f"{ALL + 6} of {ALL + 6} records{len(BROKEN)} rejected" in page.run(COUNT)
    assert page.run("[...document.querySelectorAll('main .o3-chip')].map((e) => e.textContent)") == [
        "wrench1 s"
    ]
    page.wait("document.querySelectorAll('.shot canvas').length === 2")
    page.wait("[...document.querySelectorAll('.shot canvas')].every((c) => c.width === 64)")
    page.click(".shots button:nth-child(2)")
    page.wait("document.querySelector('main video').currentTime === 2.5")
    page.press("j")
    page.wait("document.querySelector('.labels').textContent.includes('STGR-SFT.json 1 ')")
    assert page.complaints() == []
    here = address if name.endswith("html") else address.rpartition("/")[0]
    assert all(url.startswith(here) for url in page.requests())


@needs_browser
def test_rejected_records_show_what_is_wrong(
    browser: Browser, collection: Collection, tmp_path: Path
) -> None:
    address = write_page(collection, tmp_path / "look").page.resolve().as_uri()
    seen = {
        Reason.BOX_OUTSIDE: ".wrong-box",
        Reason.BOX_INVERTED: ".wrong-box.inverted",
        Reason.BOX_EMPTY: ".wrong-box.flat",
        Reason.KEY_TIME: ".wrong-time.bad",
        Reason.SPAN_TIME: ".wrong-span",
        Reason.BAD_EVIDENCE: ".wrong-text mark",
        Reason.MEDIA_MISSING: ".wrong-file code",
        Reason.DUPLICATE_ID: "button.plain",
        Reason.NOT_OBJECT: ".wrong-text mark",
    }
    page = open_page(browser, f"{address}#r={row_of(Reason.BOX_OUTSIDE)}")
    for reason, selector in seen.items():
        page.run(f"location.hash = '#r={row_of(reason)}'")
        page.wait(f"document.querySelector('.problem h3')?.textContent === 'Rejected: {reason}'")
        assert page.run(f"document.querySelectorAll('.problem {selector}').length"), reason
        if reason == Reason.BOX_OUTSIDE:
            sides = "(e) => { const r = e.getBoundingClientRect(); return [r.left, r.right]; }"
            box, frame = (
                page.run(f"({sides})(document.querySelector('.problem {name}'))")
                for name in (".wrong-box", ".shot-frame")
            )
            assert frame[0] < box[0] < frame[1] < box[1]
    page.run(f"location.hash = '#r={row_of(Reason.DUPLICATE_ID)}'")
    page.wait("document.querySelector('.problem button') !== null")
    page.click(".problem button")
    page.wait("location.hash.includes('r=0')")
    page.click(f".reasons [data-key='{Reason.BOX_INVERTED}']")
    page.wait(f"{COUNT}.startsWith('1 of')")
    page.run("location.hash = '#r=0&task=temporal%20QA&file=STGR-RL.json'")
    page.wait(f"{COUNT}.startsWith('1 of')")
    assert page.complaints() == []


@needs_browser
def test_no_text_becomes_markup(browser: Browser, collection: Collection, tmp_path: Path) -> None:
    for name in ("look", "one.html"):
        address = write_page(collection, tmp_path / name).page.resolve().as_uri()
        page = open_page(browser, f"{address}#r={ALL - 1}")
        page.wait("document.querySelector('.shot .o3-label') !== null")
        assert page.run("document.querySelector('h2').textContent") == EVIL
        assert EVIL in page.run("document.querySelector('.o3-reasoning').textContent")
        assert page.run("document.querySelector('.shot .o3-label').textContent").startswith("</script>")
        assert page.run("document.querySelectorAll('img').length") == 0
        assert EVIL in page.run("document.title")
        assert page.complaints() == []


@needs_browser
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_a_telephone(browser: Browser, collection: Collection, tmp_path: Path, dark: bool) -> None:
    with serving(collection, tmp_path / "out") as address:
        page = open_page(browser, f"{address}/#r=0", width=390, height=844, dark=dark)
        page.press("e")
        page.wait("document.querySelector('.editor textarea') !== null")
        assert page.run("document.documentElement.scrollWidth") <= 390


# ---- editing


@needs_browser
def test_a_person_drags_a_box_and_accepts(browser: Browser, collection: Collection, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with serving(collection, out) as address:
        page = open_page(browser, f"{address}/#r=0")
        page.wait(PLAYS)
        page.click(".decide .edit")
        page.wait("document.querySelector('.edit-box') !== null")
        width = page.run("document.querySelector('.edit-layer').getBoundingClientRect().width")
        page.drag(".edit-box .o3-label", (0.2 * width, 0))
        page.wait(f"{SAID} === 'Not saved yet.'")
        page.drag(".edit-box .handle.se", (0.1 * width, 0))
        page.wait("document.querySelector('[aria-label^=\"x2, key frame 1\"]').valueAsNumber > 0.55")
        page.click(".decide .accept")
        page.wait("location.hash.includes('r=1')")
        box = usable(out)["ts"]["key_items"]["1"]["wrench"][0]
        assert box[:2] == pytest.approx([0.3, 0.2], abs=0.02)
        assert box[2] == pytest.approx(0.6, abs=0.02)
        assert f"[{box[0]:g}," in usable(out)["ts"]["reasoning_process"]
        assert "1 accepted" in page.run("document.querySelector('.progress').textContent")
        assert page.complaints() == []
        assert all(url.startswith((address, f"blob:{address}")) for url in page.requests())


@needs_browser
def test_the_keyboard_alone_repairs_accepts_and_rejects(
    browser: Browser, collection: Collection, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with serving(collection, out) as address:
        page = open_page(browser, f"{address}/#r={row_of(Reason.BOX_OUTSIDE)}")
        page.wait(PLAYS)
        page.press("a")
        page.wait(f"{SAID}.includes('the rules reject it')")
        page.press("e")
        page.wait("document.activeElement.classList.contains('edit-box')")
        for _ in range(3):
            page.press("ArrowLeft")
        page.wait("document.querySelector('.problem') === null", 60)
        page.press("a")
        page.wait(f"location.hash.includes('r={row_of(Reason.BOX_OUTSIDE) + 1}')")
        page.wait("document.querySelector('.problem h3').textContent.includes('inverted')")
        page.press("r")
        page.wait(f"location.hash.includes('r={row_of(Reason.BOX_OUTSIDE) + 2}')")
        page.run(f"location.hash = '#r={row_of(Reason.SPAN_TIME)}'")
        page.wait("document.querySelector('.problem h3').textContent.includes('span outside')")
        page.run("document.querySelector('.grip.stop').focus()")
        page.press("ArrowLeft")
        page.wait("document.querySelector('.problem') === null")
        page.press("a")
        page.wait("document.querySelector('.progress').textContent.startsWith('2 accepted, 1 rejected')")
        page.run("location.hash = '#r=0'")
        page.wait("document.querySelector('.labels').textContent.includes('STGR-SFT.json 0 ')")
        page.press("n")
        page.wait("location.hash.includes('r=1')")
    assert usable(out)["outside"]["key_items"]["1"]["wrench"][0][2] <= 1
    span = parse_span(usable(out)["span"]["answer"])
    assert span is not None
    assert span[1] <= 4
    assert "inverted" not in usable(out)


@needs_browser
def test_two_tabs_see_each_other(browser: Browser, collection: Collection, tmp_path: Path) -> None:
    out = tmp_path / "out"
    type_in = "(() => {{ const e = document.querySelector('.editor [name=question]'); e.value = {!r};"
    type_in += "e.dispatchEvent(new Event('change')); }})()"
    with serving(collection, out) as address:
        first, second = (open_page(browser, f"{address}/#r=0") for _ in range(2))
        first.run("document.querySelector('[name=by]').value = 'Ana'")
        for page, text in ((first, "What is <i>lifted</i>?"), (second, "What does he lift?")):
            page.press("e")
            page.wait("document.querySelector('.editor [name=question]') !== null")
            page.run(type_in.format(text))
            page.wait(f"{SAID} === 'Not saved yet.'")
        first.press("s")
        first.wait(f"{SAID}.startsWith('Saved')")
        second.wait(f"{SAID}.startsWith('Ana changed this record meanwhile')")
        second.run("document.querySelector('main').focus()")
        second.press("a")
        second.wait("document.querySelector('dialog.conflict').open")
        told = second.run("document.querySelector('dialog.conflict').textContent")
        assert "Ana was faster" in told
        assert "<i>lifted</i>" in told
        assert usable(out)["ts"]["question"] == "What is <i>lifted</i>?"
        second.click("dialog.conflict [value=mine]")
        second.wait("document.querySelector('.progress').textContent.startsWith('1 accepted')")
        assert usable(out)["ts"]["question"] == "What does he lift?"
        first.wait("document.querySelector('main h2').textContent === 'What does he lift?'")
        first.wait("document.querySelector('#row-0 .decision.accepted') !== null")


@needs_browser
def test_a_server_with_a_key_plays_its_clips_too(
    browser: Browser, collection: Collection, tmp_path: Path
) -> None:
    key = "0123456789abcdef<key>"
    with serving(collection, tmp_path / "out", key) as address:
        assert httpx.get(f"{address}/api/records/0").status_code == 401
        page = open_page(browser, f"{address}/#key={key}")
        page.wait(f"{PLAYS} && document.querySelector('main video').src.startsWith('blob:')")


# ---- the server


def test_the_server_answers_its_own_page_only(collection: Collection, tmp_path: Path) -> None:
    with serving(collection, tmp_path / "out") as address:
        url = f"{address}/api/records/0/decision"
        body = {"version": 0, "decision": "accepted", "why": "", "by": "", "draft": None}
        assert httpx.get(address, headers={"Host": "evil.example"}).status_code == 403
        assert httpx.post(url, json=body, headers={"Origin": "https://evil.example"}).status_code == 403
        form = {"Content-Type": "text/plain"}
        assert httpx.post(url, content=json.dumps(body), headers=form).status_code == 415
        policy = httpx.get(address).headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        for path in ("/media/../decisions.jsonl", "/media/%2e%2e%2fx.mp4", "/api/records/99999", "/docs"):
            assert httpx.get(f"{address}{path}").status_code == 404
        wrong = (
            [], {**body, "version": None}, {**body, "decision": "burn"}, {**body, "by": 3},
            {**body, "draft": {"question": 1}}, {**body, "why": "x" * 2000},
        )  # fmt: skip
        for each in wrong:
            answer = httpx.post(url, json=each)
            assert answer.status_code == 400
            assert answer.json()["error"]["message"]
        assert (
            httpx.post(
                url, content=b"x" * 3_000_000, headers={"Content-Type": "application/json"}
            ).status_code
            == 413
        )
        assert httpx.get(f"{address}/api/changes").json()["counts"]["accepted"] == 0
        answer = httpx.post(url, json=body).json()
        assert answer["state"]["version"] == 1
        stale = httpx.post(url, json=body)
        assert stale.status_code == 409
        assert stale.json()["changes"] == ["the record is accepted now; it was undecided"]
        clip = httpx.get(f"{address}/{answer['record']['media']['url']}", headers={"Range": "bytes=0-9"})
        assert (clip.status_code, len(clip.content)) == (206, 10)
