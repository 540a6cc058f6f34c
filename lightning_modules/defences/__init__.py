"""Defences: what protects features, Crafter and its rivals."""
