# Types of kronsbl.py for those who have it installed: a single module cannot say that it has any.
from pipeline import *  # noqa: F403
from solvers import *  # noqa: F403

__version__: str
