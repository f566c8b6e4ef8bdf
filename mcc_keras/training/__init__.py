"""From prepared records to a run folder, through `model.fit`.

train.py       `train`, its arguments checked
fit.py         what needs Keras and TensorFlow
callbacks.py   schedule, best epoch, history, speed
"""
