import re
from html.parser import HTMLParser

import pytest

from openo3.annotations.rejections import Reason, Rejection
from openo3.validation import coverage, page
from openo3.validation.suites import Outcome, Rule, above, between, none_of, rules

HOSTILE = "<script>alert('x')</script>\"><img src=//evil.example/x>"


def rejection(row: int, reason: Reason = Reason.WRONG_TYPE, text: str = "q") -> Rejection:
    return Rejection("STGR-SFT.json", row, text, text, text, reason, "question", text)


def render(
    rejected: list[Rejection],
    rows: int = 1000,
    max_share: float = 0.1,
    listed: int = 500,
    **further: dict[str, int],
) -> str:
    counts = coverage.shares(rows, len(rejected))
    found = {
        "rows": rows,
        "readable": rows,
        "media": rows - 3,
        "key_frames": rows,
        "usable": rows - len(rejected),
    }
    metrics = {
        **counts,
        "files": {"sft": counts},
        "reasons": {str(each.reason): 1 for each in rejected},
        "media": {"files": 9, "unsafe": 0, "missing": 3, "unreadable": 0, "duplicates": 1},
        "sources": {"sft": {HOSTILE: {"temporal QA": found}}},
        "missing": {HOSTILE: {HOSTILE: {"files": 3, "example": HOSTILE}}},
        **further,
    }
    outcomes = {"sft": [Outcome(rule, rows, {}) for rule in rules(0.5)]}
    outcomes["sft"][1] = Outcome(outcomes["sft"][1].rule, rows, {7: "x"})
    measured = {"sft": {"key frames": (1.0, 2.5, 17.0)}}
    return page.html(metrics, outcomes, rejected, measured, max_share, None, listed)


class Checker(HTMLParser):
    """Checks that tags nest, and collects every address that a browser would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.addresses: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag, attributes):
        if tag not in ("meta", "input", "br", "img", "link"):
            self.open.append(tag)
        self.scripts += tag == "script"
        self.addresses += [value for name, value in attributes if name in ("src", "href", "action", "data")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_loads_nothing_and_escapes_everything():
    text = render([rejection(7, text=HOSTILE)])
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    assert checker.scripts == 1
    assert {address for address in checker.addresses if address[0] != "#"} == {"../frames/index.html"}
    assert not re.search(r"https?://|@import|url\(", text)
    assert HOSTILE not in text
    assert "&lt;script&gt;alert(" in text


def test_counts_reasons_and_rows_are_shown():
    text = render([rejection(7), rejection(8, Reason.BOX_INVERTED)])
    for part in ("998 of 1,000 rows", "2 (0.2 %)", "wrong type", "box inverted", "key_items.high", "≤ 1"):
        assert part in text
    assert "Stopped" not in text


def test_a_file_over_the_limit_is_marked_with_the_next_step():
    text = render([rejection(k) for k in range(2)], max_share=0.001)
    assert "Stopped: more than 0.1 % of STGR-SFT.json is rejected." in text
    assert "raise <code>validate.max_rejected_share</code>" in text, "the next step"


def test_bad_files_are_listed_with_their_cause_and_rejected_rows():
    lost = [rejection(k, Reason.MEDIA_UNREADABLE, f"{HOSTILE} a.mp4: cut off") for k in range(3)]
    lost += [rejection(9, Reason.KEY_IMAGE_MISSING, "b.jpg: not downloaded")]
    text = render(lost)
    rows = re.findall(
        r'<td class="detail">([^<]*)</td><td class="n lost">(\d+)', text[: text.index('id="rules"')]
    )
    assert [(detail[-16:], count) for detail, count in rows[:2]] == [
        ("/x&gt; a.mp4: cut off"[-16:], "3"),
        ("g: not downloaded"[-16:], "1"),
    ]
    assert HOSTILE not in text
    assert "bad files" not in render([rejection(1)])


def test_the_accepted_rows_are_described():
    assert re.search(
        r"key frames</th><td class=\"n\">1</td><td class=\"n\">2.5</td><td class=\"n\">17<", render([])
    )


def test_a_page_without_rejections_has_no_list():
    text = render([])
    assert "None is left out" in text
    assert 'id="rejected"' not in text


def test_the_page_is_bounded_and_shows_examples_of_every_reason():
    many = [rejection(k) for k in range(70_000)] + [rejection(70_000, Reason.BOX_INVERTED)]
    text = render(many, rows=80_000, listed=50)
    assert len(text) < 100_000
    assert text.count("<tr data-file") == 50
    assert 'data-reason="box inverted"' in text
    assert "50 of 70,001, some of every reason" in text


def test_spread_alternates_between_groups_and_keeps_the_order():
    rows = [rejection(k) for k in range(5)] + [rejection(9, Reason.BOX_EMPTY)]
    assert [each.row for each in page.spread(rows, 3)] == [0, 1, 9]
    assert page.spread(rows, 100) == rows


@pytest.mark.parametrize(
    ("expectation", "text"),
    [
        (between(at_least=-1e-6), "≥ 0"),
        (between(at_most=1 + 1e-6), "≤ 1"),
        (between(1, 2), "≥ 1 and ≤ 2"),
        (above(0), "> 0"),
        (none_of("a", "b"), "not “a”, “b”"),
    ],
)
def test_expectations_are_described_in_words(expectation, text):
    assert page.words(expectation) == text


def test_every_rule_has_a_description_and_a_field():
    for rule in rules(0.5):
        assert isinstance(rule, Rule)
        assert rule.field
        assert not page.words(rule.expectation).startswith("Expect")


def test_clipped_records_are_counted():
    assert "1,234 clipped and kept" in render([], clipped={"sft": 1234})
    assert "clipped and kept" not in render([])
