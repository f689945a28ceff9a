"""Every test of this folder that uses `family` runs for both generations of Qwen-VL."""

import pytest
import torch

from tests.openo3.model import families

FAMILIES = [families.qwen3_vl, families.qwen2_5_vl]


@pytest.fixture(scope="session", params=FAMILIES, ids=lambda make: make.__name__)
def family(request: pytest.FixtureRequest) -> families.Family:
    torch.manual_seed(0)
    return request.param()
