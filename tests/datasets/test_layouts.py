"""Every layout as its release writes it, and what each refuses."""

import json

import numpy as np
import pytest
import SimpleITK as sitk

from mcc_keras.datasets import brats15, find_cases, read_image, read_mask, write_synthetic
from mcc_keras.errors import CaseError, DataErrors, UsageError
from mcc_keras.volumes import write_volume


def volume(path, value=1):
    path.parent.mkdir(parents=True, exist_ok=True)
    array = np.zeros((4, 3, 2), np.uint8)
    array[1, 1, 1] = value
    if path.name.endswith((".nii", ".nii.gz")):
        write_volume(array, path, affine=np.eye(4))
    else:
        sitk.WriteImage(sitk.GetImageFromArray(array.T), str(path))
    return path


def ids(cases):
    return [case.case_id for case in cases]


def sums(cases):
    return [int(read_mask(case, read_image(case)).sum()) for case in cases]


def write_json(folder, **content):
    (folder / "dataset.json").write_text(json.dumps(content))
    return folder


# ---- pairs --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".mhd"])
def test_pairs_are_found_by_their_names(tmp_path, suffix):
    for name in ("b.1", "b.1_mask", "a", "a_mask"):
        volume(tmp_path / f"{name}{suffix}")
    cases = find_cases(tmp_path)
    assert (ids(cases), sums(cases)) == (["a", "b.1"], [1, 1])


@pytest.mark.parametrize("end", ["_mask", "_seg", "_segmentation", "_label", "_labels", "_gt"])
def test_masks_are_recognized_by_the_end_of_their_names(tmp_path, end):
    for name in ("a", f"a{end}", "b_t1", f"b_t1{end}", "c"):
        volume(tmp_path / f"{name}.nii")
    found = [(case.case_id, case.mask and case.mask.name) for case in find_cases(tmp_path)]
    assert found == [("a", f"a{end}.nii"), ("b_t1", f"b_t1{end}.nii"), ("c", None)]


def test_a_folder_of_dicom_files_is_a_volume_in_a_folder_of_pairs_and_in_a_table(tmp_path):
    write_synthetic(tmp_path, num_cases=2, size=(16, 16, 8), layout="dicom", foreground_fraction=0.05, empty_fraction=0)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("no DICOM")
    cases = find_cases(tmp_path)
    assert (ids(cases), cases[0].images) == (["case_000", "case_001"], (tmp_path / "case_000",))
    assert min(sums(cases)) > 0
    (tmp_path / "t.csv").write_text("case,image,label\nx,case_000,case_000_mask.nii.gz\n")
    assert sums(find_cases(tmp_path / "t.csv")) == sums(cases[:1])
    (tmp_path / "t.csv").write_text("case,image\nx,notes\n")
    with pytest.raises(CaseError, match="expected the file 'notes', found none"):
        find_cases(tmp_path / "t.csv")


def test_two_masks_of_one_image_are_refused(tmp_path):
    for name in ("a", "a_mask", "a_seg"):
        volume(tmp_path / f"{name}.nii")
    with pytest.raises(CaseError, match="expected one mask of a, found a_mask.nii, a_seg.nii"):
        find_cases(tmp_path)


def test_a_mask_without_an_image_and_two_files_of_one_name_are_both_reported(tmp_path):
    for name in ("a_mask.nii", "b.nii", "b.nrrd"):
        volume(tmp_path / name)
    with pytest.raises(DataErrors, match="b.nii, b.nrrd(.|\n)*expected an image a beside it"):
        find_cases(tmp_path)


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    outside = volume(tmp_path / "outside.nii")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.nii").symlink_to(outside)
    with pytest.raises(CaseError, match="leads out of it"):
        find_cases(tmp_path / "in")
    (tmp_path / "link").symlink_to(tmp_path, target_is_directory=True)
    assert ids(find_cases(tmp_path / "link")) == ["outside"]


def test_hidden_files_are_not_cases(tmp_path):
    volume(tmp_path / "a.nii")
    (tmp_path / "._a.nii").write_bytes(b"junk of another system")
    assert ids(find_cases(tmp_path)) == ["a"]


# ---- PROMISE12 ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("folders", [("", ""), ("TrainingData_Part1", "TrainingData_Part2")])
def test_promise12_is_found_flat_and_in_parts(tmp_path, folders):
    for folder, name in zip(folders, ("Case00", "Case01"), strict=True):
        volume(tmp_path / folder / f"{name}.mhd")
        volume(tmp_path / folder / f"{name}_segmentation.mhd")
    cases = find_cases(tmp_path)
    assert (ids(cases), sums(cases)) == (["Case00", "Case01"], [1, 1])
    assert cases[0].task.channel_names == ("T2",)


@pytest.mark.parametrize("name", ["Case00.mhd", "Case00_segmentation.mhd"])
def test_a_promise12_file_that_leads_out_of_the_folder_is_refused(tmp_path, name):
    outside = volume(tmp_path / "outside.mhd")
    volume(tmp_path / "in" / "Case00.mhd")
    (tmp_path / "in" / name).unlink(missing_ok=True)
    (tmp_path / "in" / name).symlink_to(outside)
    with pytest.raises(CaseError, match="leads out of it"):
        find_cases(tmp_path / "in")


def test_promise12_scans_without_masks_are_found_for_prediction(tmp_path):
    volume(tmp_path / "Case07.mhd")
    assert find_cases(tmp_path)[0].mask is None


# ---- BRATS 2015 ---------------------------------------------------------------------------------------------------


def brats(root, case, modalities=("Flair", "T1", "T1c", "T2"), truth="VSD.Brain_3more"):
    for number, name in enumerate(modalities):
        stem = f"VSD.Brain.XX.O.MR_{name}.{number}"
        volume(root / case / stem / f"{stem}.mha")
    if truth:
        volume(root / case / f"{truth}.XX.O.OT.9" / f"{truth}.XX.O.OT.9.mha", value=4)


def test_brats_has_its_channels_in_order_and_the_whole_tumour_as_one_class(tmp_path):
    brats(tmp_path, "HGG/brats_tcia_pat118_0001")
    brats(tmp_path, "HGG/brats_tcia_pat118_0002", truth="VSD.Brain")
    brats(tmp_path, "LGG/brats_2013_pat0001_1")
    cases = find_cases(tmp_path)
    assert ids(cases) == [
        "HGG_brats_tcia_pat118_0001",
        "HGG_brats_tcia_pat118_0002",
        "LGG_brats_2013_pat0001_1",
    ]
    assert [case.group for case in cases] == ["HGG/tcia/pat118", "HGG/tcia/pat118", "LGG/2013/pat0001"]
    assert cases[0].task.channel_names == ("Flair", "T1", "T1c", "T2")
    assert [path.name.split("MR_")[1] for path in cases[0].images] == [
        "Flair.0.mha",
        "T1.1.mha",
        "T1c.2.mha",
        "T2.3.mha",
    ]
    assert (cases[0].task.labels, sums(cases)) == (((1, 2, 3, 4),), [1, 1, 1])


def test_brats_takes_the_modalities_that_are_there(tmp_path):
    brats(tmp_path, "HGG/brats_tcia_pat118_0001", ("T1c", "Flair"), truth=None)
    case = find_cases(tmp_path)[0]
    assert (case.task.channel_names, case.mask) == (("Flair", "T1c"), None)
    assert find_cases(tmp_path / "HGG")[0] == case == find_cases(tmp_path / "HGG" / "brats_tcia_pat118_0001")[0]


def test_a_brats_case_that_lacks_a_modality_is_reported(tmp_path):
    brats(tmp_path, "HGG/brats_tcia_pat1_1", ("T1", "T2"))
    brats(tmp_path, "HGG/brats_tcia_pat2_1", ("T1",))
    with pytest.raises(CaseError, match="pat2_1: expected the channels T1, T2, found T1"):
        find_cases(tmp_path)


@pytest.mark.parametrize("which", ["MR_T1c", "OT"])
def test_a_brats_file_that_leads_out_of_the_folder_is_refused(tmp_path, which):
    brats(tmp_path / "in", "HGG/brats_tcia_pat1_1")
    file = next((tmp_path / "in").glob(f"*/*/*.{which}.*/*.mha"))
    file.rename(tmp_path / "outside.mha")
    file.symlink_to(tmp_path / "outside.mha")
    with pytest.raises(CaseError, match="leads out of it"):
        find_cases(tmp_path / "in")


@pytest.mark.parametrize("channels", [("T2", "Flair"), ("t2", "flair")])
def test_brats_channels_are_stacked_in_the_order_that_was_asked_for(tmp_path, channels):
    brats(tmp_path, "HGG/brats_tcia_pat118_0001")
    brats(tmp_path, "LGG/brats_tcia_pat002_0001", ("Flair", "T2"))
    for case in find_cases(tmp_path, channels=channels):
        assert case.task.channel_names == ("T2", "Flair")
        assert [path.name.split("MR_")[1].split(".")[0] for path in case.images] == ["T2", "Flair"]
    assert find_cases(tmp_path, channels="Flair")[0].task.channel_names == ("Flair",)


@pytest.mark.parametrize("channels", [(), ("PD",), ("T1", "T1"), ("T1", "t1")])
def test_channels_that_are_unknown_or_named_twice_are_refused(tmp_path, channels):
    brats(tmp_path, "HGG/brats_tcia_pat118_0001")
    with pytest.raises(UsageError, match="of Flair, T1, T1c, T2"):
        find_cases(tmp_path, channels=channels)


def test_a_case_without_a_channel_that_was_asked_for_is_reported(tmp_path):
    brats(tmp_path, "HGG/brats_tcia_pat1_1")
    brats(tmp_path, "HGG/brats_tcia_pat2_1", ("Flair",))
    with pytest.raises(CaseError, match="pat2_1: expected the channels T2, found Flair"):
        find_cases(tmp_path, channels=("T2",))


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        ("whole", [0, 1, 1, 1, 1]),
        ("core", [0, 1, 0, 1, 1]),
        ("Enhancing", [0, 0, 0, 0, 1]),
        ("oedema", [0, 0, 1, 0, 0]),
    ],
)
def test_brats_regions_are_chosen_by_name_and_leave_the_rest_as_background(tmp_path, region, expected):
    brats(tmp_path, "HGG/brats_2013_pat0001_1")
    truth = next(tmp_path.glob("*/*/*OT*/*.mha"))
    sitk.WriteImage(sitk.GetImageFromArray(np.array([[[0, 1, 2, 3, 4]]], np.uint8)), str(truth))
    for path in tmp_path.glob("*/*/*MR*/*.mha"):
        sitk.WriteImage(sitk.GetImageFromArray(np.ones((1, 1, 5), np.uint8)), str(path))
    case = find_cases(tmp_path, foreground=region)[0]
    assert read_mask(case, read_image(case)).ravel().tolist() == expected


def test_the_regions_of_brats_are_what_the_metrics_take():
    from mcc_keras.metrics import region

    found = {name: region(np.arange(5), labels).tolist() for name, labels in brats15.REGIONS.items()}
    assert found["whole"] == [False, True, True, True, True]
    assert found["core"] == [False, True, False, True, True]
    assert found["enhancing"] == [False, False, False, False, True]


def test_brats_labels_are_kept_apart_by_name_or_number(tmp_path):
    brats(tmp_path, "HGG/brats_2013_pat0001_1")
    by_name = find_cases(tmp_path, labels=("oedema", ("necrosis", "non_enhancing"), "enhancing"))[0]
    assert by_name.task.labels == find_cases(tmp_path, labels=(2, (1, 3), 4))[0].task.labels == ((2,), (1, 3), (4,))


def test_a_region_of_another_name_is_refused_with_the_names_there_are(tmp_path):
    brats(tmp_path, "HGG/brats_2013_pat0001_1")
    with pytest.raises(UsageError, match="the names whole, core, enhancing"):
        find_cases(tmp_path, foreground="tumour")
    with pytest.raises(UsageError, match="belong to one class"):
        find_cases(tmp_path, labels=("whole", "core"))


def test_the_grade_of_a_brats_scan_is_a_column(tmp_path):
    brats(tmp_path, "HGG/brats_tcia_pat118_0001")
    brats(tmp_path, "LGG/brats_tcia_pat118_0001")
    cases = find_cases(tmp_path)
    assert [case.columns["grade"] for case in cases] == ["HGG", "LGG"]
    assert len({case.group for case in cases}) == 2


# ---- dataset.json -------------------------------------------------------------------------------------------------


def test_a_decathlon_task_keeps_its_labels_apart(tmp_path):
    volume(tmp_path / "imagesTr/a.nii.gz")
    volume(tmp_path / "labelsTr/a.nii.gz", value=2)
    names = {"0": "background", "1": "Anterior", "2": "Posterior"}
    entry = {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}
    write_json(tmp_path, modality={"0": "MRI"}, labels=names, training=[entry])
    for source in (tmp_path, tmp_path / "dataset.json"):
        cases = find_cases(source)
        assert (ids(cases), sums(cases), cases[0].task.labels) == (["a"], [2], ((1,), (2,)))
    assert sums(find_cases(tmp_path, foreground=(1, 2))) == [1]
    assert sums(find_cases(tmp_path, foreground=("Anterior", "Posterior"))) == [1]
    assert find_cases(tmp_path, foreground="posterior")[0].task.background == (0, 1)


def test_four_modalities_of_a_decathlon_task_are_channels_of_one_file(tmp_path):
    write_volume(np.ones((4, 3, 2, 2)), tmp_path / "imagesTr/a.nii.gz", affine=np.eye(4))
    volume(tmp_path / "labelsTr/a.nii.gz")
    entry = {"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}
    write_json(tmp_path, modality={"0": "FLAIR", "1": "T1w"}, labels={"0": "b", "1": "t"}, training=[entry])
    assert read_image(find_cases(tmp_path)[0]).array.shape == (4, 3, 2, 2)
    assert find_cases(tmp_path, channels=("flair", "T1w")) == find_cases(tmp_path)
    with pytest.raises(UsageError, match="all channels in one file"):
        find_cases(tmp_path, channels=("T1w",))


@pytest.mark.parametrize("version", [1, 2])
def test_nnunet_has_one_file_a_channel(tmp_path, version):
    for index in range(2):
        volume(tmp_path / f"imagesTr/a_{index:04d}.nii.gz")
    volume(tmp_path / "labelsTr/a.nii.gz", value=3)
    if version == 1:
        entry = {"image": "./imagesTr/a.nii.gz", "label": "./labelsTr/a.nii.gz"}
        content = {"modality": {"0": "T1", "1": "T2"}, "labels": {"0": "background", "3": "x"}, "training": [entry]}
    else:
        names = {"0": "T1", "1": "T2"}
        content = {"channel_names": names, "labels": {"background": 0, "x": 3}, "file_ending": ".nii.gz"}
    case = find_cases(write_json(tmp_path, **content))[0]
    assert (case.case_id, case.task.channel_names, case.task.labels) == ("a", ("T1", "T2"), ((3,),))
    assert [path.name for path in case.images] == ["a_0000.nii.gz", "a_0001.nii.gz"]
    assert sums([case]) == [1]
    turned = find_cases(tmp_path, channels=("T2", "T1"))[0]
    assert [path.name for path in turned.images] == ["a_0001.nii.gz", "a_0000.nii.gz"]


def test_regions_that_overlap_ask_for_a_choice(tmp_path):
    volume(tmp_path / "imagesTr/a_0000.nii.gz")
    volume(tmp_path / "labelsTr/a.nii.gz")
    labels = {"background": 0, "whole": [1, 2], "core": [2]}
    write_json(tmp_path, channel_names={"0": "T1"}, labels=labels)
    with pytest.raises(UsageError, match="regions that overlap"):
        find_cases(tmp_path)
    assert find_cases(tmp_path, foreground=(1, 2))[0].task.labels == ((1, 2),)
    assert find_cases(tmp_path, foreground="core")[0].task.background == (0, 1)


def test_without_training_cases_the_test_cases_are_found(tmp_path):
    volume(tmp_path / "imagesTs/a.nii.gz")
    write_json(tmp_path, modality={"0": "MRI"}, labels={"0": "b", "1": "x"}, training=[], test=["imagesTs/a.nii.gz"])
    assert find_cases(tmp_path)[0].mask is None


@pytest.mark.parametrize("name", ["../a.nii.gz", "/etc/passwd", "imagesTr/../../a.nii.gz", "link.nii.gz"])
@pytest.mark.parametrize("key", ["image", "label"])
def test_an_entry_that_leaves_the_folder_is_refused(tmp_path, name, key):
    folder = tmp_path / "in"
    outside = volume(tmp_path / "a.nii.gz")
    volume(folder / "imagesTr/a.nii.gz")
    (folder / "link.nii.gz").symlink_to(outside)
    entry = {"image": "imagesTr/a.nii.gz", "label": "imagesTr/a.nii.gz", key: name}
    write_json(folder, training=[entry])
    with pytest.raises(CaseError, match="leads out of it"):
        find_cases(folder)


@pytest.mark.parametrize("listed", [True, False])
def test_a_channel_file_that_leads_out_of_the_folder_is_refused(tmp_path, listed):
    outside = volume(tmp_path / "a.nii.gz")
    folder = tmp_path / "in"
    volume(folder / "imagesTr/a_0000.nii.gz")
    (folder / "imagesTr/a_0001.nii.gz").symlink_to(outside)
    volume(folder / "labelsTr/a.nii.gz")
    entry = {"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}
    write_json(folder, channel_names={"0": "T1", "1": "T2"}, **({"training": [entry]} if listed else {}))
    with pytest.raises(CaseError, match="a_0001.nii.gz: expected a file inside"):
        find_cases(folder)


@pytest.mark.parametrize("ending", ["/../../a.nii.gz", "/../../../etc/passwd"])
def test_a_file_ending_is_no_way_out_of_the_folder(tmp_path, ending):
    (tmp_path / "imagesTr").mkdir()
    volume(tmp_path / "imagesTr" / "a_0000.nii.gz")
    write_json(tmp_path, channel_names={"0": "T1"}, file_ending=ending)
    with pytest.raises(CaseError):
        find_cases(tmp_path)


@pytest.mark.parametrize("name", ["gs://bucket/a.nii.gz", "http://host/a.nii.gz", "a\0.nii"])
def test_an_entry_on_another_machine_is_refused(tmp_path, name):
    write_json(tmp_path, training=[{"image": name, "label": name}])
    with pytest.raises(UsageError):
        find_cases(tmp_path)


def test_every_entry_without_a_file_is_reported(tmp_path):
    volume(tmp_path / "a.nii")
    write_json(tmp_path, training=[{"image": "x.nii"}, {"image": "a.nii", "label": "y.nii"}, 5])
    with pytest.raises(DataErrors) as caught:
        find_cases(tmp_path)
    assert [type(error) for error in caught.value.errors] == [CaseError] * 3


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{", '{"training": 5}', '{"training": [[]]}', '{"modality": 3, "training": ["a"]}', "[" * 100_000]
    + ['{"training": [{"image": 5}]}', '{"modality": {"1": "x"}, "training": ["a"]}', "\x00\xff"]
    + ["{}", '{"training": [{"image": "a"}], "labels": {"x": Infinity}}', '{"labels": {"x": 1e400}}'],
)
def test_a_dataset_json_of_another_form_is_refused(tmp_path, text):
    (tmp_path / "dataset.json").write_text(text, encoding="latin-1")
    with pytest.raises(CaseError):
        find_cases(tmp_path)


# ---- CSV table ----------------------------------------------------------------------------------------------------


def table(folder, text, encoding="utf-8"):
    volume(folder / "a.nii", value=5)
    volume(folder / "m.nii")
    (folder / "cases.csv").write_text(text, encoding=encoding)
    return folder / "cases.csv"


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_table_names_patients_parts_and_anything_else(tmp_path, delimiter):
    text = "case,image,label,group,part,site\nx,a.nii,m.nii,p1,train,Rome\ny,a.nii,,p2,test,\n"
    path = table(tmp_path, text.replace(",", delimiter), "utf-8-sig")
    cases = find_cases(path)
    assert [(case.case_id, case.group, case.part) for case in cases] == [("x", "p1", "train"), ("y", "p2", "test")]
    assert (cases[0].columns, cases[1].mask) == ({"site": "Rome"}, None)
    assert cases == find_cases(tmp_path)
    assert sums(cases[:1]) == [1]


def test_a_table_can_have_several_channels(tmp_path):
    case = find_cases(table(tmp_path, "case,image_1,image_0\nx,m.nii,a.nii\n"))[0]
    assert [path.name for path in case.images] == ["a.nii", "m.nii"]
    assert read_image(case).array[1, 1, 1].tolist() == [5, 1]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("image\na.nii\n", "a column named case"),
        ("case,case,image\nx,x,a.nii\n", "no name twice"),
        ("case,picture\nx,a.nii\n", "one column image"),
        ("case,image_0,image_2\nx,a.nii,a.nii\n", "without a gap"),
        ("case,image\nx,b.nii\n", r"line 2: expected the file 'b.nii', found none"),
        ("case,image\nx,\n", "empty cell"),
        ("case,image,label\nx,a.nii\n", "as many cells as columns"),
        ("case,image\nx,a.nii,m.nii\n", "as many cells as columns"),
        ("case,image,part\nx,a.nii,trian\n", "found 'trian'"),
        ("case,image\nx,a.nii\nx,m.nii\n", "each case id once, found 'x' 2 times"),
        ("", "a column named case"),
        ("case,image\n", "expected cases, found none"),
    ],
)
def test_a_table_that_is_wrong_says_where(tmp_path, text, problem):
    with pytest.raises(CaseError, match=problem):
        find_cases(table(tmp_path, text))


def test_a_table_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "cases.csv").write_bytes(b"case,image\n\xff\xfe,\x00\n")
    with pytest.raises(CaseError, match="CSV table in UTF-8"):
        find_cases(tmp_path)


@pytest.mark.parametrize("name", ["gs://bucket/a.nii", "hf://a/b.nii", "https://host/a.nii"])
@pytest.mark.parametrize("column", ["image", "label"])
def test_a_table_that_names_a_file_on_another_machine_is_refused(tmp_path, name, column):
    cells = {"case": "x", "image": "a.nii", "label": "m.nii", column: name}
    with pytest.raises(UsageError, match="on this machine"):
        find_cases(table(tmp_path, ",".join(cells) + "\n" + ",".join(cells.values()) + "\n"))


def test_odd_names_in_a_table_become_safe_ids(tmp_path):
    path = table(tmp_path, 'case,image\n../../evil,a.nii\n"{epoch}, 1",m.nii\n')
    assert all(set(case.case_id).isdisjoint("/{}, ") for case in find_cases(path))
