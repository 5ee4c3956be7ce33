"""Codecs: convert between 8-bit images and the space the network works in (pixels or latents)."""
