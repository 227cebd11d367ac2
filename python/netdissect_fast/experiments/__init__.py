"""The paper's experiments and the questions it left open: each is one function, uses dissect() or saved peaks only."""
