"""`evaluate` on the command line."""


def test_what_try_would_ignore_is_refused(complaints, tmp_path):
    words = ("evaluate", tmp_path, "--try", "flips", "--flips", "none", "--overwrite")
    assert complaints(*words) == (2, ["`--flips` and `--overwrite` cannot be used with `--try`. Leave it out."])
