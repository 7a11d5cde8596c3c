"""Pictures by matplotlib, which only this folder imports.

``figures`` holds `plot`; ``report_figure`` draws a report; ``drawing`` holds what figures share.
"""
