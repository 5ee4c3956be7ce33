"""Files: writing, reading and checking of models, packages and pictures."""
