"""Pages from templates."""

from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape


def render(template: str, **values: Any) -> str:
    """A template of `templates/` with values, which are escaped in *.html.j2; a name that is not there is an error."""
    environment = Environment(
        loader=PackageLoader("pipeline.pages", "templates"),
        autoescape=select_autoescape(enabled_extensions=("html.j2",)),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["code"] = _code
    return environment.get_template(template).render(**values)


def _code(text: str) -> str:
    """Text of whatever kind as it stands, in Markdown and in its tables."""
    return "`" + " ".join(text.replace("`", "'").replace("|", "¦").split()) + "`"
