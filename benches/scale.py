"""Reads the lines of `scale` and writes `scale.svg`; prints the table for README.md.

    target/dist/scale | tee scale.jsonl && python3 benches/scale.py scale.jsonl docs/scale.svg
"""

import json
import math
import sys

WIDTH, HEIGHT, PAD = 300, 180, 44
OURS, FLOOR = "#c2410c", "#64748b"


def text(ns):
    for limit, unit in ((1e3, "ns"), (1e6, "µs"), (1e9, "ms")):
        if ns < limit:
            return f"{ns / (limit / 1e3):.3g} {unit}"
    return f"{ns / 1e9:.3g} s"


def chart(curve, points, left, top):
    sizes = [math.log10(p["n"]) for p in points]
    times = [math.log10(t) for p in points for t in (p["ours"], p["floor"]) if t > 0]
    low, high = math.floor(min(times)), math.ceil(max(times) + 0.01)
    x = lambda n: left + PAD + (math.log10(n) - sizes[0]) / (sizes[-1] - sizes[0]) * (WIDTH - PAD - 12)
    y = lambda t: top + HEIGHT - 30 - (math.log10(t) - low) / (high - low) * (HEIGHT - 60)
    out = [f'<text x="{left + 8}" y="{top + 16}" font-weight="600">{curve}</text>']
    for power in range(low, high + 1):
        at = y(10**power)
        out.append(f'<line x1="{left + PAD}" x2="{left + WIDTH - 12}" y1="{at:.1f}" y2="{at:.1f}" stroke="#e2e8f0"/>')
        out.append(f'<text x="{left + PAD - 4}" y="{at + 4:.1f}" text-anchor="end">{text(10**power)}</text>')
    for p in points:
        out.append(f'<text x="{x(p["n"]):.1f}" y="{top + HEIGHT - 12}" text-anchor="middle">{p["n"]:g}</text>')
    for key, colour in (("floor", FLOOR), ("ours", OURS)):
        line = [(x(p["n"]), y(p[key])) for p in points if p[key] > 0]
        if line:
            path = " ".join(f"{a:.1f},{b:.1f}" for a, b in line)
            out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
            out += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="2.5" fill="{colour}"/>' for a, b in line]
    return out


def main(source, target):
    curves = {}
    for line in open(source, encoding="utf-8"):
        point = json.loads(line)
        curves.setdefault(point["curve"], []).append(point)
    print("| curve | n | ours | floor |\n| --- | --- | --- | --- |")
    for curve, points in curves.items():
        for p in points:
            print(f"| {curve} | {p['n']:,} | {text(p['ours'])} | {text(p['floor']) if p['floor'] else ''} |")
    rows = -(-len(curves) // 2)
    body = []
    for at, (curve, points) in enumerate(curves.items()):
        body += chart(curve, points, at % 2 * WIDTH, at // 2 * HEIGHT)
    body.append(f'<text x="8" y="{rows * HEIGHT + 16}" fill="{OURS}">ours</text>')
    body.append(f'<text x="48" y="{rows * HEIGHT + 16}" fill="{FLOOR}">by hand</text>')
    with open(target, "w", encoding="utf-8") as out:
        out.write(
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH * 2} {rows * HEIGHT + 24}" '
            'font-family="sans-serif" font-size="10" fill="#334155">'
            f'<rect width="100%" height="100%" fill="#fff"/>{"".join(body)}</svg>\n'
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
