import json

import pytest

from mcc_keras.errors import LabelError
from mcc_keras.formats.dicom_seg import TISSUE, Code
from mcc_keras.segmentation.codes import find_segments
from mcc_keras.task import Task

TASK = Task(labels=((1, 2), (4,)), names=("Tumor", "cyst"))
ORGAN = {"value": "123037004", "scheme": "SCT", "meaning": "Anatomical Structure"}
LIVER = {"value": "10200004", "scheme": "SCT", "meaning": "Liver"}
BOTH = {"category": ORGAN, "type": LIVER}


def write(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize("key", ["4", "cyst", "Cyst"])
def test_codes_are_named_by_label_or_name(tmp_path, key):
    path = write(tmp_path / "codes.json", {key: BOTH})
    with pytest.warns(UserWarning, match=r"No codes for Tumor: written as Tissue \(SCT 85756007\)\. Name them with"):
        tumor, cyst = find_segments(TASK, path)
    assert (tumor.label, tumor.name, tumor.type) == (1, "Tumor", TISSUE)
    assert (cyst.label, cyst.name, cyst.category, cyst.type) == (4, "cyst", Code(**ORGAN), Code(**LIVER))


@pytest.mark.parametrize(
    "content, message",
    [
        ({"4": BOTH, "liver": BOTH, "9": BOTH}, r"labels 1 \(Tumor\), 4 \(cyst\), found also 'liver', '9'"),
        ({"2": BOTH}, r"found also '2'"),
        ({"4": BOTH, "cyst": BOTH}, "expected each label once, found 'cyst' beside another"),
        ({"4": {"type": LIVER}}, "4: .*`category`"),
        ({"4": BOTH | {"color": 1}}, "4: expected known keys only, found also color"),
        ({"4": {"category": ORGAN, "type": LIVER | {"value": "x" * 17}}}, "4: .*`value` of a code must have 1 to 16"),
        ({"4": {"category": ORGAN, "type": LIVER | {"value": 7}}}, "4: expected `str`, got `int`"),
        ([1], "expected a JSON object, found list"),
        ("{", "expected JSON in UTF-8"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_it(tmp_path, content, message):
    path = write(tmp_path / "codes.json", content)
    with pytest.raises(LabelError, match=rf"codes\.json.*{message}") as caught:
        find_segments(TASK, path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(LabelError, match="expected a JSON file, found: No such file"):
        find_segments(TASK, tmp_path / "codes.json")
