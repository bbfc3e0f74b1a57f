"""How the solve of a realization ended."""

from __future__ import annotations

import enum
from typing import Literal

Ending = Literal["none", "finished", "failed", "crashed"]
Question = Literal["ran", "finished", "failed", "crashed", "reported_by_solver"]


class Status(enum.IntEnum):
    """How the solve of a realization ended.

    The numbers are what stored results hold. They have no order: ask a member, or `values` for
    whole arrays, instead of comparing them.

    Attributes
    ----------
    sentence : str
        What happened, and what to do about it.
    """

    sentence: str
    _ending: Ending

    def __new__(cls, value: int, ending: Ending = "none", sentence: str = "") -> Status:
        """Make a member whose value is its number alone."""
        member = int.__new__(cls, value)
        member._value_ = value
        member._ending = ending
        member.sentence = sentence
        return member

    NOT_RUN = (0, "none", "It has not been computed yet; run the campaign again to compute it.")
    CONVERGED = (1, "finished", "The solver ended by its own stopping criterion.")
    MAX_ITERATIONS = (
        2,
        "finished",
        "The solver ended at its cap on iterations, and the estimate is that of the last one; "
        "raise max_iterations if it should converge.",
    )
    COLLAPSED = (
        3,
        "finished",
        "The estimate explains next to nothing of measurements that are well above the noise; "
        "lower the pruning thresholds, or start from other hyperparameters.",
    )
    DIVERGED = (
        4,
        "failed",
        "The hyperparameters, the noise variance or the estimate overflowed, and the estimate is "
        "NaN; check the scale of the data and the noise variance.",
    )
    PRECISION_LIMIT = (
        5,
        "finished",
        "Rounding errors ended the iterations before the stopping criterion did, and the estimate "
        "is the last good one; a larger noise variance or tolerance is within reach of double "
        "precision.",
    )
    BOUND = (
        6,
        "finished",
        "A bound has no estimate: what it bounds has a value, and what else could be said of an "
        "estimate is NaN.",
    )
    NOT_APPLICABLE = (
        15,
        "none",
        "The solver does not apply to this kind of problem and says why; leave it out there, or "
        "give the problem what it asks for.",
    )
    RAISED = (
        16,
        "crashed",
        "The solver or the scenario raised an exception; solve the realization alone to see where.",
    )
    NOT_FINITE = (
        17,
        "crashed",
        "The solver reported success, but its estimate has NaN or infinite entries; it should "
        "report that it diverged, or not diverge.",
    )
    BROKE_CONTRACT = (
        18,
        "crashed",
        "The solver returned something else than an estimate of its problem; the message says "
        "what was expected.",
    )
    TIME_LIMIT = (
        19,
        "crashed",
        "The solver took longer than the time limit of a realization; raise the limit, or lower "
        "its cap on iterations.",
    )
    KILLED_WORKER = (
        20,
        "crashed",
        "The worker process died while solving this realization, more than once; look for "
        "crashing compiled code, or give workers more memory.",
    )

    @property
    def finished(self) -> bool:
        """Whether there is an estimate to score, be it converged or not, or a bound."""
        return self._ending == "finished"

    @property
    def failed(self) -> bool:
        """Whether the solver was run and there is no estimate to score."""
        return self._ending in ("failed", "crashed")

    @property
    def crashed(self) -> bool:
        """Whether it failed by a fault of the solver, or of what surrounds it, to be mended.

        A solver that diverges has given its answer, a bad one.
        """
        return self._ending == "crashed"

    @property
    def ran(self) -> bool:
        """Whether the solver was run at all."""
        return self._ending != "none"

    @property
    def reported_by_solver(self) -> bool:
        """Whether a solver may report it; the others are given by whoever runs the solver."""
        return self._ending in ("finished", "failed")

    @classmethod
    def values(cls, what: Question) -> list[int]:
        """Values of the members of which something is true.

        Parameters
        ----------
        what
            The name of a property: ``"ran"``, ``"finished"``, ``"failed"``, ``"crashed"`` or
            ``"reported_by_solver"``.

        Returns
        -------
        list of int
            What `numpy.isin` and `xarray.DataArray.isin` take.

        Examples
        --------
        >>> import numpy as np
        >>> from solvers import Status
        >>> np.isin([1, 4, 2, 16], Status.values("finished"))
        array([ True, False,  True, False])
        """
        return [status.value for status in cls if getattr(status, what)]
