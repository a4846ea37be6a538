"""The browser side, as static files: one canvas module and the pages that host it.

`canvas/` draws an image with its mask, its doubt and a person's prompts; it knows no server.
`studio/` is the page at the root of ``penumbra serve``. Plain ES modules, served as they are.
"""
