"""Checks of a data set: every problem of every case in one table, before time is spent on training.

report = check_cases(find_cases("Task04_Hippocampus"))
report.write_html("check.html")
report.raise_for_errors()
"""

import lazy_loader as lazy

__getattr__, __dir__, __all__ = lazy.attach(
    __name__, submod_attrs={"case": ["Finding"], "report": ["CheckReport", "check_cases"]}
)
