"""What the method costs, measured against a reference."""
