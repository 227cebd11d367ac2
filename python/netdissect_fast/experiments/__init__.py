"""The paper's experiments and the questions it left open: each is one function on top of dissect() or saved peaks."""
