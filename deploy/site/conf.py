"""Sphinx's settings of the site; deploy/site/pages.py makes the folder that it reads."""

project = "vim-event-federation"
extensions = ["myst_parser"]
root_doc = "index"
myst_heading_anchors = 6
# Excerpts with an ellipsis are no JSON and no TOML: they are shown without colours.
suppress_warnings = ["misc.highlighting_failure"]
highlight_language = "text"
html_theme = "furo"
html_title = project
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
