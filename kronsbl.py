"""kronsbl: Monte Carlo campaigns for sparse Bayesian learning on Kronecker-structured dictionaries.

The public names of `pipeline` (campaigns, stores, results) and of `solvers` (problems, algorithms,
estimates) under one name; ``python -m kronsbl`` is the command line.

>>> import kronsbl
>>> solver = kronsbl.create("svd_krosbl", prune=1e-3)
>>> campaign = kronsbl.Campaign.from_tables(
...     {
...         "campaign": {"name": "three", "seed": 1, "realizations": 3},
...         "scenario": {"use": "synthetic", "snr_db": 20},
...         "solvers": {"svd": {"use": "svd_krosbl"}},
...     }
... )
>>> len(list(campaign.blocks()))
1
"""

from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pipeline

if Path(str(pipeline.__file__)).parents[1].resolve() != Path(__file__).parent.resolve():
    raise ImportError(
        f"kronsbl needs its package {Path(__file__).parent / 'pipeline'}, but another of that name "
        f"comes first on the import path: {pipeline.__file__}; rename that, or start Python in "
        "another folder"
    )

import solvers
from solvers import *  # noqa: F403

if TYPE_CHECKING:
    from pipeline import *  # noqa: F403
else:

    def __getattr__(name: str) -> Any:
        """Import a name of `pipeline` when it is first asked for (PEP 562)."""
        if name in dir(pipeline):
            return getattr(pipeline, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = ["__version__", *dir(pipeline), *solvers.__all__]
__version__ = version("kronsbl")


def __dir__() -> list[str]:
    """List the public names, those too that have not been imported yet."""
    return sorted(__all__)


if __name__ == "__main__":
    from pipeline.cli import main

    main(prog_name="kronsbl")
