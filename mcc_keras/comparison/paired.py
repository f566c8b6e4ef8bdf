"""Two networks on the same patients: what may be said of these networks, on such patients.

Nothing here knows how a network came about. Another seed or another training part gives another network, so that none
of these numbers supports a claim about a loss; see `correlated`.
"""

import dataclasses

import numpy as np

from mcc_keras.evaluation.statistics import summarize


@dataclasses.dataclass(frozen=True, kw_only=True)
class PairedPatients:
    """Differences of two networks over patients, rival − reference.

    Args:
        n: Patients with a score of both.
        mean: Mean difference; `None` without patients, as all below.
        low: Lower end of its 95 % interval, by drawing patients; `None` with one patient.
        high: Upper end.
        shift: Hodges–Lehmann shift.
        p: Two-sided p-value of Wilcoxon's signed-rank test.
        false_claim: Probability that the claim "the one with the better mean is better" is false.
    """

    n: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    shift: float | None = None
    p: float | None = None
    false_claim: float | None = None


def compare_patients(reference, rival, *, seed=0):
    """Return the `PairedPatients` of two arrays of scores, one score per patient in the same order.

    Args:
        reference: Scores, or `None` or NaN for a blank.
        rival: Scores of the same patients.
        seed: Integer seed of the interval.

    Example:

    >>> found = compare_patients([0.70, 0.80, 0.75, 0.90], [0.74, 0.83, 0.79, None])
    >>> found.n, round(found.mean, 4), round(found.shift, 4), found.p
    (3, 0.0367, 0.0375, 0.25)
    """
    reference, rival = np.array(reference, float), np.array(rival, float)
    both = np.isfinite(reference) & np.isfinite(rival)
    reference, rival = reference[both], rival[both]
    if not reference.size:
        return PairedPatients(n=0)
    differences = rival - reference
    spread = summarize(differences, range(differences.size), seed=seed)
    better, other = (rival, reference) if differences.mean() >= 0 else (reference, rival)
    return PairedPatients(
        n=spread.n,
        mean=spread.mean,
        low=spread.low,
        high=spread.high,
        shift=hodges_lehmann(differences),
        p=signed_rank(differences),
        false_claim=false_claim_probability(better, other) if spread.n > 1 else None,
    )


def hodges_lehmann(differences):
    """Return the Hodges–Lehmann estimate of the shift: the median of the means of all pairs, each with itself as well.

    Args:
        differences: Array (n,).

    Example:

    >>> hodges_lehmann([1.0, 2.0, 6.0])  # of 1, 1.5, 3.5, 2, 4, 6
    2.75

    References:
        Hodges and Lehmann, Estimates of Location Based on Rank Tests, Annals of Mathematical Statistics 34, 1963.
    """
    differences = np.asarray(differences, float)
    first, second = np.triu_indices(differences.size)
    return float(np.median((differences[first] + differences[second]) / 2))


def signed_rank(differences):
    """Return the two-sided p-value of Wilcoxon's signed-rank test; 1 where all differences are 0.

    Args:
        differences: Array (n,). Differences of 0 are left out, as Wilcoxon did.

    Example:

    >>> signed_rank([0.1, 0.2, 0.3, 0.4, 0.5])  # 2 of 2⁵ signs
    0.0625

    References:
        Wilcoxon, Individual Comparisons by Ranking Methods, Biometrics Bulletin 1, 1945.
    """
    from scipy.stats import wilcoxon  # here, since its import takes long

    differences = np.asarray(differences, float)
    differences = differences[differences != 0]
    return float(wilcoxon(differences).pvalue) if differences.size else 1.0


def false_claim_probability(better, other):
    """Return the probability that "`better` outperforms `other`" is false, from scores of the same patients.

        P = T₍ₙ₋₁₎(√n (μ_B − μ_A) / √(s_A² + s_B² − 2 s_A s_B r))

    with means μ, standard deviations s and correlation r of A (`better`) and B (`other`), and Student's distribution
    function T: the tail of a one-sided paired t-test, or the posterior probability without prior knowledge.

    Args:
        better: Scores of the one that is claimed to be better, two or more; higher scores are better.
        other: Scores of the other.

    Example:

    >>> round(false_claim_probability([0.9, 0.8, 0.7], [0.8, 0.75, 0.69]), 3)
    0.09

    References:
        Christodoulou et al., False Promises in Medical Imaging AI? Assessing Validity of Outperformance Claims, 2025,
        arXiv 2505.04720.
    """
    better, other = np.asarray(better, float), np.asarray(other, float)
    covariance = np.cov(better, other)
    return false_claim_of_summary(
        (better.mean(), other.mean()),
        (covariance[0, 0] ** 0.5, covariance[1, 1] ** 0.5),
        n=better.size,
        covariance=covariance[0, 1],
    )


def false_claim_of_summary(means, deviations, *, n, correlation=None, covariance=None):
    """Return the probability of a false claim from what a paper reports; see `false_claim_probability`.

    Args:
        means: (μ_A, μ_B); the claim is that A is better, which is to have the higher mean.
        deviations: (s_A, s_B).
        n: Number of patients.
        correlation: r, in place of the covariance.
        covariance: s_A s_B r.

    Example:

    >>> [round(false_claim_of_summary((0.90, 0.88), (0.1, 0.1), n=50, correlation=r), 3) for r in (0.0, 0.9)]
    [0.161, 0.001]
    """
    from scipy.special import stdtr  # here, since its import takes long

    (a, b), (s_a, s_b) = means, deviations
    covariance = s_a * s_b * correlation if covariance is None else covariance
    variance = max(0.0, s_a**2 + s_b**2 - 2 * covariance)
    if variance <= 1e-12 * (s_a**2 + s_b**2):  # all patients differ by the same
        return 0.5 if a == b else float(b > a)
    return float(stdtr(n - 1, n**0.5 * (b - a) / variance**0.5))
