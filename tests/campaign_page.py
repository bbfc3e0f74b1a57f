"""The reference page of the campaign file, made from its models: `python -m tests.campaign_page`.

It writes docs/campaign-file.md; `tests/test_reference.py` holds the page against the models.
"""

from pathlib import Path

from pipeline import Campaign
from pipeline.campaign.reference import MODELS, keys_of
from pipeline.scenarios import REGISTRY as SCENARIOS
from solvers.registry import REGISTRY as SOLVERS

PAGE = Path(__file__).parent.parent / "docs" / "campaign-file.md"

INTRODUCTION = """\
# The campaign file

Every table and key, made from the models that check the file. `kronsbl init NAME` writes a file to
start from, `kronsbl init --schema` a JSON schema by which editors complete and explain keys (its
help says how), and `kronsbl plan FILE` says what a file means before anything runs. A key
that is not here is refused, with the nearest one that is.
"""

SWEEPS = """
A scaling study, whose sizes move together, with three configurations of one solver:

```toml
[sweep]
snr_db = [10, 20]
"solvers.svd.prune" = [1e-4, 1e-3, 1e-2]   # svd[prune=0.0001], svd[prune=0.001], svd[prune=0.01]

[sweep.scale]                              # the axis `scale` has the places 8x8x8 and 12x12x12
dims = [[8, 8, 8], [12, 12, 12]]
measurements = [[6, 6, 6], [8, 8, 8]]
```

On the command line a point of it is `--snr_db 10 --scale 8x8x8`, and in a cube
`ds.sel(snr_db=10, scale="8x8x8")`; `ds["scale"].attrs["settings"]` says what the places stand for.
"""


def table(found):
    """A class as a table of Markdown."""
    rows = [(f"`{k.name}`", k.default_text, k.values, k.unit, k.meaning) for k in keys_of(found)]
    lines = [("key", "default", "values", "unit", "what it means"), ("---",) * 5, *rows]
    return "".join(f"| {' | '.join(cell.replace('|', '∣') for cell in r)} |\n" for r in lines)


def sections(title, registry):
    """Scenarios or solvers, with what each takes; those that come with the package."""
    text = f"\n## {title}\n"
    for name in sorted(registry._built_in):
        found = registry.find(name)
        line = (found.__doc__ or "").splitlines()[0]
        text += f"\n### `{name}`\n\n{line}\n\n{table(found)}"
    return text


def page():
    """The page."""
    text = INTRODUCTION + "\n## The tables\n\n"
    text += "".join(f"* `[{key.name}]`: {key.meaning}\n" for key in keys_of(Campaign))
    text += SWEEPS
    for name, model in MODELS.items():
        text += f"\n## `[{name}]`\n\n{table(model)}"
    text += sections("Scenarios: keys of `[scenario]`", SCENARIOS)
    return text + sections("Solvers: keys of `[solvers.LABEL]`", SOLVERS)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
