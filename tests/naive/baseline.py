"""Mean and deviation that control charts learn, for their twins."""

import math
import statistics


def learns(params, past):
    """Whether one more known sample is learned from instead of judged."""
    return (params.mean is None or params.std is None) and len(past) < params.learn


def baseline(params, past):
    """Mean and standard deviation from what was given and the values `past`."""
    mean = params.mean if params.mean is not None else statistics.fmean(past)
    if params.std is not None:
        return mean, params.std
    own = statistics.fmean(past)
    std = math.sqrt(math.fsum((x - own) ** 2 for x in past) / (len(past) - 1))
    return mean, max(std, params.min_std, params.min_std_share * abs(mean))
