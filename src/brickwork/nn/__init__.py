"""Neural-network layers without a design's name: attention, linear layers, blocks, shape types, devices."""
