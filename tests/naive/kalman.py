import math

import numpy as np

from tests.naive import Row

CASES = (
    ({"q": 0.5, "r": 2}, {"q": 0.01, "r": 1e-4, "model": "trend"}),
    ({"q": 1e-3, "r": 4, "model": "trend"},),
)
RTOL = 1e-7
ATOL = 1e-4  # the wild sample of 1e9 leaves its rounding behind until it is forgotten


def naive(params, events):
    """The least squares problem itself, of which QR keeps what the last state needs."""
    size = 2 if params.model == "trend" else 1
    root, right, last = np.zeros((0, size)), np.zeros(0), None
    for e in events:
        if not hasattr(e, "value"):
            continue
        if not e.known:
            yield Row(e.t_ns, e.t_ns, math.nan, 2)
            continue
        if last and e.t_ns > last:
            root, right = moved(root, right, (e.t_ns - last) / 1e9, params, size)
        last = e.t_ns
        seen = np.eye(1, size) / math.sqrt(params.r)
        root = np.vstack((root, seen))
        right = np.append(right, e.value / math.sqrt(params.r))
        q, root = np.linalg.qr(root)
        right = q.T @ right
        level = np.linalg.lstsq(root, right)[0][0]
        yield Row(e.t_ns, e.t_ns, float(level), e.quality)


def moved(root, right, dt, params, size):
    """The same knowledge about the state `dt` seconds later."""
    noise = np.array([[dt**3 / 3, dt**2 / 2], [dt**2 / 2, dt]]) if size == 2 else np.array([[dt]])
    weight = np.linalg.inv(np.linalg.cholesky(params.q * noise))
    forth = np.array([[1, dt], [0, 1]]) if size == 2 else np.eye(1)
    rows = np.block([[root, np.zeros((len(root), size))], [-weight @ forth, weight]])
    q, whole = np.linalg.qr(rows)
    rest = q.T @ np.append(right, np.zeros(size))
    return whole[size:, size:], rest[size:]
