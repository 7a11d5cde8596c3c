"""Figures by matplotlib, which only this folder imports.

``figures`` holds `plot`, which arranges panels. Every other function that takes ``ax`` draws one
panel: ``kernel``, ``fit``, ``data`` and ``choices``. ``values`` reads results.
"""
