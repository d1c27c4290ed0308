"""Datasets: cut recordings into clips, read the clips, and draw training examples from them."""
