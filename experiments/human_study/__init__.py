"""Whether people recognise who is on a reconstruction."""
