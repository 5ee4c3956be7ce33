"""What a package can be made for: one file a target, each with SUFFIX, LAYOUTS, PRECISIONS, versions and write."""
