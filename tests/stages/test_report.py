"""Stage `report` writes both files from the outputs of the earlier stages."""

import shutil

import pytest

from stages.report import main
from tests.support.finished_run import write_run


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("run")
    write_run(root, videos=3)
    return root


@pytest.fixture
def run(written, tmp_path, monkeypatch):
    shutil.copytree(written, tmp_path, dirs_exist_ok=True)
    (tmp_path / "params.yaml").write_text('report: {examples: 2, about: "three videos"}\n')
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_and_the_results_are_written(run, capsys):
    main()
    page, results = run / "reports/index.html", run / "reports/results.md"
    assert "three videos" in page.read_text(encoding="utf-8")
    assert page.read_text(encoding="utf-8").count('<article class="example"') == 2 + 2  # of two benchmarks
    assert "## V-STaR: 9 held-out records" in results.read_text(encoding="utf-8")
    assert "reports/index.html" in capsys.readouterr().out
    before = page.read_bytes(), results.read_bytes()
    main()
    assert (page.read_bytes(), results.read_bytes()) == before


def test_a_missing_input_is_an_error(run):
    (run / "plots/gspo.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"gspo\.csv"):
        main()
    assert not (run / "reports/index.html").exists()
