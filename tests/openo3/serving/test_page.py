"""The page in a real browser: what a person sees while a question is answered."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from openo3.inference.model import Model
from openo3.serving.app import Access
from openo3.serving.decoders import Writing
from tests.openo3.serving.conftest import NAME, SMALL, serving
from tests.support.browser import BROWSER, Browser, Page

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not BROWSER, reason="no Chromium here")]

STATUS = "document.getElementById('status').textContent"
NEXT, THIRD = "'Next in line'", "'Waiting: 1 question in front of yours'"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser() as running:
        yield running


def drop(page: Page, clip: bytes) -> None:
    """Drop a file on the page, as a person does."""
    page.run(
        "{ const dropped = new DataTransfer();"
        f"const bytes = new Uint8Array({list(clip)});"
        "dropped.items.add(new File([bytes], 'a <b>clip</b>.mp4', {type: 'video/mp4'}));"
        "document.dispatchEvent(new DragEvent('drop', {dataTransfer: dropped, cancelable: true})); }"
    )


def type_question(page: Page, text: str) -> None:
    page.run("document.getElementById('question').focus()")
    page.call("Input.insertText", {"text": text})


def test_a_dropped_clip_is_answered_with_evidence(
    address: str, browser: Browser, video: Path, tmp_path: Path
) -> None:
    page = browser.open(address)
    page.wait(f"document.getElementById('model').textContent === 'Model: {NAME}.'")
    page.run(
        "globalThis.said = []; new MutationObserver(() => said.push(document.getElementById('status')"
        ".textContent)).observe(document.getElementById('status'), {childList: true})"
    )
    drop(page, video.read_bytes())
    assert page.run("document.getElementById('name').textContent").startswith("a <b>clip</b>.mp4, ")
    page.wait("document.querySelector('#preview video')?.videoWidth === 64")
    type_question(page, "What is it?")
    page.press("Enter")
    page.wait(f"{STATUS}.startsWith('Answered in')", 60)
    said = page.run("said.join('|')")
    assert "Next in line" in said
    assert "Writing" in said
    assert page.run("document.querySelector('#answer .o3-question').textContent") == "What is it?"
    assert page.run("document.querySelector('#answer video').src").startswith("blob:")
    assert page.run("document.getElementById('ask').getAttribute('aria-disabled')") == "false"
    page.screenshot(tmp_path / "answer.png")
    assert page.complaints() == []
    assert all(url.startswith((address, f"blob:{address}")) for url in page.requests())


def test_an_example_is_answered_at_a_click(address: str, browser: Browser) -> None:
    page = browser.open(address, width=420, dark=True)
    page.wait("document.querySelector('#examples video')?.readyState > 0")
    page.click("#examples button")
    page.wait(f"{STATUS}.startsWith('Answered in')", 60)
    assert page.run("document.querySelectorAll('#answer .o3-player').length") == 1
    assert page.run("document.documentElement.scrollWidth") <= 420


def test_errors_are_said_and_the_page_goes_on(model: Model, browser: Browser, video: Path) -> None:
    with serving(model, replace(SMALL, clip_s=1.0)) as address:
        page = browser.open(address)
        page.wait("document.getElementById('model').textContent !== ''")
        drop(page, video.read_bytes())
        type_question(page, "What is it?")
        page.click("#ask")
        page.wait(f"{STATUS}.includes('too long: 2 s, at most 1 s')")
        assert page.run("document.getElementById('ask').getAttribute('aria-disabled')") == "false"
        drop(page, b"no clip at all")
        page.wait("document.getElementById('preview').textContent.startsWith('This browser cannot show')")
        page.click("#ask")
        page.wait(f"{STATUS}.includes('neither a picture nor a video')")
        drop(page, bytes(2_100_000))
        assert "at most 2.0 MB" in page.run(STATUS)
        page.click("#remove")
        page.click("#ask")
        page.wait(f"{STATUS}.includes('without a clip there is no evidence')", 60)
    page.click("#ask")
    page.wait(f"{STATUS}.startsWith('The server cannot be reached')")


def test_nothing_moves_under_the_pointer(address: str, browser: Browser, video: Path) -> None:
    """Neither while the preview is read nor while the question is asked: a second click must not cancel."""
    page = browser.open(address)
    page.wait("document.getElementById('allowed').textContent !== ''")
    place = "JSON.stringify(document.getElementById('ask').getBoundingClientRect())"
    drop(page, video.read_bytes())
    before = page.run(place)
    page.wait("document.querySelector('#preview video')?.videoWidth === 64")
    assert page.run(place) == before
    type_question(page, "What is it?")
    while_asked = page.run(f"document.getElementById('form').requestSubmit(), {place}")
    assert while_asked == before
    page.wait(f"{STATUS}.startsWith('Answered in')", 60)


class Endless:
    """A decoder that writes and never ends."""

    def __init__(self) -> None:
        self.writing: list[Writing] = []

    def room_for(self, more: Sequence[Writing]) -> bool:
        return not self.writing and len(more) == 1

    def join(self, more: Sequence[Writing]) -> None:
        self.writing += more

    def step(self) -> None:
        time.sleep(0.01)
        for one in self.writing:
            one.say(0, "<think>It goes on", 4, None)

    def leave(self, writing: Writing) -> None:
        self.writing = [one for one in self.writing if one is not writing]


def test_a_clip_stays_while_it_is_asked_about_and_a_question_can_be_cancelled(
    model: Model, browser: Browser, video: Path
) -> None:
    fields = "['remove', 'file'].map((id) => document.getElementById(id).disabled)"
    with serving(model, decoder=Endless()) as address:
        page = browser.open(address)
        page.wait("document.getElementById('allowed').textContent !== ''")
        drop(page, video.read_bytes())
        name = page.run("document.getElementById('name').textContent")
        type_question(page, "What is it?")
        page.press("Enter")
        page.wait(f"{STATUS} === 'Writing'")
        assert page.run(fields) == [True, True]
        drop(page, b"another")
        assert page.run("document.getElementById('name').textContent") == name
        page.run("document.getElementById('cancel').focus()")
        page.press("Enter")
        page.wait(f"{STATUS} === 'Cancelled.'")
        assert page.run("document.activeElement.id") == "question"
        assert page.run(fields) == [False, False]
        assert page.run("document.querySelector('.o3-writing')") is None
        page.click("#remove")
        assert page.run("document.getElementById('invite').hidden") is False


def test_a_question_is_never_cut(address: str, browser: Browser) -> None:
    page = browser.open(address)
    page.wait("document.getElementById('allowed').textContent !== ''")
    type_question(page, "😀" * 501)
    page.press("Enter")
    assert page.run(STATUS) == "The question has 501 characters; at most 500."
    assert page.run("document.getElementById('question').value.length") == 2 * 501
    page.run("document.getElementById('question').value = '  '")
    page.press("Enter")
    assert page.run(STATUS) == "Type a question first."


def test_what_waits_says_so_and_learns_that_the_server_stops(
    model: Model, browser: Browser, video: Path
) -> None:
    with serving(model, decoder=Endless()) as address:
        pages = []
        for _ in range(3):  # keys go to the page that was opened last
            page = browser.open(address)
            pages.append(page)
            page.wait("document.getElementById('allowed').textContent !== ''")
            drop(page, video.read_bytes())
            type_question(page, "What is it?")
            page.press("Enter")
            page.wait(f"['Writing', {NEXT}, {THIRD}].includes({STATUS})")
        assert [page.run(STATUS) for page in pages] == [
            "Writing",
            "Next in line",
            "Waiting: 1 question in front of yours",
        ]
        pages[1].run("document.getElementById('cancel').click()")
        pages[2].wait(f"{STATUS} === {NEXT}")
    for page in pages[::2]:
        page.wait("document.getElementById('status').className === 'bad'")
    assert pages[0].run("document.querySelector('.o3-writing')") is None
    assert "It goes on" in pages[0].run("document.querySelector('.o3-reasoning').textContent")


def test_a_server_with_a_key_asks_for_it(model: Model, browser: Browser) -> None:
    key = "0123456789abcdef<key>"
    with serving(model, access=Access(api_key=key)) as address:
        page = browser.open(address)
        page.wait(f"{STATUS}.includes('needs an API key')")
        page.run(f"document.getElementById('key').value = {json.dumps(key)}")
        type_question(page, "What is a circle?")
        page.click("#ask")
        page.wait(f"{STATUS}.startsWith('Answered in')", 60)
        assert page.run("document.getElementById('keyfield').hidden") is True
