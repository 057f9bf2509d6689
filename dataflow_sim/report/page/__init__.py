"""The page that `report` writes: one HTML file with everything in it, from results only."""
