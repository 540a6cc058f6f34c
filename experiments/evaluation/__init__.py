"""What attacks give away and what the cloud still reads: shared by the commands that measure."""
