"""Recognising what lies at a root: which of its files are images, and of which class and split each is."""
