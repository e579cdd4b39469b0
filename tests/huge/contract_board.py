"""As much data as anybody will give to the view `contract_board`."""


def huge() -> dict:
    said = "at row 3 the layer answers something else than its reference, which is a sentence of some length " * 8
    checks = {f"property number {place} of the contract of layers holds": said for place in range(25)}
    layers = [
        {
            "name": f"ALayerWithALongName{place}",
            "package": "a-package",
            "version": "1.0.0",
            "ours": place < 300,
            "checks": checks,
        }
        for place in range(600)
    ]
    return {"layers": layers}
