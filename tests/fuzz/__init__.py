"""Broken and hostile files against everything that reads files: a NetDissectError or success, nothing else.

``python -m tests.fuzz TARGET [SECONDS]`` searches (needs Atheris); ``pytest tests/fuzz`` replays what was found.
"""
