"""What is to be computed: a study as a TOML file, and its blocks with their keys."""

from pipeline.campaign.definition import Campaign

__all__ = ["Campaign"]
