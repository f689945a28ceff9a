"""The private parts of other libraries that openo3 uses have their expected signatures."""

from dataclasses import replace

import pytest

from openo3.model.upstream import SEAMS, Seam, drift


@pytest.mark.parametrize("seam", SEAMS, ids=lambda seam: seam.name)
def test_the_installed_libraries_have_the_expected_signatures(seam: Seam) -> None:
    assert drift(seam) is None


def test_an_upstream_change_gives_one_clear_line() -> None:
    update = next(seam for seam in SEAMS if seam.name.endswith("DynamicLayer.update"))
    older = replace(update, version="5.1.0", signature="self, key_states, value_states, layer_idx")
    said = drift(older)
    assert said.startswith("transformers.cache_utils.DynamicLayer.update (written for transformers 5.1.0, ")
    assert " takes (self, key_states, value_states, *args, **kwargs), not (self, key_states, " in said
    assert said.endswith(f": {update.why}")
    assert "is gone" in drift(replace(update, name="transformers.cache_utils.NoSuchLayer.update"))
    assert "no longer has _no_such_thing" in drift(replace(update, signature=None, mentions="_no_such_thing"))
