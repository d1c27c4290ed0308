"""Measuring style transfer: metrics, baselines, and scores with honest intervals."""
