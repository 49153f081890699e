from tests.naive import derivative

CASES = (
    ({"max_up": 1}, {"max_down": 3, "unit": "min", "hold": "10s"}),
    ({"max_up": 1, "window": "45s"}, {"max_down": 1, "window": "5m", "unit": "h", "hold": "1m"}),
)
ATOL = derivative.ATOL
naive = derivative.naive  # a rate limit is a derivative that has a condition
