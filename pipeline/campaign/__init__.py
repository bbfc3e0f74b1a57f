"""Campaigns: a study as a TOML file, its blocks with their keys, and requests for it."""

from pipeline.campaign.definition import Campaign

__all__ = ["Campaign"]
