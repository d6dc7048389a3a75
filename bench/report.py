# SPDX-License-Identifier: MIT
"""Rows of figures, told as they come, and written as JSON and Markdown."""
import datetime
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def worst_of_each(reasons):
    """Reasons that differ in their numbers only are one, with the highest."""
    kinds = {}
    for text in reasons:
        numbers = [float(n) for n in re.findall(r'\d+(?:\.\d+)?', text.split(':')[-1])]
        kinds.setdefault(re.sub(r'\d+(\.\d+)?', '#', text), []).append((numbers, text))
    return sorted(max(found)[1] for found in kinds.values())


class Row:
    """One figure: the values of its repeats, those of the floor beside it, and the target it is held against.

    target: text; limit: the largest (or with at_least the smallest) good value of what is judged: the ratio when there is
    a floor and ratio is true, else the value. void: reasons why it counts for nothing.
    """

    def __init__(self, what, unit, values, floor=None, target='', limit=None, at_least=False, ratio=True, void=(), note=''):
        self.what, self.unit, self.values, self.floor, self.target = what, unit, list(values), list(floor or []), target
        self.limit, self.at_least, self.ratio, self.void, self.note = limit, at_least, ratio, worst_of_each(void), note

    @property
    def value(self):
        return statistics.median(self.values)

    @property
    def floor_value(self):
        return statistics.median(self.floor) if self.floor else None

    @property
    def ratios(self):
        return [v / f for v, f in zip(self.values, self.floor) if f > 0]

    @property
    def ratio_value(self):
        return statistics.median(self.ratios) if self.ratios else None

    @property
    def verdict(self):
        if self.void or self.limit is None:
            return 'void' if self.void else ''
        judged = self.ratio_value if self.floor and self.ratio else self.value
        good = judged >= self.limit if self.at_least else judged <= self.limit
        return 'met' if good else 'missed'

    def as_dict(self):
        return {'what': self.what, 'unit': self.unit, 'value': self.value, 'values': self.values, 'floor': self.floor_value,
                'floors': self.floor, 'ratio': self.ratio_value, 'ratios': self.ratios, 'target': self.target,
                'verdict': self.verdict, 'void': self.void, 'note': self.note}


def figure(value):
    if value is None:
        return ''
    if abs(value) >= 1000:
        return f'{value:,.0f}'
    return f'{value:.3g}' if abs(value) < 10 else f'{value:.1f}'


def spread(values):
    return f'{figure(min(values))} – {figure(max(values))}' if len(values) > 1 else ''


def git(*args):
    try:
        return subprocess.run(['git', '-C', str(ROOT), *args], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return ''


def processor():
    try:
        for line in open('/proc/cpuinfo'):
            if line.startswith('model name'):
                return line.split(':', 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


class Results:
    def __init__(self, build, setup):
        self.rows, self.skipped, self.failed, self.seconds = [], [], [], 0.0
        dirty = ' and changes' if git('status', '--porcelain', '--untracked-files=no') else ''
        self.head = {
            'commit': (git('rev-parse', '--short=12', 'HEAD') or 'unknown') + dirty,
            'date': datetime.datetime.now(datetime.timezone.utc).strftime('%Y-%m-%d %H:%M UTC'),
            'machine': f'{os.cpu_count()} cores, {processor()}, {platform.system()} {platform.release()}',
            'load_at_start': os.getloadavg()[0],
            'build': pathlib.Path(build).name, 'repeats': setup.repeats, 'connections': setup.connections,
            'quick': setup.quick,
        }

    def add(self, scenario, row):
        self.rows.append((scenario, row))
        parts = [f'   {row.what}: {figure(row.value)} {row.unit}']
        if row.floor:
            parts.append(f'floor {figure(row.floor_value)}, ratio {row.ratio_value:.2f}')
        if row.target:
            parts.append(f'target {row.target}: {row.verdict}')
        if row.void:
            parts.append('void: ' + '; '.join(row.void))
        print('; '.join(parts), flush=True)

    def skip(self, scenario, why):
        self.skipped.append((scenario, why))
        print(f'   skipped: {why}', flush=True)

    def fail(self, scenario, why):
        self.failed.append((scenario, why))
        print(f'   FAILED: {why}', flush=True)

    def markdown(self):
        h = self.head
        out = [f'# Benchmarks of {h["commit"]}', '',
               f'{h["date"]}; {h["machine"]}; load before the run {h["load_at_start"]:.2f}; build {h["build"]}; '
               f'{h["repeats"]} repeats{", quick" if h["quick"] else ""}; {self.seconds:.0f} s.', '',
               'Median of the repeats, and their spread. The ratio is the median of the pairs; ours and the floor ran by turns. '
               'A void figure counts for nothing (why is below). How to read this: bench/README.md.', '',
               '| scenario | figure | ours | spread | floor | ours ÷ floor | target | |', '|---|---|---|---|---|---|---|---|']
        for scenario, r in self.rows:
            ratio = f'{r.ratio_value:.2f}' if r.floor else ''
            out.append(f'| {scenario} | {r.what} | {figure(r.value)} {r.unit} | {spread(r.values)} | {figure(r.floor_value)} | '
                       f'{ratio} | {r.target} | {r.verdict} |')
        out.append('')
        out += [f'- {scenario}, {r.what}: void: {"; ".join(r.void)}' for scenario, r in self.rows if r.void]
        out += [f'- {scenario}, {r.what}: {r.note}' for scenario, r in self.rows if r.note]
        out += [f'- {name}: skipped: {why}' for name, why in self.skipped]
        out += [f'- **{name}: failed**: {why}' for name, why in self.failed]
        return '\n'.join(out).rstrip() + '\n'

    def finish(self, out):
        """Writes the report; the exit code: 1 when something failed, 0 otherwise (a missed target is a finding)."""
        if out is None:
            folder = ROOT / 'bench' / 'results'
            folder.mkdir(exist_ok=True)
            stamp = datetime.datetime.now(datetime.timezone.utc).strftime('%Y%m%dT%H%M%S')
            out = folder / f'{stamp}-{self.head["commit"].split()[0]}'
        data = {**self.head, 'seconds': self.seconds, 'rows': [{'scenario': s, **r.as_dict()} for s, r in self.rows],
                'skipped': self.skipped, 'failed': self.failed}
        out.with_name(out.name + '.json').write_text(json.dumps(data, indent=1) + '\n')
        report = out.with_name(out.name + '.md')
        report.write_text(self.markdown())
        print(f'\n{self.markdown()}\nkept in {report}', flush=True)
        return 1 if self.failed else 0
