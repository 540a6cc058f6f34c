"""The method: features whose inversion looks like an average face (paper, Algorithms 1 to 3)."""
