"""Plots as SVG, by hand: bars on a logarithmic scale, and latencies by percentile."""
import math
from xml.sax.saxutils import escape

COLORS = ("#1f77b4", "#2ca02c", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf", "#ff7f0e", "#4b5d9b",
          "#5f9e6e", "#b55d60", "#857aab", "#c1a784", "#6d904f", "#30a2da")
OURS_COLOR = "#d62728"
# Where a latency curve has its points.
CURVE = tuple(1 - 10 ** -(n / 8) for n in range(1, 41))
FONT = 'font-family="system-ui, sans-serif"'


def text(x, y, content, size=11, anchor="start", weight="normal", color="#222"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" {FONT} font-size="{size}" text-anchor="{anchor}" font-weight="{weight}" '
            f'fill="{color}">{escape(content)}</text>')


def line(x1, y1, x2, y2, color="#ddd", width=1):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}" '
            f'stroke-width="{width}"/>')


def save(path, width, height, parts):
    with open(path, "w") as file:
        file.write(f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
                   f'viewBox="0 0 {width:.0f} {height:.0f}">\n<rect width="100%" height="100%" fill="white"/>\n')
        file.write("\n".join(parts))
        file.write("\n</svg>\n")


def short(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def bars(path, title, unit, panels, ours):
    """panels: [(title, {name: value})]; horizontal bars, the longest first, two panels beside each other."""
    panels = [(head, {name: value for name, value in values.items() if value > 0}) for head, values in panels]
    panels = [panel for panel in panels if panel[1]]
    if not panels:
        return
    row, head, panel_width, names, labels = 17, 46, 460, 110, 60
    heights = [head + row * len(values) for _, values in panels]
    parts = [text(14, 24, title, 16, weight="bold"), text(14, 41, f"{unit}, logarithmic", 11, color="#666")]
    y = 50
    for first in range(0, len(panels), 2):
        for column, (panel_title, values) in enumerate(panels[first:first + 2]):
            x = 14 + column * panel_width
            top = y + 22
            low = math.floor(math.log10(min(values.values())))
            high = max(math.ceil(math.log10(max(values.values()))), low + 1)
            scale = (panel_width - names - labels - 20) / (high - low)
            parts.append(text(x, y + 16, panel_title, 12, weight="bold"))
            for power in range(low, high + 1):
                at = x + names + (power - low) * scale
                parts.append(line(at, top, at, top + row * len(values)))
                parts.append(text(at, top + row * len(values) + 12, f"{10 ** power:g}", 9, "middle", color="#666"))
            for n, (name, value) in enumerate(sorted(values.items(), key=lambda item: -item[1])):
                length = max((math.log10(value) - low) * scale, 1)
                at = top + n * row
                weight = "bold" if name == ours else "normal"
                parts.append(text(x + names - 5, at + 12, name, 11, "end", weight))
                parts.append(f'<rect x="{x + names:.1f}" y="{at + 2:.1f}" width="{length:.1f}" height="{row - 5}" '
                             f'fill="{OURS_COLOR if name == ours else "#9db4cc"}"/>')
                parts.append(text(x + names + length + 4, at + 12, short(value), 10, weight=weight))
        y += max(heights[first:first + 2])
    save(path, 14 + 2 * panel_width if len(panels) > 1 else 14 + panel_width, y + 10, parts)


def curves(path, title, series, ours):
    """series: {name: [[quantile, ns], ...]}; both axes are logarithmic, the nines go to the right."""
    series = {name: points for name, points in series.items() if points}
    if not series:
        return
    width, height, left, top, right, bottom = 900, 460, 70, 56, 170, 40
    low = math.floor(math.log10(min(ns for points in series.values() for _, ns in points if ns > 0)))
    high = math.ceil(math.log10(max(ns for points in series.values() for _, ns in points)))
    nines = max(-math.log10(1 - q) for points in series.values() for q, _ in points)

    def x_of(q):
        return left + -math.log10(1 - q) / nines * (width - left - right)

    def y_of(ns):
        return top + (high - math.log10(max(ns, 1))) / max(high - low, 1) * (height - top - bottom)
    parts = [text(14, 24, title, 16, weight="bold"),
             text(14, 41, "microseconds by percentile, logarithmic", 11, color="#666")]
    for power in range(low, high + 1):
        parts.append(line(left, y_of(10 ** power), width - right, y_of(10 ** power)))
        parts.append(text(left - 6, y_of(10 ** power) + 4, f"{10 ** power / 1000:g}", 10, "end", color="#666"))
    for q, name in ((0.5, "p50"), (0.9, "p90"), (0.99, "p99"), (0.999, "p99.9"), (0.9999, "p99.99"),
                    (0.99999, "p99.999")):
        if -math.log10(1 - q) <= nines + 1e-9:
            parts.append(line(x_of(q), top, x_of(q), height - bottom))
            parts.append(text(x_of(q), height - bottom + 16, name, 10, "middle", color="#666"))
    # The legend in the order of the curves at p99, so that it reads like the plot.
    order = sorted(series, key=lambda name: -min(series[name], key=lambda point: abs(point[0] - 0.99))[1])
    for n, name in enumerate(order):
        color = OURS_COLOR if name == ours else COLORS[sorted(series).index(name) % len(COLORS)]
        stroke = 3 if name == ours else 1.4
        points = " ".join(f"{x_of(q):.1f},{y_of(ns):.1f}" for q, ns in series[name])
        parts.append(f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{stroke}"/>')
        at = top + 10 + n * 19
        parts.append(line(width - right + 14, at, width - right + 34, at, color, stroke))
        parts.append(text(width - right + 40, at + 4, name, 11, weight="bold" if name == ours else "normal"))
    save(path, width, max(height, top + 30 + 19 * len(order)), parts)
