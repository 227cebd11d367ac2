"""Forms that the PTX of the kernels must not contain, and why."""

from __future__ import annotations

import re

_FLOAT = r"f(?:16|16x2|32|64)"
FORBIDDEN = {
    rf"\b(?:fma|mad)\.[\w.]*\b{_FLOAT}\b": "contracts a product and a sum: one rounding where spec 1.3 has two",
    rf"\bdiv\.[\w.]*\b{_FLOAT}\b": "divides: some targets turn that into a product with the inverse; tables do it",
    r"\.approx\b": "is approximate",
    rf"\b(?:rcp|sqrt|rsqrt|ex2|lg2|sin|cos|tanh)\.[\w.]*\b{_FLOAT}\b": "is not needed and differs between targets",
    r"\b(?:ld|st)\.local\b|^\s*\.local\b": "uses local memory: a register array was indexed at run time",
    r"\b(?:atom|red)\.[\w.]*\b(?:f16|bf16|f16x2|f32|f64)\b": "adds floats in no fixed order",
    r"\bcall\b": "calls a function that was not inlined",
}


def forbidden(ptx: str) -> list[str]:
    """Each line of the PTX with a forbidden form, and what is wrong with it."""
    found = []
    for number, line in enumerate(ptx.splitlines(), 1):
        code = line.split("//")[0]
        found += [f"line {number}: `{code.strip()}` {why}" for form, why in FORBIDDEN.items() if re.search(form, code)]
    return found
