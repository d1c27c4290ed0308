"""`fxst ui`: a page on this machine to hear a transfer, change its settings and keep the result.

The server holds one model. Each tab of the page has a folder of its own, which is removed with the tab. The page shares
its player, charts and style sheet with the report.
"""

from fxst.ui.server import serve

__all__ = ["serve"]
