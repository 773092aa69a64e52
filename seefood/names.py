"""Names as people write them: the data set's `creme_brulee` is "Crème brûlée"."""

NOT_FOOD = "not_food"

_IRREGULAR = {
    "creme_brulee": "Crème brûlée",
    "cup_cakes": "Cupcakes",
}


def display_name(label: str) -> str:
    """The name of a label that a person reads: spaces for underscores, one capital, accents where they belong."""
    words = label.replace("_", " ").strip()
    return _IRREGULAR.get(label) or words[:1].upper() + words[1:]
