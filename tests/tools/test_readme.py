"""The picture and the results table of the README can be regenerated from a run's results."""

from tools import readme_image, readme_results
from tools.code_deps import ROOT

RESULTS = """
## V-STaR: 160 held-out records

|      | Base (asked plainly) |               SFT |              GSPO |             SFT \N{MINUS SIGN} Base |\
 GSPO \N{MINUS SIGN} Base | GSPO \N{MINUS SIGN} SFT |
| ---- | -------------------: | ----------------: | ----------------: | ---------------------: | ---: | ---: |
| What |    26.2 [19.4, 33.1] | 57.5 [49.4, 65.6] | 58.1 [50.6, 65.6] | ▲ +31.2 [+21.2, +40.6] | - |\
 +0.6 [-7.5, +8.1] |

### V-STaR: all asked plainly

|      | Base |
| ---- | ---: |
| What |  1.0 |
"""


def test_the_picture_shows_every_claim_of_its_record() -> None:
    drawn = readme_image.drawn_record(readme_image.CLIP)
    claims = drawn.count('<span class="claim"')
    assert claims == drawn.count('class="mark predicted"') == drawn.count('class="mark true"') > 1


def test_a_row_of_the_table_equals_that_of_the_main_table() -> None:
    row = readme_results.read_rows(RESULTS)["What"]
    line = "| what | 26.2 | 57.5 | 58.1 | **+31.2 [+21.2, +40.6]** | +0.6 [-7.5, +8.1] |\n"
    assert readme_results.shown("what", row) == line


def test_each_page_has_one_results_table() -> None:
    for name, rows in (("README.md", readme_results.SHORT), ("docs/results.md", readme_results.FULL)):
        [(_, body)] = readme_results.TABLE.findall((ROOT / name).read_text(encoding="utf-8"))
        assert [line.split(" | ")[0] for line in body.splitlines()] == [f"| {row}" for row in rows.values()]
