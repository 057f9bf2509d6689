"""Readers of programs: ledger, occupancy, timeline, replay."""
