"""Published weights of other projects: their files are read as data, and none of their code runs."""
