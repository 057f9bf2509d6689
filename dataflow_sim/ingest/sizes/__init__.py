"""Networks at another image size or batch, with the constants derived from it."""
