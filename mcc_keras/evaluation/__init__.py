"""Scores per case, on the scans' own grids: of a run, or of masks that any program made.

evaluate.py     `evaluate`: the cases of a run or of another data set; seen.py: cases that the run has seen
score.py        `score`: two folders of masks, without a run; pairing.py: which belong together
measures.py     `MEASURES`: every column of every table; lesions.py: connected components
calibration.py  probabilities beside the truth; nearby.py: the voxels that count
case.py         the rows and the picture of a case
scores.py       `Scores` and `Summary` of a set of cases; statistics.py: spreads and intervals
output.py       scores.csv, calibration.csv, summary.json and report.html; page.py and charts.py: the report
"""
