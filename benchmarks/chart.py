"""The committed figures as a picture: one bar for each ratio, a mark where its target is."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

_LABELS, _SCALE, _ROW = 440, 300, 30
"""Pixels: of the names, of a ratio of 1, of one line."""
_END = 1.3
"""Ratio at the right edge."""


def chart(ratios: Mapping[str, float], targets: Mapping[str, float]) -> str:
    """An SVG; a bar that ends left of 1 is less than bare CCR takes."""
    width, height = _LABELS + int(_END * _SCALE) + 20, _ROW * (len(ratios) + 2)
    one = _LABELS + _SCALE
    head = 'xmlns="http://www.w3.org/2000/svg" font-family="sans-serif" font-size="13"'
    lines = [
        f'<svg {head} viewBox="0 0 {width} {height}">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        f'<text x="{one}" y="18" text-anchor="middle" fill="#555">bare CCR = 1</text>',
        f'<path d="M{one} 24V{height - 24}" stroke="#999" stroke-dasharray="4 3"/>',
    ]
    for number, (name, ratio) in enumerate(ratios.items(), 1):
        y, label = _ROW * number, escape(name.partition(": ")[2])
        end = _LABELS + int(min(ratio, _END) * _SCALE)
        lines += [
            f'<text x="{_LABELS - 10}" y="{y + 18}" text-anchor="end" fill="#123">{label}</text>',
            f'<rect x="{_LABELS}" y="{y + 4}" width="{end - _LABELS}" height="20" fill="#7aa7d0"/>',
            f'<text x="{_LABELS + 8}" y="{y + 18}" fill="#123">{ratio:.2f}</text>',
        ]
        if name in targets:
            mark = _LABELS + int(targets[name] * _SCALE)
            lines.append(f'<path d="M{mark} {y + 1}V{y + 27}" stroke="#a33" stroke-width="3"/>')
    legend = f"{_ROW * (len(ratios) + 1) + 18}"
    lines += [
        f'<path d="M{_LABELS + 4} {int(legend) - 14}v18" stroke="#a33" stroke-width="3"/>',
        f'<text x="{_LABELS + 12}" y="{legend}" fill="#555">target</text>',
        "</svg>\n",
    ]
    return "\n".join(lines)
