"""Studies: many runs from one small file, and one report of them all.

``cells`` reads the file and lists the runs; the graph is ``study.smk``; ``report`` puts the results
together.
"""
