"""Names that a recipe takes, in a module that imports nothing: the command line starts with it."""

PRECISIONS = ("float32", "mixed_bfloat16", "mixed_float16")
# Name → Keras class. Muon is AdamW on 3-D kernels, and ScheduleFreeAdamW leaves its average unused: neither is here.
OPTIMIZERS = {
    "adam": "Adam",
    "adamax": "Adamax",
    "adamw": "AdamW",
    "lion": "Lion",
    "nadam": "Nadam",
    "rmsprop": "RMSprop",
    "sgd": "SGD",
}
SCHEDULES = ("constant", "cosine", "poly")
# Name → the fields of a recipe that differ from the defaults; `benchmarks/RESULTS.md` has the figures behind them.
RECIPES = {
    "fast": {"model": "residual_unet"},  # most epochs in given minutes on a CPU
}
