"""Data sets as people keep them: names of pairs, folders, BIDS, patterns, and what is said where nothing is found."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest

from mcc_keras.cli.parser import build_parser
from mcc_keras.datasets import find_cases, read_image, read_mask
from mcc_keras.errors import CaseError, DataErrors, UsageError, VolumeError
from mcc_keras.volumes import write_volume


@pytest.fixture
def folder(tmp_path):
    """Return a function that writes volumes of these names, each with a single voxel of 1, and returns the folder."""

    def write(*names):
        for name in names:
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            array = np.zeros((4, 3, 2), np.uint8)
            array[1, 1, 1] = 1
            if path.suffix == ".nrrd":
                sitk = pytest.importorskip("SimpleITK")
                sitk.WriteImage(sitk.GetImageFromArray(array.T), str(path))
            else:
                write_volume(array, path, affine=np.eye(4))
        return tmp_path

    return write


def found(folder, **options):
    """Return the files of each case: its images, and its mask."""
    cases = find_cases(folder, **options)
    name = {case.case_id: [path.relative_to(folder).as_posix() for path in case.images] for case in cases}
    masks = {case.case_id: case.mask and case.mask.relative_to(folder).as_posix() for case in cases}
    return {case_id: (*images, masks[case_id]) for case_id, images in name.items()}


# ---- names of pairs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mask", ["X.seg", "X-label", "X_Mask", "X_SEG", "X_ground_truth", "X_lesion"])
@pytest.mark.parametrize("suffix", ["nrrd", "nii.gz"])
def test_a_pair_is_one_case_by_the_names_that_people_write(folder, mask, suffix):
    source = folder(f"X.{suffix}", f"{mask}.{suffix}", f"Y.{suffix}")
    assert found(source) == {"X": (f"X.{suffix}", f"{mask}.{suffix}"), "Y": (f"Y.{suffix}", None)}


def test_scans_that_all_come_in_twos_without_masks_are_named_with_the_command_that_pairs_them(folder):
    source = folder("a.nii", "a_roi.nii", "b.nii", "b_roi.nii")
    with pytest.warns(UserWarning, match="a and a_roi are read as two scans") as caught:
        assert len(find_cases(source)) == 4
    assert follow(str(caught[0].message)) == {"a": ("a.nii", "a_roi.nii"), "b": ("b.nii", "b_roi.nii")}


def test_channels_beside_a_mask_in_one_folder_are_named_with_the_command_that_reads_them(folder):
    with pytest.raises(CaseError, match="a_seg.nii: expected an image a beside it") as caught:
        find_cases(folder("a_flair.nii", "a_seg.nii", "a_t1.nii"))
    assert follow(str(caught.value)) == {"a": ("a_flair.nii", "a_t1.nii", "a_seg.nii")}


# ---- folders ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("images", "labels"), [("images", "labels"), ("Images", "Masks"), ("imagesTr", "labelsTr")])
def test_two_folders_with_equal_names_are_cases(folder, images, labels):
    source = folder(f"{images}/a.nii", f"{images}/b_0001.nii", f"{labels}/a.nii", f"{labels}/b_0001_mask.nii")
    expected = {"a": (f"{images}/a.nii", f"{labels}/a.nii")}
    assert found(source) == expected | {"b_0001": (f"{images}/b_0001.nii", f"{labels}/b_0001_mask.nii")}


def test_nnunet_folders_without_dataset_json_have_one_file_for_each_channel(folder):
    source = folder("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "labelsTr/a.nii.gz")
    assert found(source) == {"a": ("imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz", "labelsTr/a.nii.gz")}
    assert read_image(find_cases(source)[0]).array.shape == (4, 3, 2, 2)


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        (("images/a.nii", "labels/b.nii"), "expected masks with the names of their images, found a in images and b"),
        (("images/a.nii", "labels/a.nii", "labels/b.nii"), "b.nii: expected an image b in images"),
        (("imagesTr/a_0001.nii", "labelsTr/a.nii"), "channels of a from _0000 on without a gap"),
    ],
)
def test_two_folders_whose_names_do_not_fit_are_refused(folder, names, problem):
    with pytest.raises(CaseError, match=problem):
        find_cases(folder(*names))


def test_a_folder_for_each_case_has_its_channels_and_its_mask_by_name(folder):
    source = folder("s1/FLAIR.nii.gz", "s1/GOLD.nii.gz", "s1/T1.nii.gz", "s2/FLAIR.nii.gz", "s2/T1.nii.gz")
    assert found(source)["s1"] == ("s1/FLAIR.nii.gz", "s1/T1.nii.gz", "s1/GOLD.nii.gz")
    assert [case.task.channel_names for case in find_cases(source)] == [("FLAIR", "T1")] * 2
    assert (found(source)["s2"][-1], found(source, channels=["T1"])["s1"][0]) == (None, "s1/T1.nii.gz")


def test_the_name_of_a_case_folder_is_no_part_of_the_channel_names(folder):
    source = folder(*(f"{case}/{case}_{kind}.nii" for case in ("B01", "B02") for kind in ("flair", "seg", "t1ce")))
    assert found(source)["B02"] == ("B02/B02_flair.nii", "B02/B02_t1ce.nii", "B02/B02_seg.nii")
    assert find_cases(source)[0].task.channel_names == ("flair", "t1ce")


def test_two_masks_in_a_case_folder_are_refused_with_a_command_that_chooses(folder):
    with pytest.raises(CaseError, match="s1: expected images and at most one mask") as caught:
        find_cases(folder("s1/ct.nii", "s1/mask.nii", "s1/seg.nii"))
    assert follow(str(caught.value))["s1"][-1] == "s1/mask.nii"


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("number", ["", "_0000"])
def test_an_entry_of_dataset_json_names_all_channels_with_or_without_a_number(folder, channels, number):
    images = [f"imagesTr/a_{index:04d}.nii" for index in range(channels)]
    source = folder(*images, "labelsTr/a.nii")
    entry = {"image": f"imagesTr/a{number}.nii", "label": "labelsTr/a.nii"}
    content = {"modality": {str(i): f"m{i}" for i in range(channels)}, "labels": {"1": "x"}, "training": [entry]}
    (source / "dataset.json").write_text(json.dumps(content))
    assert found(source) == {"a": (*images, "labelsTr/a.nii")}


# ---- patterns -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "options", "expected"),
    [
        (("s1/FLAIR.nii", "s1/x.nii"), {"image": "*/FLAIR*", "mask": "*/x*"}, {"s1": ("s1/FLAIR.nii", "s1/x.nii")}),
        (("a_ct.nii", "a_x.nii"), {"image": "*_ct.nii", "mask": "*_x.nii"}, {"a": ("a_ct.nii", "a_x.nii")}),
        (("a.nii", "a_x.nii"), {"image": "*", "mask": "*_x*"}, {"a": ("a.nii", "a_x.nii")}),
        (("s/t/1.nii", "s/t/2.nii"), {"image": "**/1*", "mask": "**/2*"}, {"s_t": ("s/t/1.nii", "s/t/2.nii")}),
        (("i/a.nii", "[m]/a.nii"), {"image": "i/*", "mask": "[m]/*"}, {"a": ("i/a.nii", "[m]/a.nii")}),
        (("s/1.nii", "s/2.nii"), {"image": ("*/2*", "*/1*")}, {"s": ("s/2.nii", "s/1.nii", None)}),
    ],
)
def test_patterns_pair_the_files_whose_wildcards_stand_for_the_same(folder, names, options, expected):
    assert found(folder(*names), **options) == expected


def test_the_first_wildcard_is_the_patient_and_the_pattern_names_the_channel(folder):
    cases = find_cases(folder("p1/d1/T1.nii", "p1/d2/T1.nii"), image="*/*/T1*")
    assert [(case.case_id, case.group, case.task.channel_names) for case in cases] == [
        ("p1_d1", "p1", ("T1",)),
        ("p1_d2", "p1", ("T1",)),
    ]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"image": "*/T2*"}, r"expected volumes that match image='\*/T2\*', found none"),
        ({"image": "*/T1*", "mask": "*/z*"}, "expected one mask for 's1', found z.nii and z.nii.gz"),
        ({"image": "*/T1*", "mask": "*/m2*"}, "s2/m2.nii: expected an image of s2, found none"),
        ({"image": ("*/T1*", "*/m1*")}, r"s2: expected a file that matches image='\*/T1\*'"),
    ],
)
def test_files_that_patterns_leave_without_a_partner_are_refused(folder, options, problem):
    source = folder("s1/T1.nii", "s1/m1.nii", "s1/m2.nii", "s1/z.nii", "s1/z.nii.gz", "s2/m2.nii", "s2/m1.nii")
    with pytest.raises((CaseError, DataErrors), match=problem):
        find_cases(source, **options)


@pytest.mark.parametrize("pattern", ["/etc/*", "../*", "a/../../*", "", "a**", 5])
def test_a_pattern_that_leads_out_of_the_folder_or_is_none_is_refused(folder, pattern):
    with pytest.raises(UsageError):
        find_cases(folder("a.nii"), image=pattern)


def test_a_link_out_of_the_folder_is_refused_for_patterns(folder):
    outside = folder("outside.nii") / "outside.nii"
    (outside.parent / "in").mkdir()
    (outside.parent / "in" / "a.nii").symlink_to(outside)
    with pytest.raises(CaseError, match="leads out of it"):
        find_cases(outside.parent / "in", image="*")


@pytest.mark.parametrize("options", [{"mask": "*_x*"}, {"image": "*", "derivative": "manual"}, {"derivative": "m"}])
def test_patterns_and_derivatives_are_refused_where_they_would_have_no_effect(folder, options):
    with pytest.raises(UsageError):
        find_cases(folder("a.nii"), **options)


# ---- BIDS ---------------------------------------------------------------------------------------------------------

SCANS = ("sub-1/ses-a/anat/sub-1_ses-a_FLAIR.nii", "sub-1/ses-a/anat/sub-1_ses-a_T1w.nii", "sub-2/anat/sub-2_T1w.nii")
MASK = "derivatives/{}/sub-1/ses-a/anat/sub-1_ses-a_{}.nii"


def test_bids_has_patients_sessions_channels_and_masks(folder):
    source = folder(*SCANS, "sub-2/anat/sub-2_FLAIR.nii", "sub-2/func/sub-2_bold.nii", MASK.format("m", "dseg"))
    (source / "participants.tsv").write_text("participant_id\tsite\nsub-1\tRome\nsub-2\tBern\n")
    cases = find_cases(source)
    assert found(source)["sub-1_ses-a"] == (*SCANS[:2], MASK.format("m", "dseg"))
    assert [(case.group, case.columns["site"]) for case in cases] == [("sub-1", "Rome"), ("sub-2", "Bern")]
    assert (cases[0].task.channel_names, cases[1].mask) == (("FLAIR", "T1w"), None)
    assert found(source, channels=["T1w"])["sub-2"] == ("sub-2/anat/sub-2_T1w.nii", None)
    assert read_mask(cases[0], read_image(cases[0])).sum() == 1


def test_several_bids_derivatives_with_masks_ask_for_one(folder):
    source = folder(SCANS[2], *(f"derivatives/{name}/sub-2/anat/sub-2_mask.nii" for name in ("auto", "manual")))
    with pytest.raises(CaseError, match='found them in auto, manual. Choose with derivative="auto"'):
        find_cases(source)
    assert found(source, derivative="manual")["sub-2"][-1] == "derivatives/manual/sub-2/anat/sub-2_mask.nii"
    with pytest.raises(UsageError, match="auto, manual"):
        find_cases(source, derivative="other")


def test_several_bids_masks_of_a_scan_are_refused_with_a_command_that_chooses(folder):
    masks = [MASK.format("m", f"desc-{name}_mask") for name in ("brain", "lesion")]
    with pytest.raises(CaseError, match="expected one mask") as caught:
        find_cases(folder(*SCANS[:2], *masks))
    assert follow(str(caught.value)) == {"1_a": (SCANS[0], masks[0])}


@pytest.mark.parametrize("place", [MASK.format("m", "dseg")[:-4] + ".tsv", "derivatives/m/desc-x_dseg.tsv"])
def test_the_labels_of_bids_are_named_by_its_table(folder, place):
    source = folder(*SCANS[:2], MASK.format("m", "dseg"))
    (source / place).write_text("index\tname\tcolor\n0\tBackground\t#000\n2\tCyst\t#fff\n1\tTumour\t#eee\n")
    task = find_cases(source)[0].task
    assert (task.labels, task.names) == (((1,), (2,)), ("Tumour", "Cyst"))
    assert find_cases(source, foreground="cyst")[0].task.background == (0, 1)


@pytest.mark.parametrize("text", ["index\tname\nx\ta\n", "index\n1\n", "index\tname\n1\ta\n1\tb\n", "\xff\xfe"])
def test_a_table_of_labels_of_another_form_is_refused(folder, text):
    source = folder(*SCANS[:2], MASK.format("m", "dseg"))
    (source / "derivatives/m/dseg.tsv").write_text(text, encoding="latin-1")
    with pytest.raises(CaseError, match="dseg.tsv"):
        find_cases(source)


# ---- tables -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("suffix", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_channels_of_a_table_have_the_names_of_their_columns(folder, suffix, delimiter):
    source = folder("a.nii", "b.nii", "m.nii")
    text = "Case,image_T2,image_FLAIR,Label\nx,b.nii,a.nii,m.nii\n"
    (source / f"cases.{suffix}").write_text(text.replace(",", delimiter))
    assert found(source) == {"x": ("b.nii", "a.nii", "m.nii")}
    assert find_cases(source)[0].task.channel_names == ("T2", "FLAIR")


@pytest.mark.parametrize(("column", "meant"), [("mask", "label"), ("Segmentation", "label"), ("lable", "label")])
def test_a_mask_in_a_column_of_another_name_is_not_passed_over(folder, column, meant):
    source = folder("a.nii", "m.nii")
    (source / "t.csv").write_text(f"case,image,{column}\nx,a.nii,m.nii\n")
    with pytest.raises(CaseError, match=f"expected a column {meant}, found {column}. Rename it {meant}"):
        find_cases(source / "t.csv")


def test_a_patient_in_a_column_of_another_name_is_a_warning(folder):
    source = folder("a.nii")
    (source / "t.csv").write_text("case,image,patient,site\nx,a.nii,p1,Rome\n")
    with pytest.warns(UserWarning, match="the column patient is kept with the cases. If it is meant as group"):
        assert find_cases(source)[0].columns == {"patient": "p1", "site": "Rome"}


@pytest.mark.parametrize("text", ["case,dice\na,0.5\n", "x;y\n1;2\n", "\xff\xfe"])
def test_a_table_that_is_not_one_of_cases_is_named_and_passed_over(folder, text):
    source = folder("a.nii", "a_mask.nii")
    (source / "scores.csv").write_text(text, encoding="latin-1")
    with pytest.warns(UserWarning, match="scores.csv passed over"):
        assert found(source) == {"a": ("a.nii", "a_mask.nii")}


def test_two_tables_of_cases_are_refused(folder):
    source = folder("a.nii")
    for name in ("one.csv", "two.csv"):
        (source / name).write_text("case,image\nx,a.nii\n")
    with pytest.raises(CaseError, match="expected one table of cases, found one.csv, two.csv"):
        find_cases(source)


# ---- nothing found ------------------------------------------------------------------------------------------------


def follow(text):
    """Return what the command in an error finds."""
    words = shlex.split(text[text.index("mcc-keras check") :].partition(". ")[0].rstrip("."))
    options = vars(build_parser().parse_args(words[1:]))
    return found(Path(options["source"]), image=options["image"], mask=options["mask"])


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("s1/t1.nii", "s1/zone.nii", "s2/t1.nii", "s2/zone.nii"), {"s1": ("s1/t1.nii", "s1/zone.nii")}),
        (("d/a_ct.nii", "d/a_roi.nii"), {"d_a": ("d/a_ct.nii", "d/a_roi.nii")}),
        (("x/p/1.nii", "x/p/2.nii"), {"x_p_1": ("x/p/1.nii", None)}),
    ],
)
def test_where_nothing_is_found_what_was_seen_is_listed_with_a_command_that_reads_it(folder, names, expected):
    source = folder(*names)
    with pytest.raises(CaseError, match=f"found none among {len(names)} volumes, such as {names[0]}") as caught:
        find_cases(source)
    assert follow(str(caught.value)).items() >= expected.items()


def test_a_folder_without_volumes_shows_what_it_holds(tmp_path):
    (tmp_path / "scan.jpg").write_bytes(b"")
    with pytest.raises(CaseError, match="found no volume (.*); there are scan.jpg. Known layouts:"):
        find_cases(tmp_path)


def test_a_scan_in_place_of_a_data_set_is_refused_as_such(folder):
    with pytest.raises(CaseError, match="expected a folder, a dataset.json or a table (.*), found the file a.nii"):
        find_cases(folder("a.nii") / "a.nii")


# ---- images that are no 3-D volume --------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(4, 3, 2, 1), (4, 3, 1)])
def test_a_single_volume_or_slice_in_more_dimensions_is_read_as_such(tmp_path, shape):
    write_volume(np.ones(shape, np.float32), tmp_path / "a.nii", affine=np.eye(4))
    assert read_image(find_cases(tmp_path)[0]).array.shape == (*shape[:3], 1)


@pytest.mark.parametrize(
    ("shape", "way_out"),
    [((4, 3), "Put the slices of a scan into one 3-D file"), ((4, 3, 2, 5), "Save one volume per")],
)
def test_a_flat_image_and_a_series_of_volumes_are_refused_with_the_way_out(tmp_path, shape, way_out):
    nib = pytest.importorskip("nibabel")
    nib.save(nib.Nifti1Image(np.ones(shape, np.float32), np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(VolumeError, match=f"a.nii: expected a volume(.*){way_out}"):
        read_image(find_cases(tmp_path)[0])
