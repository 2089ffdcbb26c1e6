"""Images unlike all others: far from their nearest neighbours among the features."""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from finetune.checks.findings import Finding, Group
from finetune.checks.looked_through import LookedThrough

_NEIGHBOURS = 10

# Deviations from the median, by the median deviation, beyond which a distance is odd. Of normal
# distances one in 4,000 is (B. Iglewicz, D. Hoaglin, "How to Detect and Handle Outliers", 1993).
_ODD = 3.5


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
    far = np.log(neighbour_distances(images.features[rows]) + 1e-12)
    middle = np.median(far)
    spread = 1.4826 * np.median(np.abs(far - middle))
    odd = (far - middle) / max(spread, 1e-12)
    chosen = [place for place in np.argsort(-odd, kind="stable") if odd[place] > _ODD]
    groups = [
        Group((int(rows[place]),), f"{np.exp(far[place] - middle):.1f} times as far as usual")
        for place in chosen
    ]
    return [Finding("outlier", tuple(groups))] if groups else []


def neighbour_distances(features: np.ndarray) -> np.ndarray:
    """Mean distance of each image to its nearest neighbours, on standardized features.

    Args:
        features: (n, d); n above the number of neighbours, 10.
    """
    spread = features.std(axis=0)
    scaled = (features - features.mean(axis=0)) / np.where(spread > 1e-6, spread, 1)
    scaled /= np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-12)
    found = NearestNeighbors(n_neighbors=_NEIGHBOURS + 1).fit(scaled)
    return found.kneighbors(scaled)[0][:, 1:].mean(axis=1)
