"""What a comparison is going to be, before it starts: its trainings, its hours, and what it can find."""

from mcc_keras.comparison.correlated import smallest_difference
from mcc_keras.evaluation.measures import MEASURES
from mcc_keras.training.plan import format_minutes

GUESSES = (0.005, 0.01, 0.02)  # standard deviations of the difference of two arms between folds


def describe_plan(plan, *, done=0, deviation=None, jobs=1):
    """Return a plan as lines of text.

    Args:
        plan: `Plan`.
        done: Cells that have a result.
        deviation: Standard deviation of the difference of two arms between folds, from earlier cells; `None`: unknown.
        jobs: Trainings at a time.
    """
    design = plan.design
    arms, cells = design.trained, len(design.trained) * design.folds * len(design.seeds)
    what = f"{len(arms)} arms × {_count(design.folds, 'fold')} × {_count(len(design.seeds), 'seed')}"
    steps = ", ".join(f"{plan.steps[arm.name]} of {arm.name}" for arm in arms)
    same = len({plan.steps[arm.name] for arm in arms}) == 1
    steps = f"{plan.steps[arms[0].name]} steps each" if same else f"as many cases for each: {steps} steps"
    yield f"cells     {what}: {cells} trainings, {steps}" + (f"; {done} are there" if done else "")
    for arm in design.arms:
        if arm.same_as:
            yield f"          {arm.name} is not trained: with one class it is {arm.same_as}"
    yield f"time      {_time(plan, cells - done, jobs)}"
    yield f"finds     {describe_findable(plan, deviation)}"


def describe_findable(plan, deviation):
    """Return in words the smallest difference that a plan finds with 80 % power.

    Args:
        plan: `Plan`.
        deviation: As in `describe_plan`.
    """
    design, head = plan.design, MEASURES[plan.design.measure].head
    if design.folds < 2:
        return "no difference between arms in general: that takes two folds or more; only one between these networks"
    tests = max(1, len(design.trained) - 1)
    known = (deviation,) if deviation is not None else GUESSES
    found = [
        f"{smallest_difference(guess, folds=design.folds, ratio=plan.ratio, tests=tests):.3f} where it varies by "
        f"{guess:.3f} between folds"
        for guess in known
    ]
    source = ", as earlier cells show" if deviation is not None else "; no earlier cells show by how much it does"
    return f"a difference in {head} with 80 % power if it is {', '.join(found)}{source}"


def _time(plan, left, jobs):
    arms = plan.design.trained
    seconds = {arm.name: plan.paces[arm.name].seconds(plan.steps[arm.name] * arm.recipe.accumulate) for arm in arms}
    cells = left * sum(seconds.values()) / len(arms)
    text = f"{format_minutes(cells / jobs)} of training" + (f" with {jobs} at a time" if jobs > 1 else "")
    if plan.design.sweep is not None:
        swept = len(plan.design.sweep[1]) * sum(seconds.values())
        text += f", and {format_minutes(swept)} for {len(arms) * len(plan.design.sweep[1])} trainings of the sweep"
    return f"{text}; scoring comes on top (measured on {plan.processor})"


def _count(number, noun):
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
