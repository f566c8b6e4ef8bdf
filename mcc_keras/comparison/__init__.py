"""The experiment: which setting wins, where, and how sure one can be.

compare.py      `compare_losses`: plan, cells, report
settings.py     what is compared: arms, folds, seeds
paired.py       "these networks, on such patients": paired differences of patients
correlated.py   "the loss": differences of folds that share training patients
decision.py     one reference, several rivals: corrected tests, Holm
resampling.py   intervals and winners by drawing folds, seeds and patients again
early.py        how early a training reaches its scores
"""
