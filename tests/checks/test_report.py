import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mcc_keras.checks import Finding, check_cases
from mcc_keras.checks.page import build_page
from mcc_keras.datasets import find_cases, write_synthetic
from mcc_keras.errors import DataErrors, GeometryError, LabelError, OutputExistsError, UsageError, VolumeError
from mcc_keras.volumes import write_volume

ISOTROPIC = np.eye(4)


def add(folder, name, *, seed=None, image=None, mask="ball", affine=ISOTROPIC, mask_affine=None, shape=(12, 11, 10)):
    seed = sum(map(ord, name)) if seed is None else seed
    if image is None:
        image = np.random.default_rng(seed).normal(100, 20, shape).astype(np.float32)
    write_volume(image, folder / f"{name}.nii.gz", affine=affine)
    if isinstance(mask, str):
        mask = np.zeros(image.shape, np.uint8)
        mask[4:7, 4:8, : min(5, image.shape[2])] = 1
        mask[seed % 12, 0, 0] = 1
    if mask is not None:
        write_volume(mask, folder / f"{name}_mask.nii.gz", affine=affine if mask_affine is None else mask_affine)


def check(folder, **options):
    return check_cases(find_cases(folder, **options), workers=1)


def texts(report, kind):
    return [finding.text for finding in report.findings if finding.kind == kind]


def test_a_good_set_has_no_problems(tmp_path):
    for index in range(4):
        add(tmp_path, f"case{index}")
    report = check(tmp_path).raise_for_errors()
    assert (report.problems, texts(report, "warning")) == ((), [])
    assert "No problems found." in str(report)


def test_every_problem_of_every_case_is_reported_at_once(tmp_path):
    mask = np.zeros((12, 11, 10), np.uint8)
    mask[0, 0, :3] = 7
    moved = np.diag([1.0, 1.0, 1.0, 1.0])
    moved[0, 3] = 3
    nan = np.ones((12, 11, 10), np.float32)
    nan[1, 2, 3] = np.nan
    add(tmp_path, "both", mask=mask, mask_affine=moved)
    add(tmp_path, "nan", image=nan, mask=mask)
    add(tmp_path, "shape", mask=np.ones((12, 11, 9), np.uint8))
    add(tmp_path, "cut")
    path = tmp_path / "cut.nii.gz"
    path.write_bytes(path.read_bytes()[:-3])
    report = check(tmp_path)
    kinds = sorted((finding.case_id, next(t for t in KINDS if KINDS[t] in finding.text)) for finding in report.problems)
    assert kinds == [
        ("both", "label"),
        ("both", "place"),
        ("cut", "cut"),
        ("nan", "label"),
        ("nan", "nan"),
        ("shape", "shape"),
    ]
    with pytest.raises(DataErrors) as caught:
        report.raise_for_errors()
    assert {type(error) for error in caught.value.errors} == {LabelError, GeometryError, VolumeError}


KINDS = {
    "label": "expected labels 0, 1, found also 7 (3 voxels)",
    "place": "expected the place of",
    "cut": "expected a whole gzip stream",
    "nan": "found 1 NaN or infinite, the first at (1, 2, 3)",
    "shape": "expected the shape (12, 11, 10)",
}


def test_a_mask_of_unexpected_labels_only_is_not_called_empty(tmp_path):
    add(tmp_path, "a", mask=np.full((12, 11, 10), 3, np.uint8))
    report = check(tmp_path)
    assert (len(report.problems), texts(report, "warning")) == (1, ["no mask holds the label 1"])
    assert "foreground_fraction" not in report.rows[0] and not any("empty" in sentence for sentence in report.advice)


def test_a_stray_label_beside_the_organ_is_an_error_like_any_other(tmp_path):
    mask = np.zeros((12, 11, 10), np.uint8)
    mask[3:6, 3:6, 3:6], mask[0, 0, 0] = 1, 7
    add(tmp_path, "a", mask=mask)
    add(tmp_path, "b")
    assert [type(error) for error in check(tmp_path, labels=(1,)).errors] == [LabelError]


def test_the_page_does_not_overwrite_a_scan(tmp_path):
    add(tmp_path, "a")
    scan, link = tmp_path / "a.nii.gz", tmp_path / "page.html"
    before = scan.read_bytes()
    link.symlink_to(scan)
    with pytest.raises(UsageError, match="must not be an input"):
        check(tmp_path).write_html(link, overwrite=True)
    assert scan.read_bytes() == before


def test_one_error_is_raised_as_itself(tmp_path):
    add(tmp_path, "a", mask=np.full((12, 11, 10), 3, np.uint8))
    with pytest.raises(LabelError, match=r"3 \(1320 voxels\)"):
        check(tmp_path).raise_for_errors()


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        ({"mask": None}, "no mask: for prediction only"),
        ({"mask": np.zeros((12, 11, 10), np.uint8)}, "an empty mask"),
        ({"image": np.full((12, 11, 10), 5, np.int16)}, "channel image is constant"),
        ({"affine": np.diag([1, 1, 3, 1])}, "strong anisotropy, 3 : 1 or more"),
        ({"shape": (12, 11, 1)}, "a single slice"),
        ({"affine": np.array([[1, 0, 0.3, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])}, "a sheared affine"),
        ({"mask_affine": np.diag([1.002, 1, 1, 1])}, "the corners of the mask"),
        ({"mask": np.eye(3)[None].repeat(4, 0) * 0.9999, "shape": (4, 3, 3)}, "a residue of float arithmetic"),
    ],
)
def test_what_is_odd_but_works_is_a_warning(tmp_path, case, expected):
    add(tmp_path, "a", **case)
    report = check(tmp_path).raise_for_errors()
    assert any(expected in text for text in texts(report, "warning")), str(report)


def test_the_same_scan_under_two_patients_is_an_error_and_under_one_a_warning(tmp_path):
    add(tmp_path, "a", seed=1)
    add(tmp_path, "b", seed=1)
    assert any("the same voxels in a, b" in text for text in texts(check(tmp_path), "error"))
    (tmp_path / "t.csv").write_text("case,image,group\na,a.nii.gz,p\nb,b.nii.gz,p\n")
    report = check(tmp_path / "t.csv").raise_for_errors()
    assert any("the same image" in text for text in texts(report, "warning"))


def test_a_label_that_no_mask_holds_is_reported(tmp_path):
    add(tmp_path, "a")
    assert "no mask holds the label 2" in texts(check(tmp_path, labels=(1, 2)), "warning")


def test_a_label_that_only_one_mask_of_many_lacks_is_reported(tmp_path):
    mask = np.zeros((12, 11, 10), np.uint8)
    mask[3:6, 3:6, 3:6] = 1
    for index in range(10):
        mask[6:8, 3:6, 3:6] = 2 if index != 4 else 1
        mask[index, 0, 0] = 1
        add(tmp_path, f"case{index}", mask=mask)
    report = check(tmp_path, labels=(1, 2))
    assert ("warning", ["case4"], "no voxel of label 2, which nearly all other masks hold") in report.table()
    assert texts(check(tmp_path, foreground=(1, 2)), "warning") == []
    (tmp_path / "case5_mask.nii.gz").unlink()
    (tmp_path / "case6_mask.nii.gz").unlink()  # one of eight is more than a tenth
    assert not any("no voxel of label" in text for text in texts(check(tmp_path, labels=(1, 2)), "warning"))


def test_a_mask_that_was_turned_without_its_affine_is_reported_where_the_scan_has_nothing(tmp_path):
    image = np.full((12, 11, 10), -3.0)
    image[1:6, 1:10, 1:9] = np.random.default_rng(0).normal(size=(5, 9, 8))
    mask = np.zeros(image.shape, np.uint8)
    mask[2:5, 3:6, 3:6] = 1
    add(tmp_path, "right", image=image, mask=mask)
    add(tmp_path, "turned", image=image + 1, mask=mask[::-1])
    text = "most of the foreground lies on the empty background of the image: is the mask turned?"
    warned = [(kind, cases) for kind, cases, found in check(tmp_path).table() if found == text]
    assert warned == [("warning", ["turned"])]


def test_a_case_far_from_the_others_is_reported_and_nine_alike_are_not(tmp_path):
    for index in range(9):
        add(tmp_path, f"case{index}")
    assert texts(check(tmp_path), "warning") == []
    mask = np.zeros((12, 11, 10), np.uint8)
    mask[5, 5, 5] = 1
    add(tmp_path, "tiny", mask=mask)
    assert any("a foreground of 0.001 ml" in text for text in texts(check(tmp_path), "warning"))


def test_one_spacing_for_matrices_of_many_sizes_looks_nominal(tmp_path):
    for index in range(8):
        add(tmp_path, f"case{index}", shape=(32 + 32 * (index % 2),) * 2 + (6,), affine=np.diag([0.5, 0.5, 1.2, 1]))
    assert any("one spacing, 0.5 x 0.5 x 1.2 mm, in all 8 files" in text for text in texts(check(tmp_path), "warning"))


def test_a_constant_background_and_spread_intensities_are_noted(tmp_path):
    for index, scale in enumerate((1, 1000)):
        image = np.random.default_rng(index).uniform(1, 2, (12, 11, 10)) * scale
        image[:6] = image[-2:] = -3
        add(tmp_path, f"case{index}", image=image)
    notes = " ".join(texts(check(tmp_path), "note"))
    assert "one constant that is not 0 (-3) in 2 cases" in notes
    assert "normalize each volume by itself" in notes


def test_the_numbers_of_a_row_are_those_of_the_files(tmp_path):
    add(tmp_path, "a", affine=np.diag([0.5, 2, 1, 1]))
    row = check(tmp_path).rows[0]
    mask_voxels = 3 * 4 * 5 + 1
    assert row["labels"] == {0: 1320 - mask_voxels, 1: mask_voxels}
    assert row["foreground_ml"] == pytest.approx(mask_voxels / 1000)
    assert (row["shape"], row["spacing_mm"], row["orientation"]) == ((12, 11, 10), (0.5, 2.0, 1.0), "RAS")


@pytest.mark.parametrize("layout", ["pairs", "promise12", "brats15"])
def test_each_file_is_read_once(tmp_path, layout):
    counters = Path("/proc/self/io")
    if not counters.is_file():
        pytest.skip("no /proc/self/io on this system, which counts the bytes that a process reads")
    sources = [
        write_synthetic(tmp_path / name, num_cases=1, size=(96, 96, 40), seed=seed, layout=layout)
        for seed, name in enumerate(("first", "second"))
    ]
    check(sources[0])  # imports what it needs
    cases = find_cases(sources[1])
    files = [path for path in sources[1].rglob("*") if path.is_file()]
    before = int(counters.read_text().split()[1])
    check_cases(cases, workers=1)
    read = int(counters.read_text().split()[1]) - before
    sizes = [path.stat().st_size for path in files]
    # The head of a file that is one with its voxels is looked at first: 64 KiB at most.
    heads = sum(min(size, 65_536) for size in sizes) + 4096
    assert sum(sizes) <= read < sum(sizes) + heads < 1.8 * sum(sizes)


def test_workers_do_not_change_the_report(tmp_path):
    for index in range(3):
        add(tmp_path, f"case{index}")
    cases = find_cases(tmp_path)
    assert check_cases(cases, workers=2).to_json() == check_cases(cases, workers=1).to_json()


def test_the_report_is_json(tmp_path):
    add(tmp_path, "a", mask=np.zeros((12, 11, 10), np.uint8))
    content = json.loads(check(tmp_path).to_json())
    assert content["cases"][0]["case"] == "a"
    assert content["findings"][0]["kind"] == "warning"


def test_the_page_holds_all_it_shows_and_escapes_what_it_is_given(tmp_path):
    (tmp_path / "data").mkdir()
    add(tmp_path / "data", "a")
    (tmp_path / "data" / "t.csv").write_text("case,image,label,group\n<b>x,a.nii.gz,a_mask.nii.gz,p\n")
    report = check(tmp_path / "data" / "t.csv")
    page = report.write_html(tmp_path / "check.html").read_text("utf-8")
    assert page.count("data:image/jpeg;base64,") == 1
    assert "<b>x" not in page and "http" not in page.split("<body>")[1] and "<script" not in page
    with pytest.raises(OutputExistsError):
        report.write_html(tmp_path / "check.html")


def test_the_page_shows_which_color_is_which_of_several_classes(tmp_path):
    add(tmp_path, "a")
    page = check(tmp_path, labels=(1, (2, 3))).write_html(tmp_path / "check.html").read_text("utf-8")
    assert re.findall(r'#(.{6})"></span>([^<]*?)\s*<', page) == [("19b8e0", "1"), ("ff8c1a", "2+3")]
    assert 'class="swatch"' not in check(tmp_path).write_html(tmp_path / "one.html").read_text("utf-8")


def test_the_page_escapes_the_names_that_a_dataset_json_gives(tmp_path):
    add(tmp_path, "a", image=np.full((12, 11, 10), 5, np.int16))
    entry = {"image": "a.nii.gz", "label": "a_mask.nii.gz"}
    content = {"modality": {"0": "<script>x"}, "labels": {"0": "b", "1": "<i>"}, "training": [entry]}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    page = check(tmp_path).write_html(tmp_path / "check.html").read_text("utf-8")
    assert "channel &lt;script&gt;x is constant" in page
    assert "<script" not in page


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_spaces_and_letters_of_any_language_work_in_any_locale(tmp_path, locale):
    folder = tmp_path / "Größe 大 {0}"
    folder.mkdir()
    add(folder, "Fräulein Müller %s")
    page = tmp_path / "Prüfung.html"
    command = [sys.executable, "-m", "mcc_keras", "check", str(folder), "--html", str(page)]
    environment = {**os.environ, "LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"x-Fr-c3-a4ulein-20M-c3-bcller-20-25s" in done.stdout
    assert page.is_file()


def test_a_terminal_sees_how_far_the_check_is(tmp_path):
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    for index in range(3):
        add(tmp_path, f"case{index}")
    ours, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 80))
    command = [sys.executable, "-m", "mcc_keras", "check", str(tmp_path)]
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=terminal, check=True, timeout=120)
    os.close(terminal)
    shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "check:" in shown and "/3 [" in shown


def test_no_cases_or_workers_are_refused(tmp_path):
    with pytest.raises(UsageError):
        check_cases([])
    add(tmp_path, "a")
    with pytest.raises(UsageError):
        check_cases(find_cases(tmp_path), workers=0)


def test_checking_loads_neither_keras_nor_tensorflow(tmp_path):
    add(tmp_path, "a")
    code = (
        "import sys\nfrom mcc_keras.datasets import find_cases\nfrom mcc_keras.checks import check_cases\n"
        "check_cases(find_cases(sys.argv[1])).write_html(sys.argv[1] + '/x.html')\n"
        "from mcc_keras.cli import main\nassert main(['check', sys.argv[1], '--json']) == 0\n"
        "assert not {'tensorflow', 'keras'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True, timeout=120)


def test_the_page_of_ten_thousand_cases_shows_the_worst_and_all_in_the_table(tmp_path):
    add(tmp_path, "case")
    report = check(tmp_path)
    names = [f"case{index:05}" for index in range(10_000)]
    rows = tuple({**report.rows[0], "case": name} for name in names)
    pictures = {name: report.thumbnails["case"] + b" " * 16_000 for name in names}
    findings = (Finding("error", names[-1], "cut"), *(Finding("warning", name, "empty mask") for name in names[500:]))
    page = build_page(dataclasses.replace(report, rows=rows, findings=findings, thumbnails=pictures))
    shown = re.findall(r"<figcaption>(case\d+) ", page)
    assert shown == [names[-1], *names[500:799]]
    assert re.findall(r"<tr><td>(case\d+)</td>", page) == names
    assert len(page) < 20e6
