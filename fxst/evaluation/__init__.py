"""Evaluation of style transfer: metrics, baselines, and scores with confidence intervals."""
