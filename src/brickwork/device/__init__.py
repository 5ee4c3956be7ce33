"""Running a package: numpy, pillow, lazy-loader and one runtime, and no torch."""
