"""What networks here are trained with, beside the losses that torch has."""
