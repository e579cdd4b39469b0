"""How students are called on a page that a projector shows: by the name that they typed, by initials, or not at all."""

from labkit.workshop.classroom.journal import Student

MODES = {"names": "Names", "initials": "Initials", "none": "Hidden"}


def called(students: dict[int, Student], mode: str) -> dict[int, str]:
    """Seat -> what is shown. Initials that two share get a number; hidden students have the number of their seat."""
    if mode == "names":
        return {number: one.shown for number, one in students.items()}
    if mode != "initials":
        return {number: f"seat {number + 1}" for number in students}
    found, used = {}, dict[str, int]()
    for number, one in sorted(students.items()):
        short = initials(one.name)
        used[short] = used.get(short, 0) + 1
        found[number] = short if used[short] == 1 else f"{short}{used[short]}"
    return found


def initials(name: str) -> str:
    """The first letters of the first and the last word."""
    words = [word for word in name.split() if word[0].isalnum()] or name.split() or ["?"]
    return (words[0][0] + (words[-1][0] if len(words) > 1 else words[0][1:2])).upper()
