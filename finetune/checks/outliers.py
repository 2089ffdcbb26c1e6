"""Images unlike all others: far from their nearest neighbours among the features."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from finetune.checks.findings import Finding, Group
from finetune.checks.looked_through import LookedThrough

# More than a handful of odd images that are alike hide each other from fewer neighbours.
_NEIGHBOURS = 20

# Deviations from the median, by the median deviation, beyond which a distance is odd. Found with
# images of flowers among those of shoes, and the other way round: see docs/reliability.md.
_ODD = 3.0


def find_outliers(images: LookedThrough) -> list[Finding]:
    """Finds images whose nearest neighbours are far away.

    Args:
        images: The images, with features.

    Source: S. Ramaswamy et al., "Efficient Algorithms for Mining Outliers from Large Data Sets"
    (2000), for the distance to nearest neighbours as the measure.
    """
    assert images.features is not None
    # A copy is no neighbour: it would make two odd images ordinary.
    _, first = np.unique(np.array(images.together), return_index=True)
    if len(first) < 3 * _NEIGHBOURS:
        return []
    rows = np.sort(first)
    far = neighbour_distances(images.features[rows])
    middle = np.median(far)
    odd = (far - middle) / max(1.4826 * np.median(np.abs(far - middle)), 1e-12)
    chosen = [place for place in np.argsort(-odd, kind="stable") if odd[place] > _ODD]
    groups = [
        Group((int(rows[place]),), f"{far[place] / middle:.1f} times as far as usual")
        for place in chosen
    ]
    return [Finding("outlier", tuple(groups))] if groups else []


def neighbour_distances(features: np.ndarray) -> np.ndarray:
    """Mean cosine distance of each image to its nearest neighbours.

    Features are neither centred nor scaled: with either, planted images were no longer found.

    Args:
        features: (n, d); n above the number of neighbours, 20.
    """
    found = NearestNeighbors(n_neighbors=_NEIGHBOURS + 1, metric="cosine").fit(features)
    return found.kneighbors(features)[0][:, 1:].mean(axis=1)
