"""The experiment: which setting wins, where, and how sure one can be.

compare.py        `compare_losses`: plan, cells, page
arms.py           what is compared: a recipe for each combination of the axes
folds.py          records of each fold, made of the scans
length.py         equal steps for all arms
sweep.py          a value that each arm chooses first
plan.py           what is written once; the folder of a comparison
outlook.py        trainings, hours and what can be found, before it starts
cells.py          an arm on a fold with a seed, and its result; `training_cell.py` trains it
parallel.py       cells in several processes
scores.py         from results to arrays of patients, seeds and folds
paired.py         "these networks, on such patients": paired differences of patients
correlated.py     "the loss": differences of folds that share training patients
decision.py       one reference, several rivals: corrected tests, Holm
resampling.py     intervals and winners by drawing folds, seeds and patients again
early.py          how early a training reaches its scores
analysis.py       all of it for one comparison; `conclusions.py` says it in words
output.py         the page (`page.py`, `charts.py`) and the tables
"""
