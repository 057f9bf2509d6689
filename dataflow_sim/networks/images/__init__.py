"""Networks that give an image: segmentation, style transfer, super-resolution."""
