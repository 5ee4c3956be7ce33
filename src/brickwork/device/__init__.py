"""Run a package with numpy, pillow, lazy-loader and one runtime, without torch."""
