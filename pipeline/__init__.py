"""Monte Carlo campaigns over `solvers`: from a campaign file to a labelled result cube.

Names are imported when first used, so that checking a campaign does not wait for the packages
that only running one needs. They stand in ``__init__.pyi``.
"""

from importlib.util import find_spec
from pathlib import Path

from pipeline.lazy import attach


def _find_our_solvers() -> None:
    """Raise ImportError where a module of somebody's own stands in the place of our package."""
    found, ours = find_spec("solvers"), Path(__file__).parents[1] / "solvers"
    place = Path(found.origin) if found is not None and found.origin else None
    if place is None or place.parent.resolve() != ours.resolve():
        raise ImportError(
            f"kronsbl needs its package {ours}, but another module of that name comes first on "
            f"the import path: {place}; rename that, or start Python in another folder"
        )


_find_our_solvers()
__getattr__, __dir__, __all__ = attach(__name__, __file__)
