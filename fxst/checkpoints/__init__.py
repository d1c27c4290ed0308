"""Model files: cards, weights, and the catalogue of shipped models."""
