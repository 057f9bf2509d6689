"""Networks that tell what an image shows."""
