"""The expressions that many panels are made of, for one service's metrics."""

from __future__ import annotations

from dataclasses import dataclass

INTERVAL = "[$__rate_interval]"


@dataclass(frozen=True)
class Queries:
    """Expressions over the metrics of one service; ``matching`` narrows every series, say to chosen instances."""

    service: str
    matching: str = ""

    def now(self, name: str, *matchers: str) -> str:
        """Return a metric as it is."""
        inside = ", ".join(filter(None, (self.matching, *matchers)))
        return f"ptz_{self.service}_{name}" + (f"{{{inside}}}" if inside else "")

    def rate(self, name: str, by: str = "") -> str:
        """Return how much a counter grows a second, summed by labels."""
        grouped = f"sum by ({by})" if by else "sum"
        return f"{grouped} (rate({self.now(f'{name}_total')}{INTERVAL}))"

    def quantile(self, share: float, name: str, by: str = "") -> str:
        """Return what so large a share of a histogram's values lies below."""
        grouped = ", ".join(filter(None, ("le", by)))
        return f"histogram_quantile({share}, sum by ({grouped}) (rate({self.now(f'{name}_bucket')}{INTERVAL})))"

    def quantiles(self, name: str) -> dict[str, str]:
        """Return median and 95 % of a histogram, by legend."""
        return {"median": self.quantile(0.5, name), "95 %": self.quantile(0.95, name)}

    def age(self, name: str) -> str:
        """Return the seconds since a time that a metric holds; nothing while there is none."""
        return f"time() - ({self.now(f'{name}_timestamp_seconds')} > 0)"
