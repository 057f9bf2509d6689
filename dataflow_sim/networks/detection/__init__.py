"""Networks that tell what is where in an image."""
