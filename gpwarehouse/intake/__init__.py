"""Frames and files → checked rows with their keys. Nothing is written here."""
