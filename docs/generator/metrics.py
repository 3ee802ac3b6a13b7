"""The table of `docs/metrics.md`, from the metrics themselves."""

from collections.abc import Mapping

from docs.generator.every_metric import every_metric
from docs.generator.schema import table


def regions() -> Mapping[str, str]:
    """One row for each metric."""
    rows = [
        (f"`{spec.name}`", spec.type, ", ".join(f"`{label}`" for label in spec.labels), spec.help)
        for spec in every_metric()
    ]
    return {"metrics": table(("Name", "Type", "Labels", "Meaning"), rows)}
