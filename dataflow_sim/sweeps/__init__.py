"""Many points at once: what each computes, who computes it, and where the results stay."""
