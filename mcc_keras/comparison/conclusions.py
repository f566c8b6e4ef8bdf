"""What may be concluded and what not, in sentences that the numbers of an `Analysis` generate."""

from mcc_keras.comparison.correlated import ROPE
from mcc_keras.comparison.decision import LEVEL
from mcc_keras.evaluation.measures import MEASURES

SURE = 0.95


def conclude(plan, analysis):
    """Return three lists of sentences: on these networks, on the arms as such, and what must not be concluded.

    Args:
        plan: `Plan`.
        analysis: `Analysis`.
    """
    design = plan.design
    head = MEASURES[design.measure].head
    networks = [_on_networks(claim, design.reference, head) for claim in analysis.claims]
    arms = [_on_arm(claim, design.reference, head, analysis) for claim in analysis.claims]
    for arm in design.arms:
        if arm.same_as:
            networks.append(f"{arm.name} is {arm.same_as} where there is one class; it was not trained by itself.")
    if analysis.folds < 2:
        arms = [f"Nothing may be concluded of the {design.noun}: the scores come from fewer than two folds."]
    return networks, arms, list(_limits(plan, analysis))


def describe_noise(plan, analysis):
    """Return sentences on how far two seeds of one arm are apart."""
    head = MEASURES[plan.design.measure].head
    if len(plan.design.seeds) < 2:
        return [
            "Noise between seeds: unknown, since each cell was trained with one seed. A second one would show by how "
            "much two networks of one arm differ by chance alone."
        ]
    found = [
        f"{arm.name}: two seeds differ by {arm.noise.mean:.3f} in the mean {head} of a fold on average, by "
        f"{arm.noise.largest:.3f} at most, and by {arm.noise.of_patients:.3f} on a patient ({arm.noise.pairs} pairs)."
        for arm in analysis.arms
        if arm.same_as is None and arm.noise.pairs
    ]
    return found or ["Noise between seeds: unknown, since no fold has two seeds of all arms yet."]


def describe_failures(analysis):
    """Return sentences on cells that did not end, or collapsed, and on what is missing."""
    found = []
    for arm in analysis.arms:
        counts = {
            "became NaN or infinite and count as cells that find nothing": arm.diverged,
            "collapsed to a mean Dice below 0.05 and count as they are": arm.collapsed,
            "failed for a reason outside of the training, and are in no number": arm.failed,
        }
        if arm.same_as is None:
            found += [f"{arm.name}: {count} of {arm.planned} cells {what}." for what, count in counts.items() if count]
    if analysis.missing:
        more = f" and {len(analysis.missing) - 5} more" if len(analysis.missing) > 5 else ""
        found.append(f"Not there yet: {'; '.join(analysis.missing[:5])}{more}.")
    return found or ["No cell failed, became NaN or collapsed, and none is missing."]


def _on_networks(claim, reference, head):
    found = claim.patients
    if found.n < 2:
        return f"{claim.name} and {reference}: fewer than two patients have a score of both."
    text = (
        f"{claim.name} scored {found.mean:+.3f} {head} against {reference} on {found.n} patients (95 % interval "
        f"{found.low:+.3f} to {found.high:+.3f}, Hodges–Lehmann shift {found.shift:+.3f}, Wilcoxon p "
        f"{_p(found.p)}). "
    )
    better, other = (claim.name, reference) if found.mean >= 0 else (reference, claim.name)
    text += f"The claim that these networks of {better} are better than those of {other} is wrong with probability "
    text += f"{_p(found.false_claim)}: "
    return text + ("it may be made." if found.false_claim < LEVEL else "it may not be made.")


def _on_arm(claim, reference, head, analysis):
    if claim.p is None:
        return f"{claim.name}: too few folds."
    text = f"{claim.name} against {reference}: {claim.mean:+.3f} {head} over {analysis.folds} folds (95 % interval "
    text += f"{claim.low:+.3f} to {claim.high:+.3f}; p {_p(claim.p_holm)} after Holm). "
    if claim.p_holm < LEVEL:
        text += f"The difference holds for {claim.name} as such, on data like these. "
    elif claim.within > SURE:
        text += f"The two are equivalent within ± {ROPE} with probability {claim.within:.2f}. "
    else:
        text += "No difference may be concluded, nor that there is none: at this spread between folds, one of "
        text += f"{claim.findable:.3f} would have been found with 80 % power. "
    chances = f"worse by more than {ROPE} {claim.below:.2f}, equivalent {claim.within:.2f}, better {claim.above:.2f}"
    return f"{text}Probabilities: {chances}."


def _limits(plan, analysis):
    design = plan.design
    yield (
        f"One data set of {analysis.patients} patients, one length of training; other data, other networks and longer "
        "trainings may give another order."
    )
    if design.sweep is None:
        yield "All had one learning rate, which may favour one of them; a sweep lets each choose its own."
    if design.folds < 2:
        yield "One split into training, validation and test part: another split may give another winner."
    elif analysis.folds < design.folds:
        yield f"{design.folds - analysis.folds} of {design.folds} folds are in no comparison yet."
    if len(design.seeds) < 2:
        yield "One seed: every score includes the luck of that seed."
    if len(analysis.claims) > 1:
        yield "Only differences from the reference are tested; which of the others is better than another is not."
    if analysis.other_winner is not None:
        yield (
            f"A test part of 10 % of the patients would have named another winner in {analysis.other_winner:.0%} of "
            "the draws."
        )


def _p(value):
    return "below 0.001" if value < 0.001 else f"{value:.3f}"
