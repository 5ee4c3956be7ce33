"""Networks: everything left of the waist that learns."""
