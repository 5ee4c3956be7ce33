"""Data sets: images from a folder, zip, .npz, IDX files, a hub or scikit-learn, as one uint8 array, without torch."""
