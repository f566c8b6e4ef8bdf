from mcc_keras.cli import main


def test_the_check_lists_the_bad_file_and_exits_as_data(write_pairs, spoil, capsys):
    folder = write_pairs()
    spoil(folder, "voxels")
    assert main(["check", str(folder), "--workers", "1"]) == 3
    assert "case3" in capsys.readouterr().out


def test_the_check_of_good_files_exits_as_done_and_writes_a_page(write_pairs, tmp_path, run, capsys):
    run("check", write_pairs(), "--workers", 1, "--html", tmp_path / "check.html")
    assert "case3" in capsys.readouterr().out
    assert "case3" in (tmp_path / "check.html").read_text(encoding="utf-8")
