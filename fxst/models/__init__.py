"""Networks: they know knobs, never effects."""
