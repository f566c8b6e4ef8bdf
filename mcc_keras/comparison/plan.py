"""`plan.json`: everything that decides what the cells of a comparison are; written once, and never changed.

OUT/plan.json                       `Plan`
OUT/folds/k/work                    records of fold k
OUT/sweep/<arm>/<value>/            trainings that choose a value, and OUT/sweep.json, what they chose
OUT/cells/<arm>/fold0-seed0/        the run folder of a cell, scored on its validation and its test part
OUT/cells/<arm>/fold0-seed0.json    `CellResult`, written last
OUT/report.html, cells.csv, patients.csv, claims.csv, curves.csv
"""

import dataclasses
from pathlib import Path

from mcc_keras.comparison.arms import Arm
from mcc_keras.comparison.length import Pace
from mcc_keras.documents import parse_document, read_document, to_text, write_document
from mcc_keras.errors import OutputExistsError, RunError, UsageError
from mcc_keras.files import is_leftover, refuse_impossible_output, refuse_output_that_is_input

PLAN, LOCK, SWEEP = "plan.json", ".lock", "sweep.json"
SCHEMA = 1
_STARTED = ("folds", LOCK)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Design:
    """What a call asks for.

    Args:
        work: WORK folder.
        manifest_sha256: SHA-256 of its manifest.
        arms: `Arm`s.
        folds: Number of folds; 1 for the protocol of the paper.
        seeds: Seeds of the trainings.
        protocol: `"folds"` or `"paper"`.
        split_seed: Seed of the split.
        stratify: Variable of the split, or `None`.
        steps: Updates of a cell, or `None`.
        minutes_per_cell: The time that the steps were counted from, or `None`.
        sweep: Field and values that each arm chooses from, or `None`.
        measure: The primary measure.
        reference: Name of the arm that all others are compared with.
    """

    work: str
    manifest_sha256: str
    arms: tuple[Arm, ...]
    folds: int
    seeds: tuple[int, ...]
    protocol: str
    split_seed: int
    stratify: str | None
    steps: int | None
    minutes_per_cell: float | None
    sweep: tuple[str, tuple[str, ...]] | None
    measure: str
    reference: str

    @property
    def trained(self):
        """The `Arm`s that are trained, which are all but those that are the same as another."""
        return tuple(arm for arm in self.arms if arm.same_as is None)

    @property
    def noun(self):
        """What an arm is called: a loss, where nothing else differs."""
        rest = [dataclasses.replace(arm.recipe, loss="mcc", loss_arguments={}) for arm in self.arms]
        return "loss" if all(recipe == rest[0] for recipe in rest) else "arm"

    def arm(self, name):
        """Return the `Arm` of a name."""
        return next(arm for arm in self.arms if arm.name == name)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """What is done.

    Args:
        design: `Design`.
        splits: For each fold a dict part → case ids.
        ratio: Test patients of a fold by its training patients.
        paces: Arm name → `Pace`.
        steps: Arm name → updates of each of its cells.
        processor: Name of the processor on which the pace was measured.
    """

    design: Design
    splits: tuple[dict[str, tuple[str, ...]], ...]
    ratio: float
    paces: dict[str, Pace]
    steps: dict[str, int]
    processor: str


def refuse_folder(out, *, work, cases):
    """Refuse a folder that is neither new nor empty nor of a comparison.

    Raises:
        OutputExistsError: It holds something else.
        UsageError: It is WORK, or holds WORK or one of its scans.
    """
    out = Path(out)
    refuse_impossible_output(out / PLAN)
    refuse_output_that_is_input(out, [work, *(path for case in cases for path in (*case.images, case.mask))])
    if out.is_file():
        raise OutputExistsError(out, "a file", "Choose another folder.")
    if not out.is_dir() or (out / PLAN).is_file():
        return
    if not all(path.name in _STARTED or is_leftover(path) for path in out.iterdir()):
        raise OutputExistsError(out, "a folder that is not empty", "Choose another folder.")


def read_plan(out):
    """Return the `Plan` of a folder, `None` where there is none."""
    path = Path(out) / PLAN
    if not path.is_file():
        return None
    return read_document(path, Plan, schema=SCHEMA, error=RunError, way_out="Compare into another folder.")


def write_plan(plan, out):
    """Write the `Plan` of a comparison."""
    write_document(plan, Path(out) / PLAN, schema=SCHEMA)


def refuse_other_design(out, earlier, design):
    """Refuse to go on with a comparison of other settings.

    Raises:
        UsageError: With each setting that differs.
    """
    differing = []
    for field in dataclasses.fields(Design):
        old, new = getattr(earlier, field.name), getattr(design, field.name)
        if old != new:
            differing.append(_difference(field.name, old, new))
    if differing:
        raise UsageError(
            f"{out}: a comparison goes on only with its own settings. Received others: {'; '.join(differing)}."
            " Give those of the comparison, or choose another folder."
        )


def _difference(name, old, new):
    if name == "manifest_sha256":
        return "the records of WORK have changed since"
    if name == "arms":
        names = [[arm.name for arm in arms] for arms in (new, old)]
        if names[0] == names[1]:
            return "the settings of its arms"
        old, new = ", ".join(names[1]), ", ".join(names[0])
    return f"{name}={new}, it has {old}"


def normalized(design):
    """Return a `Design` as JSON would bring it back, with lists in place of tuples in arguments."""
    return parse_document(to_text(design, schema=SCHEMA), Design, path=PLAN, schema=SCHEMA)
