"""A dataflow and DRAM-bandwidth simulator: what a network costs in memory traffic on a machine."""
