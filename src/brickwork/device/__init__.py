"""Running a package: numpy, pillow and one runtime, and no torch."""
