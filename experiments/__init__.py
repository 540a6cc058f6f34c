"""The commands: fit, attack, measure, study, report."""
