"""Files: how models, packages and pictures are written, read and checked."""
