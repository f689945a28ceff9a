"""Drawings of evidence: correct positions and claims, and no text becomes markup."""

import base64
import html
import io
import re
import xml.etree.ElementTree as ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from openo3.core.evidence import parse_claims
from openo3.core.geometry import NORMALISED, RELATIVE_1000
from openo3.drawing.overlay import PICTURE_WIDTH, Mark, Track, data_uri, highlight, picture, timeline

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
CLAIM = "<obj>red cup</obj><box>[100,200,300,400]</box>at<t>2.5</t>s"

TAGS = ("<obj>", "</obj>", "<box>", "</box>", "<t>", "</t>s", "at", "<think>", "</answer>", "<", "&", "\n")
pieces = st.sampled_from([*TAGS, "[1,2,3,4]", "[0.1,nan,1,1]", "cup", "2.5", CLAIM, HOSTILE])
texts = st.lists(pieces, max_size=12).map("".join) | st.text(max_size=60)


@given(texts)
def test_highlighting_finds_exactly_the_claims_that_the_grammar_finds(text):
    _, cited = highlight(text, "q", RELATIVE_1000)
    assert tuple(one.claim for one in cited) == parse_claims(text, RELATIVE_1000)
    assert [one.key for one in cited] == [f"q-{k + 1}" for k in range(len(cited))]


@given(texts)
def test_highlighting_escapes_the_tags_of_its_text(text):
    written = str(highlight(text, "q")[0])
    assert set(re.findall(r"<[^>]*", written)) <= {"</span", "</sup", "<sup"} | set(
        re.findall(r'<span(?: tabindex="0")? class="[a-z ]+"(?: tabindex="0" data-claim="q-\d+")?', written)
    )


@given(st.text(st.characters(exclude_characters="<", exclude_categories=["Cs"]), max_size=60))
def test_plain_text_is_unchanged(text):
    assert html.unescape(str(highlight(text, "q")[0])) == html.unescape(html.escape(text))


def test_a_claim_is_one_group_of_chips_with_its_number():
    markup, [cited] = highlight(f"See {CLAIM}, and <t>4</t>s.", "q7-sft", RELATIVE_1000)
    tree = ElementTree.fromstring(f"<p>{markup}</p>")
    group = tree.find("span[@class='claim']")
    assert group.get("data-claim") == cited.key == "q7-sft-1"
    assert [(chip.get("class"), "".join(chip.itertext())) for chip in group] == [
        ("chip obj", "1red cup"),
        ("chip box", "[100, 200, 300, 400]"),
        ("chip t", "2.5 s"),
    ]
    assert "".join(tree.itertext()) == "See 1red cup[100, 200, 300, 400] at 2.5 s, and 4 s."


def test_broken_tags_stay_visible():
    assert "&lt;obj&gt;" in highlight("a <obj>cup<box>[1,2]</box>", "q")[0]


def boxes(figure: str) -> dict[str, tuple[float, ...]]:
    groups = ElementTree.fromstring(figure).iter("g")
    sides = ("x", "y", "width", "height")
    return {g.get("class"): tuple(float(g.find("rect").get(side)) for side in sides) for g in groups}


def test_boxes_are_drawn_at_their_coordinates():
    image = Image.new("RGB", (200, 100))
    marks = [Mark((0.5, 0.2, 1.0, 0.4), "1", claim="q-1"), Mark((0.25, 0.0, 0.75, 1.0), "cup", true=True)]
    drawn = boxes(picture(image, marks, "2.5 s", "a frame"))
    assert list(drawn) == ["mark true", "mark predicted"]  # the prediction is drawn on top
    w, h = PICTURE_WIDTH, PICTURE_WIDTH / 2
    assert drawn["mark true"] == (0.25 * w, 0, 0.5 * w, h)
    assert drawn["mark predicted"] == pytest.approx((0.5 * w, 0.2 * h, 0.5 * w, 0.2 * h))


@given(st.tuples(*[st.floats(-1e6, 1e6)] * 4))
def test_any_box_is_drawn_inside_its_frame(box):
    x, y, width, height = boxes(picture(Image.new("RGB", (8, 8)), [Mark(box, "")], "", ""))["mark predicted"]
    assert 0 <= x <= x + width <= PICTURE_WIDTH + 0.01
    assert 0 <= y <= y + height <= PICTURE_WIDTH + 0.01


def test_a_picture_escapes_its_labels():
    figure = picture(Image.new("RGB", (8, 8)), [Mark((0, 0, 1, 1), HOSTILE, claim=HOSTILE)], HOSTILE, HOSTILE)
    assert "<script" not in figure
    tree = ElementTree.fromstring(figure)
    assert tree.find("figcaption").text == HOSTILE
    assert {element.tag for element in tree.iter()} == {
        "figure",
        "svg",
        "image",
        "g",
        "rect",
        "text",
        "figcaption",
    }


def test_a_data_uri_holds_the_picture_at_most_as_large_as_asked():
    image = Image.linear_gradient("L").resize((640, 320)).convert("RGB")
    uri = data_uri(image, max_side=320)
    decoded = Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/jpeg;base64,"))))
    assert decoded.size == (320, 160)
    assert uri == data_uri(image, max_side=320)
    assert image.size == (640, 320)


def test_a_timeline_is_drawn_in_percent_of_the_length():
    tracks = [Track("Truth", "truth", [(2.0, 6.0)]), Track("SFT", "sft", [(8.0, 99.0)], [(5.0, "q-1")])]
    tree = ElementTree.fromstring(timeline(10.0, tracks, sampled_s=[0.0, 5.0]))
    bars = [(bar.get("x"), bar.get("width")) for bar in tree.iter("rect") if bar.get("class") == "bar"]
    assert bars == [("20.00%", "40.00%"), ("80.00%", "20.00%")]
    [dot] = tree.iter("circle")
    assert (dot.get("cx"), dot.get("data-claim")) == ("50.00%", "q-1")
    assert [line.get("x1") for line in tree.iter("line")] == ["0.00%", "50.00%"]
    assert "Truth: 2.0 to 6.0 s; SFT: 8.0 to 99.0 s, evidence at 5.0 s" in tree.get("aria-label")


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.floats(0, 1e4))
def test_any_span_fits_the_timeline(start, end, duration_s):
    tree = ElementTree.fromstring(timeline(duration_s, [Track("x", "sft", [(start, end)])]))
    [bar] = (bar for bar in tree.iter("rect") if bar.get("class") == "bar")
    left, width = (float(bar.get(side).rstrip("%")) for side in ("x", "width"))
    assert 0 <= left <= 100
    assert 0 < width <= 100


def test_the_default_box_space_is_normalised():
    _, [cited] = highlight("<obj>a</obj><box>[0,0,1,1]</box>", "q")
    assert cited.claim == parse_claims("<obj>a</obj><box>[0,0,1,1]</box>", NORMALISED)[0]


@pytest.mark.parametrize("left", [0.0, 0.3, 0.55, 0.7, 0.95])
@pytest.mark.parametrize("label", ["cup", "orange square (inverted)", 6 * "a long name "])
def test_a_label_stays_inside_the_picture_as_far_as_it_fits(left, label):
    drawn = picture(Image.new("RGB", (64, 48)), [Mark((left, 0.2, left + 0.05, 0.4), label)], "", "")
    x, anchor = re.search(r'<text y="[^"]*" x="([^"]*)"(?: text-anchor="(\w+)")?', drawn).groups()
    width = min(8.4 * len(label), PICTURE_WIDTH)
    begin = float(x) - width if anchor == "end" else float(x)
    assert begin >= -0.01
    assert begin + width <= PICTURE_WIDTH + 0.01
