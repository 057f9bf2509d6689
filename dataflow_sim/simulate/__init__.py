"""Readers of programs: ledger, occupancy, replay."""
