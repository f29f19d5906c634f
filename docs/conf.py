"""How the documentation is built: ``sphinx-build -W -b html docs docs/_build``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from gpwarehouse import __version__

project = "gpwarehouse"
author = "The gpwarehouse authors"
project_copyright = "the gpwarehouse authors, Apache-2.0"
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinxcontrib.mermaid", "generated"]
exclude_patterns = ["_build"]

smartquotes = False  # they would make one dash of the two of an option

html_theme = "furo"
html_title = f"gpwarehouse {__version__}"
html_show_sphinx = False

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3
myst_fence_as_directive = ["mermaid"]

autodoc_mock_imports = ["airflow", "dagster", "prefect"]  # each needs an environment of its own
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "exclude-members": "inherit_cache, supports_statement_cache"}
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
python_use_unqualified_type_names = True
python_maximum_signature_line_length = 100
