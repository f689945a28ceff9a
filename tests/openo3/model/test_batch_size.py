"""How many tokens fit is measured, and a batch that does not fit is decoded in halves."""

from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from openo3.model import batch_size
from openo3.model.batch_size import TooLargeError
from openo3.model.decoding import Sampling
from openo3.model.encode import Prompt
from openo3.model.engine import LocalEngine
from tests.openo3.model.families import Family

SAMPLED = Sampling(8, temperature=1.0, top_p=0.95, n=2, seed=3)


@pytest.fixture
def asked(family: Family) -> list[Prompt]:
    """Prompts of one length, each about frames of its own."""
    return [Prompt(family.frames(2, (2, 2), seed=seed), 4.0, "Where is it?") for seed in range(6)]


@pytest.fixture
def holds(monkeypatch: pytest.MonkeyPatch):
    """Lets memory hold so many prompts at once: with more, torch is asked for more than there is."""
    decode, tried = LocalEngine.decode, []

    def set_most(most: int) -> list[int]:
        def decode_some(self: LocalEngine, packs, *rest):
            tried.append(len(packs))
            if len(packs) > most:
                torch.empty(2**50)
            return decode(self, packs, *rest)

        monkeypatch.setattr(LocalEngine, "decode", decode_some)
        return tried

    return set_most


def test_a_batch_that_does_not_fit_is_decoded_in_halves(
    family: Family, asked: list[Prompt], holds, capsys: pytest.CaptureFixture
) -> None:
    """Later batches are as small; the answers are those of an engine that began with such batches."""
    reference = LocalEngine(family.model, family.processor, 1)
    row = reference._row(reference._pack(asked, [0]), SAMPLED)
    tried = holds(2)
    engine = LocalEngine(family.model, family.processor, 6 * row)
    found: list[int] = []
    engine.remember = found.append
    answers = engine.generate(asked, SAMPLED)
    assert tried == [6, 3, 2, 1, 3, 2, 1]
    assert found == [3 * row, 2 * row, 2 * row]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("out of memory")]
    assert said[0] == f"out of memory with 6 prompts at once: goes on with at most {3 * row:,} tokens at once"
    assert len(said) == 3
    assert engine.facts["tokens_per_batch"] == 2 * row
    assert engine.generate(asked, Sampling(8)) == reference.generate(asked, Sampling(8))
    assert tried[7:10] == [2, 2, 2]
    again = LocalEngine(family.model, family.processor, 6 * row)
    assert again.generate(asked, SAMPLED) == answers


def test_a_failed_attempt_leaves_the_random_numbers_as_they_were(
    family: Family, asked: list[Prompt], holds
) -> None:
    reference = LocalEngine(family.model, family.processor)
    reference.set_tokens_per_batch(3 * reference._row(reference._pack(asked, [0]), SAMPLED))
    expected = reference.generate(asked, SAMPLED)
    holds(3)
    assert LocalEngine(family.model, family.processor).generate(asked, SAMPLED) == expected


def test_one_prompt_that_does_not_fit_is_named_by_its_length(
    family: Family, asked: list[Prompt], holds
) -> None:
    holds(0)
    engine = LocalEngine(family.model, family.processor)
    length = len(engine._pack(asked, [0]).prefix_ids)
    with pytest.raises(TooLargeError, match=f"a prompt of {length} tokens .* show fewer or smaller frames"):
        engine.generate(asked[:1], SAMPLED)


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    family: Family, asked: list[Prompt], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(LocalEngine, "decode", broken)
    with pytest.raises(RuntimeError, match="shapes do not match"):
        LocalEngine(family.model, family.processor).generate(asked, SAMPLED)


def test_the_number_is_measured_with_the_first_prompts(family: Family, asked: list[Prompt]) -> None:
    engine = LocalEngine(family.model, family.processor, "auto")
    assert engine.generate(asked, Sampling(8)) == LocalEngine(family.model, family.processor).generate(
        asked, Sampling(8)
    )
    found = engine.tokens_per_batch
    assert 256 < found <= batch_size.CPU_MOST
    assert engine.facts["tokens_per_batch"] == found
    engine.generate(asked[:1], Sampling(8))
    assert engine.tokens_per_batch == found
    assert "tokens_per_batch" not in LocalEngine(family.model, family.processor).facts


def test_whole_rows_count_the_answers_to_come(family: Family, asked: list[Prompt]) -> None:
    engine = LocalEngine(family.model, family.processor, 1000, whole_rows=True)
    pack = engine._pack(asked, [0])
    context = len(pack.branches[0].context_ids)
    assert engine._row(pack, SAMPLED) == len(pack.prefix_ids) + 2 * (context + 8)


def test_what_a_token_takes_is_measured_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of a free gigabyte holds 2,500 tokens of 200 kB."""
    monkeypatch.setattr(batch_size, "free_ram", lambda: 10**9)

    def decode() -> int:
        np.ones(25_000_000)  # 200 MB
        return 1000

    cpu = torch.device("cpu")
    assert batch_size.fitting(cpu, decode, least=1) == pytest.approx(2500, rel=0.1)
    assert batch_size.fitting(cpu, decode, least=1, to_come=5 * 10**8) == pytest.approx(1250, rel=0.1)
    assert batch_size.fitting(cpu, decode, least=10**6) == 500
    assert batch_size.fitting(cpu, lambda: 1000, least=1) == batch_size.CPU_MOST
    monkeypatch.setattr(batch_size, "_SELF", Path("/nowhere"))
    assert batch_size.fitting(cpu, decode, least=1) == batch_size.UNMEASURED


def test_the_limit_of_a_container_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_size, "_CGROUP", tmp_path)
    assert batch_size.free_ram() == pytest.approx(psutil.virtual_memory().available, rel=0.2)
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("2500000\n")
    (tmp_path / "memory.stat").write_text("anon 1000000\ninactive_file 400000\n")
    assert batch_size.free_ram() == 900_000
    (tmp_path / "memory.current").write_text("4000000\n")
    assert batch_size.free_ram() == 0


def test_a_lack_of_memory_is_found_behind_other_errors() -> None:
    def out_of_memory() -> None:
        try:
            torch.empty(2**50)
        except RuntimeError:
            raise ValueError("the recorded step failed") from None

    with pytest.raises(ValueError, match="recorded step") as failed:
        out_of_memory()
    assert batch_size.out_of_memory(failed.value)
    assert batch_size.out_of_memory(MemoryError())
    assert not batch_size.out_of_memory(ValueError("memory"))
