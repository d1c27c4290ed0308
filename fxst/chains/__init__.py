"""Chains of effects, their parameter tables, and rendering through them."""
