"""The desktop client: look at micrographs, compare, measure, run operations here or on a service.

Nothing is computed here: operations run in a child process of this machine, or in a service, and
both give the same files. The window is `everhart.desktop.window`; what napari needs is in
`everhart.desktop.napari`.
"""
