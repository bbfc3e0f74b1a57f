"""Points that took realizations until they were precise: intervals that hold at all looks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import xarray as xr

from pipeline.analysis.cells import check

ENDS = {"": "stop_value", "_low": "stop_low", "_high": "stop_high"}
ALONE = {"median": "median", "mean_db": "db_mean"}
PAIRED = {"median": "median_difference", "mean_db": "difference"}


def rule_of(results: xr.Dataset) -> dict[str, Any] | None:
    """The campaign's ``[stop]``: confidence, maximum and targets; None where it has none."""
    found: dict[str, Any] | None = json.loads(results.attrs.get("stop", "null"))
    return found if "asked" in results else None


def stopped(results: xr.Dataset) -> xr.Dataset | None:
    """The intervals that a campaign stopped by; None of one without ``[stop]``.

    Returns
    -------
    xarray.Dataset
        Over ``stop_target`` and the swept parameters:

        ``value``, ``value_low``, ``value_high``
            The target's statistic after the last look, and its interval, which holds at all looks
            at once; in dB for mean squared errors. An interval may have no end.
        ``half_width``, ``wanted``
            Half its width, and what was asked for.
        ``realizations``
            Asked for at the point.
        ``reason``
            Why no more, as the flags of ``stop_reason`` say.
        ``words``
            All that in words: ``precise to ±0.25 dB after 400 of 10000``.
    """
    check(results)
    rule = rule_of(results)
    if rule is None:
        return None
    given = results[["asked", "stop_reason", *ENDS.values()]].compute()
    found = xr.Dataset({f"value{end}": given[name] for end, name in ENDS.items()})
    low, high = found.value_low, found.value_high
    infinite = np.isinf(low) | np.isinf(high)  # both may be the same infinity
    found["half_width"] = ((high - low) / 2.0).where(~infinite, np.inf)
    wanted = [target["half_width"] for target in rule["targets"]]
    found["wanted"] = xr.DataArray(wanted, dims="stop_target").broadcast_like(low)
    found["realizations"] = given.asked.broadcast_like(low)
    found["reason"] = given.stop_reason.broadcast_like(low)
    found = found.transpose("stop_target", ...)
    meanings = given.stop_reason.attrs["flag_meanings"].split()
    words = np.empty(found.value.shape, object)
    for at in np.ndindex(words.shape):
        one: dict[Any, Any] = {
            name: variable.values[at] for name, variable in found.data_vars.items()
        }
        one |= {"reason": meanings[one["reason"]], "maximum": rule["maximum"]}
        words[at] = _words(one, rule["targets"][at[0]])
    return found.assign(words=(found.value.dims, words)).assign_attrs(rule)


def _words(one: Mapping[str, Any], target: Mapping[str, Any]) -> str:
    unit = target["unit"]
    after = f"after {one['realizations']} of {one['maximum']}"
    if one["reason"] == "none":
        return "no look is complete"
    if np.isnan(one["half_width"]):
        return "does not apply"
    width = "±∞" if np.isinf(one["half_width"]) else f"±{one['half_width']:.2g}{unit}"
    if one["half_width"] <= one["wanted"]:
        return f"precise to {width} {after}"
    if target["or_sign_known"] and (one["value_low"] > 0 or one["value_high"] < 0):
        return f"sign known {after}, {width}"
    return f"{width}, not ±{one['wanted']:g}{unit}, {after}: {one['reason']}"


def stop_lines(found: xr.Dataset) -> list[str]:
    """Lines that say how to read `stopped`, and how many of its intervals may be wrong."""
    number = int(found.value_low.notnull().sum())
    wrong = (1.0 - found.attrs["confidence"]) * number
    return [
        f"Each interval holds with {100 * found.attrs['confidence']:g} % at all looks at once, "
        f"wherever it was stopped; of these {number}, {wrong:.2g} are expected to be wrong.",
        "All other intervals, and tests, are for a number of realizations that was fixed before.",
    ]


def stop_notes(results: xr.Dataset) -> Iterator[str]:
    """A note for each target: at how many points it is met, and why not at the others."""
    if (found := stopped(results)) is None:
        return
    for number, target in enumerate(found.attrs["targets"]):
        one = found.isel(stop_target=number)
        words = one.words.values.reshape(-1).tolist()
        said = f"precise to ±{target['half_width']:g}{target['unit']} at "
        said += f"{sum(w.startswith('precise') for w in words)} of {len(words)} points"
        if known := sum(w.startswith("sign") for w in words):
            said += f", sign known at {known} more"
        if others := dict.fromkeys(w.rpartition(": ")[2] for w in words if ", not ±" in w):
            said += f"; elsewhere: {', '.join(others)}"
        yield f"{one.stop_target.item()}: {said}"


def with_looks(
    found: xr.Dataset, results: xr.Dataset, measure: str, reference: str | None = None
) -> xr.Dataset:
    """Statistics of `summarize` or `compare` with the intervals that they were stopped by.

    Any other interval is one of a fixed number of realizations, and too narrow where it was looked
    at when to stop.
    """
    rule, names = rule_of(results), ALONE if reference is None else PAIRED
    for number, target in enumerate(rule["targets"] if rule else []):
        name, label = names.get(target["statistic"], ""), target["solver"]
        if (target["measure"], target["reference"]) != (measure, reference) or name not in found:
            continue
        given = results[list(ENDS.values())].isel(stop_target=number, drop=True).compute()
        whole = (results.asked <= results.sizes["realization"]) & given.stop_value.notnull()
        here = (found.solver == label) & whole
        for end, variable in ENDS.items():
            values = given[variable]
            if name == "median" and target["unit"]:  # which `summarize` has in linear scale
                values = 10.0 ** (values / 10.0)
            found[name + end] = found[name + end].where(~here, values)
    return found
