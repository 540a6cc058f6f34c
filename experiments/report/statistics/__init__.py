"""Tests between results, and what follows from them: worst cases, rankings, checks."""
