# SPDX-License-Identifier: MIT
"""A strict reader of Prometheus's text format 0.0.4: what is merely usual is demanded too (HELP and TYPE before the values,
families together, a counter's name ends in _total, a histogram is complete and its buckets rise)."""
import re

NAME = r'[a-zA-Z_:][a-zA-Z0-9_:]*'
SAMPLE = re.compile(rf'({NAME})(?:\{{(.*)\}})? (\S+)')
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
NUMBER = re.compile(r'[+-]?(?:[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|Inf|NaN)')


class Bad(Exception):
    pass


class Family:
    def __init__(self, name, help):
        self.name, self.help, self.type, self.samples = name, help, None, {}

    def own(self, sample):
        """Does a sample of that name belong here?"""
        if self.type == 'histogram':
            return sample in (self.name + '_bucket', self.name + '_sum', self.name + '_count')
        return sample == self.name


def labels_of(text, line):
    labels, at = {}, 0
    while text is not None and at < len(text):
        found = LABEL.match(text, at)
        if not found:
            raise Bad(f'labels: {line}')
        key, value, _ = found.groups()
        if key in labels:
            raise Bad(f'label twice: {line}')
        labels[key] = re.sub(r'\\(.)', lambda m: '\n' if m.group(1) == 'n' else m.group(1), value)
        at = found.end()
    if text is not None and (text == '' or text.endswith(',')):
        raise Bad(f'labels: {line}')
    return tuple(sorted(labels.items()))


def check_histogram(family):
    series = {}
    for (name, labels), value in family.samples.items():
        rest = tuple(pair for pair in labels if pair[0] != 'le')
        one = series.setdefault(rest, {'buckets': [], 'sum': None, 'count': None})
        if name.endswith('_bucket'):
            one['buckets'].append((float(dict(labels)['le'].replace('+Inf', 'inf')), value))
        else:
            one['sum' if name.endswith('_sum') else 'count'] = value
    for labels, one in series.items():
        what = f'{family.name}{dict(labels)}'
        bounds = [bound for bound, _ in one['buckets']]
        counts = [count for _, count in one['buckets']]
        if not bounds or bounds != sorted(set(bounds)) or bounds[-1] != float('inf'):
            raise Bad(f'{what}: bounds {bounds}')
        if counts != sorted(counts) or one['count'] != counts[-1] or one['sum'] is None:
            raise Bad(f'{what}: buckets {counts}, count {one["count"]}, sum {one["sum"]}')


def parse(text):
    """{name: Family}. Raises Bad."""
    families, family = {}, None
    if text and not text.endswith('\n'):
        raise Bad('the last line has no end')
    for line in text.split('\n')[:-1]:
        if line.startswith('# HELP '):
            name, _, help = line[7:].partition(' ')
            if not re.fullmatch(NAME, name) or name in families or not help or re.search(r'\\[^\\n]', help):
                raise Bad(line)
            family = families[name] = Family(name, help)
        elif line.startswith('# TYPE '):
            name, _, kind = line[7:].partition(' ')
            if family is None or name != family.name or family.type or kind not in ('counter', 'gauge', 'histogram'):
                raise Bad(line)
            family.type = kind
            if (kind == 'counter') != name.endswith('_total'):
                raise Bad(f'{kind} {name}')
            if kind == 'histogram' and not name.endswith('_seconds'):
                raise Bad(f'{kind} {name}')
            if re.search(r'_(ms|us|milliseconds|kb|kilobytes)(_|$)', name):
                raise Bad(f'not a base unit: {name}')
        else:
            found = SAMPLE.fullmatch(line)
            if not found or not NUMBER.fullmatch(found.group(3)):
                raise Bad(f'line: {line!r}')
            name, labels, value = found.group(1), labels_of(found.group(2), line), float(found.group(3))
            if family is None or not family.type or not family.own(name):
                raise Bad(f'stands where it does not belong: {line}')
            if (name, labels) in family.samples:
                raise Bad(f'twice: {line}')
            if family.type == 'counter' and not value >= 0:
                raise Bad(f'negative: {line}')
            family.samples[name, labels] = value
    for family in families.values():
        if family.type is None:
            raise Bad(f'no TYPE: {family.name}')
        if family.type == 'histogram':
            check_histogram(family)
    return families


def value(families, name, **labels):
    """One sample, or the sum of all that have those labels; 0 when there is none."""
    family = families.get(name) or families.get(re.sub('_(bucket|sum|count)$', '', name))
    if family is None:
        return 0
    return sum(v for (n, have), v in family.samples.items()
               if n == name and all(dict(have).get(k) == str(w) for k, w in labels.items()))
