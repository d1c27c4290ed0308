"""A page to listen to: one HTML file with players, curves and tables, which needs no network.

It knows recordings, parameter tables and grids of text, and nothing of what they were made for.
"""

from fxst.report.content import Entry, Grid, Page, Track
from fxst.report.page import write_report

__all__ = ["Entry", "Grid", "Page", "Track", "write_report"]
