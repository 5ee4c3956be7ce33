"""Subjects of the campaign: one file for each room whose readers they try."""

from campaign.subject import Subject
from campaign.subjects import caches, models, packages, pictures, published, recipes, runs, tables, words

SUBJECTS: tuple[Subject, ...] = (
    *models.SUBJECTS,
    *runs.SUBJECTS,
    *recipes.SUBJECTS,
    *packages.SUBJECTS,
    *caches.SUBJECTS,
    *pictures.SUBJECTS,
    *tables.SUBJECTS,
    *published.SUBJECTS,
    *words.SUBJECTS,
)
"""Every reader that is tried."""
