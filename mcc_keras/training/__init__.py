"""From prepared records to a run folder, through `model.fit`.

train.py       `train`
callbacks.py   schedule, best epoch, history, speed
"""
