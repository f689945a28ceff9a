"""Flow `refresh-data`: look for new media and annotations, check them and sample their frames."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from flows.reproduce import OPTIONS, alone, run_stages


@flow(name="refresh-data", **OPTIONS)
def refresh_data(push: bool = False, reason: str = "by hand", notify: str | None = None) -> State:
    """Download, validate, sample frames.

    The download runs even where DVC sees no change, since the sources are outside of its sight; it fetches
    only what is missing.

    Args:
        push: Give what was made to the DVC remote.
        reason: Why, for the run's name.
        notify: A saved notification block to tell the outcome, for example `custom-webhook/mine`.
    """
    return alone(lambda: run_stages(["sample_frames"], force={"download"}, push=push), notify)
