"""Choosing among rows: grading, mixing, splitting, and finding what occurs twice or stands in a test set. One operation per file.

Every operation streams a file of rows (``source.py``) and writes rows as they stand there, with a ``lineage`` each
(``output.py``); its output appears whole or not at all. ``minhash.py`` is the one place where texts are compared.
"""
