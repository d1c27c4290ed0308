"""Write the README's tables from the code: `python tests/readme.py`; a test fails when they have drifted."""

from pathlib import Path

from fxst.chains.named import CHAINS, STUDIO_BANDS
from fxst.cli.app import EXIT_CODES
from fxst.effects import EFFECTS, Effect

README = Path(__file__).parents[1] / "README.md"


def without_band(effect: Effect, name: str) -> str:
    """Name what all bands of an equaliser share."""
    for band in getattr(effect, "bands", ()):
        if name.startswith(band + "_"):
            return "BAND" + name[len(band) :]
    return name


def effects_table() -> str:
    """List every effect with the widest range of each parameter; an EQ's bands share theirs, and are shown once."""
    lines = ["| effect | parameter | range | default | scale |", "|---|---|---|---|---|"]
    for name, effect_type in sorted(EFFECTS.items()):
        effect = effect_type()
        seen = set()
        for p in effect.parameters:
            shown = without_band(effect, p.name)
            if shown in seen:
                continue
            seen.add(shown)
            default = "spread over the bands" if shown == "BAND_f0_hz" else f"{p.default:g}"
            lines.append(f"| {name} | `{shown}` | {p.minimum:g} to {p.maximum:g} {p.unit} | {default} | {p.scale} |")
    bands = ", ".join(f"`{band}`" for band in EFFECTS["parametric_eq"]().bands)
    return "\n".join([*lines, "", f"BAND is one of {bands}."])


def chains_table() -> str:
    """List every named chain with its effects and what its knobs are."""
    lines = ["| chain | knobs | effects and the ranges of their knobs |", "|---|---|---|"]
    for chain in CHAINS.values():
        effects = []
        for label, effect in zip(chain.labels, chain.effects, strict=True):
            ranges: dict[str, tuple[float, float]] = {}  # of all bands together, where each has its own
            for p in effect.parameters:
                if not p.constant:
                    low, high = ranges.get(without_band(effect, p.name), (p.minimum, p.maximum))
                    ranges[without_band(effect, p.name)] = min(low, p.minimum), max(high, p.maximum)
            knobs = [f"`{name}` {low:g} to {high:g}" for name, (low, high) in ranges.items()]
            effects.append(f"{label}: {', '.join(knobs)}")
        lines.append(f"| `{chain.name}` | {len(chain.knobs)} | {'; '.join(effects)} |")
    eq = CHAINS["eq"].effects[0]
    fixed = ", ".join(f"{p.minimum:.4g}" for p in eq.parameters if p.name.endswith("_f0_hz"))
    places = "; ".join(f"{kind.replace('_', ' ')} {low:g} to {high:g}" for kind, low, high in STUDIO_BANDS)
    lines += [
        "",
        f"Bands of the first three are fixed at {fixed} Hz, a low shelf, four peaks and a high shelf. Those of "
        f"`studio` are placed freely, each in a stretch of its own, in Hz: {places}.",
    ]
    return "\n".join(lines)


def exit_codes_table() -> str:
    """List what the program's exit codes mean."""
    return "\n".join(
        ["| exit code | means |", "|---|---|", *(f"| {code} | {told} |" for code, told in EXIT_CODES.items())]
    )


TABLES = {"exit codes": exit_codes_table, "effects": effects_table, "chains": chains_table}


def with_tables(text: str) -> str:
    """Put the tables between their marks."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: python tests/readme.py -->\n", f"<!-- end of {name} -->"
        before, rest = text.split(begin)
        text = before + begin + table() + "\n" + end + rest.split(end, 1)[1]
    return text


if __name__ == "__main__":
    README.write_text(with_tables(README.read_text(encoding="utf-8")), encoding="utf-8")
