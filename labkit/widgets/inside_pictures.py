"""The pictures of an inspection, by chapter: what notebooks, the dashboard and exported pages show of any model."""

from labkit.widgets.activation_pictures import activations, sparsity
from labkit.widgets.picture import Picture
from labkit.widgets.routing_pictures import routing
from labkit.workbench.inspection import Inspection


def chapters(found: Inspection) -> dict[str, list[Picture]]:
    """Chapter -> its pictures; chapters without any are left out."""
    every = {
        "Routing": routing(found.measurements),
        "Activations": activations(found.measurements),
        "Sparsity": sparsity(found.measurements),
    }
    return {name: pictures for name, pictures in every.items() if pictures}
