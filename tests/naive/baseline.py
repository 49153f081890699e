"""Mean and deviation that control charts learn, for their twins."""

import math


class Past:
    """Values that a baseline was learned from, older ones with less weight once it is full."""

    def __init__(self, params):
        self.params = params
        self.given = params.mean is not None and params.std is not None
        self.weights, self.values = [], []

    def learns(self):
        """Whether one more known sample is learned from instead of judged."""
        return not self.given and math.fsum(self.weights) < self.params.learn - 0.5

    def add(self, x, longest=math.inf):
        if self.given:
            return
        n = math.fsum(self.weights)
        if n > longest - 0.5:
            self.weights = [w * (longest - 1) / n for w in self.weights]
        self.weights.append(1)
        self.values.append(x)

    def add_on(self, x, budget):
        """What a judged sample adds where there is a budget of false alarms."""
        self.add(x, max(int(budget.length / 8), self.params.learn))

    def baseline(self):
        """Mean and standard deviation from what was given and what was learned."""
        p, n = self.params, math.fsum(self.weights)
        mean, std = p.mean, p.std
        if not self.given:
            pairs = list(zip(self.weights, self.values, strict=True))
            own = self.values[0] + math.fsum(w * (x - self.values[0]) for w, x in pairs) / n
            m2 = math.fsum(w * (x - own) ** 2 for w, x in pairs)
            mean = own if mean is None else mean
            floor = max(p.min_std, p.min_std_share * abs(mean))
            std = max(math.sqrt(m2 / (n - 1)), floor) if std is None else std
        return mean, std
