"""Texts as people and programs read and write them: languages, numbers, dates, names, addresses, JSON."""
