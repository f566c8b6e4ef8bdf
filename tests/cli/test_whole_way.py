"""The commands one after another, on the smallest scale."""

import nibabel as nib


def test_the_commands_go_the_whole_way_and_print_what_they_wrote(whole_way, run, capsys):
    scan = whole_way / "pairs" / "case0.nii.gz"
    run("evaluate", whole_way / "run")
    assert "dice" in capsys.readouterr().out.lower()
    run("segment", "--run", whole_way / "run", scan, "-o", whole_way / "mask.nii.gz")
    assert str(whole_way / "mask.nii.gz") in capsys.readouterr().out
    assert nib.load(whole_way / "mask.nii.gz").shape == (16, 16, 16)
    run("export", whole_way / "run", whole_way / "served" / "cube")
    assert (whole_way / "served" / "cube" / "1" / "saved_model.pb").is_file()


def test_a_run_folder_that_is_full_is_refused_and_kept(whole_way, complaints):
    before = sorted(whole_way.rglob("run/*"))
    code, lines = complaints("train", whole_way / "work", whole_way / "run", "--epochs", 1)
    assert (code, len(lines)) == (2, 1)
    assert str(whole_way / "run") in lines[0]
    assert sorted(whole_way.rglob("run/*")) == before


def test_a_mask_that_exists_is_kept_and_a_missing_scan_is_named(whole_way, complaints):
    kept = whole_way / "kept.nii.gz"
    kept.write_bytes(b"mine")
    code, lines = complaints("segment", "--run", whole_way / "run", whole_way / "pairs" / "case0.nii.gz", "-o", kept)
    assert (code, len(lines), kept.read_bytes()) == (2, 1, b"mine")
    code, lines = complaints(
        "segment", "--run", whole_way / "run", whole_way / "no.nii.gz", "-o", whole_way / "no2.nii"
    )
    assert (code, len(lines)) == (3, 1)
    assert "no.nii.gz" in lines[0]
    assert not (whole_way / "no2.nii").exists()
