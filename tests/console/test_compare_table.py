from rich.console import Console

from console.compare import results

SPREAD = {"mean": 0.8, "spread": 0.0}
LEAD = {"value": 0.1, "low": 0.0, "high": 0.2}


def row(recipe, validation, **retained):
    ways = {way: {"mean": 0.5, "spread": 0.25, "lead": LEAD} for way in ("text_to_image", "image_to_text")}
    chosen = {f"val_{way}_recall@1": validation for way in ways}
    return {"recipe": recipe, "front": False, "validation": chosen, "retained": retained, **ways}


def test_a_share_stands_in_the_column_of_its_classes():
    base = {"text_to_image": 0.4, "image_to_text": 0.3}
    rows = [row("one", 0.1, zeroshot=SPREAD), row("other", 0.2, zeroshot_unseen=SPREAD)]
    console = Console(width=150, record=True)
    teachers = [{"teacher": "large", **row("", 0.3, zeroshot=SPREAD)}]
    console.print(results(rows, teachers, base, "one"))
    lines = [line for line in console.export_text().splitlines() if line.startswith("│")]
    cells = {line[0]: line[1:] for line in ([c.strip() for c in line.strip("│").split("│")] for line in lines)}
    assert list(cells) == ["other", "one", "teacher large"], "the best on validation data first, then teachers"
    assert cells["one"][-2:] == ["0.800 ± 0.000", ""]
    assert cells["other"][-2:] == ["", "0.800 ± 0.000"]
    assert cells["teacher large"] == ["0.600", "0.500", "0.500", "+0.100 (+0.000 to +0.200)", "0.800", ""]
