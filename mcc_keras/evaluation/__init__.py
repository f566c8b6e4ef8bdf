"""Scores of a run, per case, on the scans' own grids.

evaluate.py   `evaluate`
scores.py     what is computed for a case and a set of cases
page.py       the report
"""
