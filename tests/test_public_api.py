"""The public names: all of them resolve, explain themselves with an example, and keep their arguments by keyword."""

import dataclasses
import inspect

import pytest

import mcc_keras as mk

PACKAGES = (mk.datasets, mk.losses, mk.metrics, mk.models)
NAMES = [("mcc_keras", name) for name in mk.__all__]
NAMES += [(package.__name__, name) for package in PACKAGES for name in package.__all__]


def resolve(home, name):
    value = mk if home == "mcc_keras" else getattr(mk, home.rpartition(".")[2])
    return getattr(value, name)


CALLABLES = [pytest.param(resolve(*name), id=".".join(name)) for name in NAMES if callable(resolve(*name))]


PROMISED = {
    "mcc_keras": """
        AUCLoss Augmentation Case CrossEntropyLoss DenseVNet DiceLoss FocalLoss GeneralizedDiceLoss
        GeneralizedWassersteinDiceLoss MCCLoss Patches Preprocessing Recipe ResidualUNet
        ResumableRun SumLoss Task TverskyLoss UNet3D VNet Volume VoxResNet Window check_cases
        compare_losses datasets describe_environment errors evaluate explain export_saved_model find_cases fold_cases
        list_runs load_dataset losses metrics models pipeline plan_training preview_augmentation read_volume run_demo
        score segment segment_many segment_many_remote segment_remote show split_cases train
        try_mask_options verify_records view write_mask write_tfrecords
    """,
    "mcc_keras.datasets": "Case find_cases read_image read_mask write_synthetic",
    "mcc_keras.losses": """
        AUCLoss BRATS_DISTANCES CrossEntropyLoss DiceLoss FocalLoss GeneralizedDiceLoss GeneralizedWassersteinDiceLoss
        LOSSES MCCLoss SumLoss TverskyLoss get_loss
    """,
    "mcc_keras.metrics": """
        DiceScore EMPTY JaccardScore MatthewsCorrelationCoefficient Precision Sensitivity VolumetricSimilarity
        average_surface_distance_mm boundary_scores hausdorff_distance_mm region relative_score
        relative_volume_difference surface_dice surface_distances
    """,
    "mcc_keras.models": "DenseVNet MODELS ResidualUNet UNet3D VNet VoxResNet describe get_model transfer_weights",
}


@pytest.mark.parametrize("package", [mk, *PACKAGES], ids=lambda package: package.__name__)
def test_the_public_names_are_the_ones_that_were_promised_and_no_others(package):
    assert set(package.__all__) == set(PROMISED[package.__name__].split())


@pytest.mark.parametrize(("home", "name"), NAMES)
def test_a_public_name_resolves_to_something_of_ours_with_a_docstring(home, name):
    value = resolve(home, name)
    module = value.__name__ if inspect.ismodule(value) else getattr(value, "__module__", "mcc_keras")
    assert module.startswith("mcc_keras")
    assert inspect.getdoc(value)


@pytest.mark.parametrize("function", CALLABLES)
def test_a_public_function_or_class_shows_an_example(function):
    assert ">>> " in inspect.getdoc(function)


# Of a value, a dataclass, the arguments are its fields.
@pytest.mark.parametrize("function", [case for case in CALLABLES if not dataclasses.is_dataclass(*case.values)])
def test_at_most_three_arguments_go_by_position(function):
    parameters = inspect.signature(function).parameters.values()
    positional = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    assert len(positional) <= 3, positional


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="mcc_los"):
        _ = mk.mcc_los
