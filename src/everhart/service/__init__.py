"""The service: images, jobs and results over HTTP, for a laptop or a team.

It holds no science: what it runs is in :mod:`everhart.operations`, so that its numbers are those
of the command line. The server process never decodes an image and never loads a network; both
happen in child processes under limits (:mod:`everhart.service.compute`).
"""
