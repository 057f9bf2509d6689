"""Bodies of If, Loop and Scan, and local functions, as nodes of the graph."""
