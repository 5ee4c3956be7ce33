"""Campaign against every reader and writer: mutated inputs, kills, small disks, closed streams; counts come out.

``docs/campaign.md`` says what is tried, what counts as a fault, and how to repeat one.
"""
