"""Networks that read or write text."""
