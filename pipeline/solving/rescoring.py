"""Measures computed anew from kept estimates, without solving."""

from __future__ import annotations

import numpy as np

from pipeline.campaign.blocks import Block
from pipeline.solving import estimates, provenance
from pipeline.solving.contract import scores_of
from pipeline.solving.outcome import FIXED_FIELDS, cells_of, diagnostics_of
from pipeline.store import Store
from pipeline.store.block_file import BlockData


def rescored(store: Store, block: Block) -> BlockData | None:
    """A block with the scenario's measures as they are now, from the estimates that it kept.

    Parameters
    ----------
    store
    block
        One that is there under another scoring.

    Returns
    -------
    BlockData or None
        Its iterations, runtimes and statuses are those of the solve. None where no estimates are
        kept, the block holds traces (whose NMSE only a new solve can give), or scoring fails: it
        must be solved again then.
    """
    configuration = block.configuration
    if configuration.trace or (kept := store.read_scored_otherwise(block)) is None:
        return None
    assert kept.estimates is not None
    diagnostics = diagnostics_of(configuration)
    try:
        rows, estimate = estimates.unpack(kept.estimates, kept.cells, diagnostics)
        problem, truth = configuration.draw(block.realizations)
        if len(rows) < problem.batch:  # else whole, for the same bits as when it was solved
            problem, truth = problem.take(rows), truth.take(rows)
        scores = scores_of(configuration.scenario, truth, problem, estimate)
    except Exception:  # solving again tells what is wrong, and stores it as data
        return None
    lasting = [name for name, _ in FIXED_FIELDS] + list(diagnostics)
    columns = {name: np.array(kept.cells[name]) for name in lasting}
    for name, values in scores.items():
        columns[name] = np.full((configuration.batch, *values.shape[1:]), np.nan)
        columns[name][rows] = values
    return BlockData(cells_of(columns), {**kept.meta, "rescored": provenance.of_process()})
