"""Runs the campaign: ``make campaign SEED=1 COUNT=20000 KILLS=300`` or ``python -m campaign --help``."""

from campaign.run import main

if __name__ == "__main__":
    main()
