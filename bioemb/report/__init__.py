"""The report: one HTML page of a run, from the files that its stages wrote; it holds no script and asks for nothing.

`reading.py` finds the outputs, a file each makes a section (`funnels`, `cosines`, `negatives`, `training`, `scores`,
`vectors`, `queries`), `charts.py` draws and `page.py` puts them together. Models are `stages/report.py`'s business.
"""
