"""Which frequencies a signal is made of: the power density of a block of even samples."""

from pipelines.batch import F8
from pipelines.jit import kernel


@kernel
def transform(re: F8, im: F8, h: int, cosine: F8, sine: F8) -> None:
    """Fourier transform in place of the first `h` complex numbers; tables of 2 h angles.

    Radix 2, iterative (Cooley & Tukey 1965).
    """
    j = 0
    for i in range(1, h):
        bit = h >> 1
        while j & bit:
            j ^= bit
            bit >>= 1
        j |= bit
        if i < j:
            re[i], re[j] = re[j], re[i]
            im[i], im[j] = im[j], im[i]
    half = 1
    while half < h:
        stride = h // half
        for start in range(0, h, 2 * half):
            for k in range(half):
                c, d, a, b = cosine[k * stride], sine[k * stride], start + k, start + k + half
                x, y = re[b] * c + im[b] * d, im[b] * c - re[b] * d
                re[b], im[b] = re[a] - x, im[a] - y
                re[a], im[a] = re[a] + x, im[a] + y
        half *= 2


@kernel
def densities(re: F8, im: F8, h: int, cosine: F8, sine: F8, scale: float) -> None:
    """Turn the transform of a signal's pairs (even sample, odd sample) into its power density.

    re[k] becomes the density of line k < h, im[0] that of line h: `scale` times the squares of
    the line of all 2 h samples, twice that between the ends, where two lines are one.
    """
    for k in range(1, h // 2 + 1):
        a, b, c, d = re[k], im[k], re[h - k], im[h - k]
        even_re, even_im, odd_re, odd_im = (a + c) / 2, (b - d) / 2, (b + d) / 2, (c - a) / 2
        turned_re = cosine[k] * odd_re + sine[k] * odd_im
        turned_im = cosine[k] * odd_im - sine[k] * odd_re
        near_re, near_im = even_re + turned_re, even_im + turned_im
        far_re, far_im = even_re - turned_re, even_im - turned_im
        re[k] = 2 * scale * (near_re * near_re + near_im * near_im)
        re[h - k] = 2 * scale * (far_re * far_re + far_im * far_im)
    first, last = re[0] + im[0], re[0] - im[0]
    re[0], im[0] = scale * first * first, scale * last * last
