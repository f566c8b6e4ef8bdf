import nibabel
import numpy as np
import pytest
from matplotlib.image import imread

from mcc_keras.augmentation import Augmentation
from mcc_keras.augmentation.changes import CHANCES
from mcc_keras.augmentation.presets import NOTHING
from mcc_keras.datasets import find_cases, write_synthetic
from mcc_keras.errors import CaseError, OutputExistsError, UsageError
from mcc_keras.records.prepare import PreparedCase
from mcc_keras.reporting.preview import STRENGTHS, draw_changes, draw_page, prepared_draw, preview_augmentation


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preview") / "scans"
    return write_synthetic(folder, num_cases=3, size=(16, 14, 8), layout="pairs", foreground_fraction=0.05)


def pictures_of(figure):
    return [ax.images[0] for ax in figure.axes if ax.images]


def test_a_page_shows_the_case_and_its_draws_in_one_window():
    image = np.random.default_rng(0).normal(size=(6, 7, 8, 1)).astype(np.float32)
    case = PreparedCase("case", image, np.ones((6, 7, 8), np.uint8), (1.0, 1.0, 2.0))
    brighter = Augmentation(**{**NOTHING, "flip": (True, False, False), "brightness": 1.0})
    changed = [prepared_draw(brighter, case, seed=(0, draw)) for draw in range(2)]
    pictures = pictures_of(draw_page(case, changed))
    assert len(pictures) == 9
    assert np.allclose(pictures[0].get_array(), image[:, :, 3, 0].T)
    assert not np.allclose(pictures[3].get_array(), pictures[6].get_array())
    assert {picture.get_clim() for picture in pictures} == {tuple(np.percentile(image, (1, 99.5)))}


def test_each_change_by_itself_is_shown_in_the_slice_of_the_original():
    image = np.random.default_rng(0).normal(size=(6, 7, 8, 2)).astype(np.float32)
    mask = np.zeros((6, 7, 8), np.uint8)
    mask[2:4, 2:4, 5] = 1
    case = PreparedCase("case", image, mask, (1.0, 1.0, 2.0))
    figure = draw_changes(case, seed=0, strengths={"flip": (True, True, False), "channel_dropout": 0.9})
    titles = [ax.get_title() for ax in figure.axes if ax.images]
    pictures = [np.asarray(picture.get_array()) for picture in pictures_of(figure)]
    assert titles == ["as it is", "flip", "channel_dropout"]
    assert np.allclose(pictures[0], image[:, :, 5, 0].T)
    turns = [np.flip(pictures[0], axes) for axes in [(0,), (1,), (0, 1)]]
    assert any(np.allclose(pictures[1], turn) for turn in turns)
    assert np.ptp(pictures[2]) == 0


def test_every_change_has_a_strength_at_which_it_is_shown():
    assert set(STRENGTHS) == {"flip", *CHANCES} - {"translation_mm"}  # which looks like `translation`


def test_the_picture_is_written_and_the_scans_are_not_touched(source, tmp_path):
    before = {path: path.read_bytes() for path in source.rglob("*") if path.is_file()}
    path = preview_augmentation(source, tmp_path / "page.png", augment="paper", draws=2)
    assert imread(path).shape[:2] == (891, 880)  # three rows of 2.7 inches, 8 inches wide, 110 dots an inch
    assert {path: path.read_bytes() for path in source.rglob("*") if path.is_file()} == before
    with pytest.raises(OutputExistsError, match="page.png"):
        preview_augmentation(source, path)


def test_the_same_seed_draws_the_same_page(source, tmp_path):
    cases = find_cases(source)
    settings = [{"seed": 1}, {"seed": 1}, {"seed": 2}, {"seed": 1, "case_id": cases[1].case_id}]
    pages = [
        imread(preview_augmentation(cases, tmp_path / f"{index}.png", augment="paper", draws=1, **each))
        for index, each in enumerate(settings)
    ]
    assert np.array_equal(pages[0], pages[1])
    as_it_is, draw = np.s_[:290], np.s_[310:]  # the rows of the page
    assert np.array_equal(pages[0][as_it_is], pages[2][as_it_is])
    assert not np.array_equal(pages[0][draw], pages[2][draw])
    assert not np.array_equal(pages[0][as_it_is], pages[3][as_it_is])


@pytest.mark.parametrize(
    ("name", "settings", "problem"),
    [
        ("page.png", {"augment": False}, "augment=False"),
        ("page.png", {"augment": "heavy"}, "default, light, paper, strong"),
        ("page.png", {"draws": 0}, "draws=0"),
        ("page.doc", {}, "page.doc"),
    ],
)
def test_invalid_settings_are_refused_and_nothing_is_written(source, tmp_path, name, settings, problem):
    with pytest.raises(UsageError, match=problem):
        preview_augmentation(source, tmp_path / name, **settings)
    assert list(tmp_path.iterdir()) == []


def test_a_scan_by_another_name_is_not_overwritten(source, tmp_path):
    case = find_cases(source)[0]
    link = tmp_path / "page.png"
    link.hardlink_to(case.images[0])
    before = case.images[0].read_bytes()
    with pytest.raises(UsageError, match="must not be an input"):
        preview_augmentation([case], link, draws=1, overwrite=True)
    assert case.images[0].read_bytes() == before


def test_a_case_that_is_not_there_is_refused(source, tmp_path):
    with pytest.raises(CaseError, match="nobody"):
        preview_augmentation(source, tmp_path / "page.png", case_id="nobody")


def test_a_case_without_a_mask_is_not_chosen(tmp_path):
    scan = tmp_path / "case.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4), np.float32), np.eye(4)), scan)
    from mcc_keras.datasets import Case

    with pytest.raises(CaseError, match="case with a mask"):
        preview_augmentation([Case("case", (scan,))], tmp_path / "page.png")
