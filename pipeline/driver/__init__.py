"""Deciding what to compute, planning what it takes, and running it."""
