"""Write `.dvc/plots.html`, the page that `dvc plots show` and `dvc plots diff` fill: Vega is part of it.

DVC's own page loads Vega from the network and stays blank without one.
"""

import argparse
from pathlib import Path

import vl_convert

from stages.core.errors import run
from stages.core.files import write_text

VEGA_LITE = "5.20"  # of the generation that DVC's plot templates are written for

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
{refresh_tag}
<title>Plots</title>
<style>
  :root { color-scheme: light; }
  body { margin: 0; padding: 1rem; background: #f6f7f9; color: #1b1f24; font: 15px/1.45 system-ui, sans-serif; }
  main { display: flex; flex-wrap: wrap; gap: 1rem; align-items: flex-start; }
  main > * { background: #fff; border: 1px solid #d8dde3 !important; border-radius: 8px; padding: 1rem;
             max-width: calc(100vw - 4rem); box-sizing: border-box; overflow-x: auto; }
  main p { margin: 0 0 .5rem; font-weight: 600; overflow-wrap: anywhere; }
  main img { max-width: 100%; height: auto; }
  main div:has(> div > img) { display: flex !important; flex-flow: row wrap !important; max-width: 100%; }
  summary { cursor: pointer; padding: 1rem 0; }
  @media print { body { background: #fff; padding: 0; } main > * { break-inside: avoid; } }
</style>
<script>{vega}</script>
</head>
<body>
<main>
{plot_divs}
</main>
<details id="undefined" hidden>
<summary>Tables without a definition of their own in dvc.yaml</summary>
<main></main>
</details>
<script>
  // DVC also draws the last column of every table that a stage lists; the definitions above draw them better.
  const rest = document.getElementById("undefined");
  for (const plot of document.querySelectorAll('main > [id$="_csv"]')) {
    rest.querySelector("main").append(plot);
    rest.hidden = false;
  }
</script>
</body>
</html>
"""


def page() -> str:
    """The template: DVC fills in `{refresh_tag}` and `{plot_divs}`."""
    bundle = vl_convert.javascript_bundle(vl_version=VEGA_LITE)  # type: ignore[call-arg]  # its default is right
    vega = bundle.replace("</script", "<\\/script")
    return PAGE.replace("{vega}", vega)


def main() -> None:
    """Write the template."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("page", type=Path, nargs="?", default=Path(".dvc/plots.html"))
    write_text(parser.parse_args().page, page())


if __name__ == "__main__":
    run(main)
