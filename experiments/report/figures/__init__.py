"""The figures of a report, each drawn from what a study found."""
