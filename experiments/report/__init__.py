"""What a study found, as tables, figures and one page."""
