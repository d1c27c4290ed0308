"""Model files: cards, weights, and the catalogue of what is installed."""
