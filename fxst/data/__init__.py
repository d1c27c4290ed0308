"""Datasets: cutting recordings into clips, reading the clips back, and making training examples of them."""
