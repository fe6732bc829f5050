# SPDX-License-Identifier: GPL-2.0-or-later
#
# Changes of a migration stream.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Seeded modifications of a stream, mostly in the state of our devices."""

import copy

from migration_stream import Field

# Devices whose state is changed, and how often relative to the others.  Others
# than ours are left out where upstream's code trusts a stream.
TARGETS = {'iommu-intel': 6, 'amd-iommu': 6, 'svm': 4, 'dsa': 10,
           'pci-ats-testdev': 4, 'virtio-net': 1, 'cpu': 1,
           'pcie-root-port': 1}
# Of these, CONFIG_PLACES alone, in the configuration space that they begin
# with.  virtio_net_pre_load_queues() does not check the number of queues; the
# number of errors of a port's AER log stays what a load was refused for, so
# that the next save is a failed assertion; and nothing checks Interrupt Pin.
CONFIG_ONLY = ('virtio-net', 'pcie-root-port')
CONFIG = Field('config', 4, {'size': 0x1000, 'type': 'pci config'})
# The levels of INTx: pcibus_reset_hold() asserts that those that functions
# have add up to what their bus has
IRQ_STATE = 'pci irq state'
# Registers in configuration space that change what a function may do: command,
# and the first of the extended capabilities
CONFIG_PLACES = (0x04, 0x05, *range(0x100, 0x160))


def first_loose(section):
    """Where bytes may be missing or there twice: levels of INTx stay as they
    are."""
    return max([section.start] + [field.start + field.size
                                  for field in section.fields
                                  if field.kind == IRQ_STATE])


def weighted_sections(stream):
    """The sections to modify, and their weights."""
    sections = [section for section in stream.sections
                if section.device in TARGETS and section.fields]
    return sections, [TARGETS[section.device] for section in sections]


class Mutator:
    """Make modified copies of a stream; changes lists the modifications."""

    def __init__(self, stream, rng):
        self.changes = []
        self._rng = rng
        self._stream = stream
        self._data = bytearray(stream.data)
        self._shift = []                # (place, difference) of the original
        self._ended = False

    def mutate(self):
        """Modify the stream; return it as bytes."""
        rng = self._rng
        sections, weights = weighted_sections(self._stream)
        count = rng.choice((1, 1, 1, 1, 2, 2, 3, 5))
        while count and not self._ended:
            count -= 1
            section, = rng.choices(sections, weights)
            change, = rng.choices(
                (self._field, self._bits, self._bytes, self._exchange,
                 self._resize, self._subsection, self._header),
                (40, 6, 6, 4, 3, 2, 1))
            if section.device in CONFIG_ONLY:
                change = self._field
            change(section)
        return bytes(self._data)

    # ---- Places ----

    def _place(self, place):
        """The current offset of a byte of the original."""
        return place + sum(difference for start, difference in self._shift
                           if place >= start)

    def _say(self, section, text):
        self.changes.append(f'{section.name}: {text}')

    def _store(self, section, name, start, data):
        place = self._place(start)
        if any(field.kind == IRQ_STATE and start < field.start + field.size and
               start + len(data) > field.start for field in section.fields):
            return
        self._data[place:place + len(data)] = data
        self._say(section, f'{name} = {data.hex()}')

    # ---- Changes ----

    def _pick_field(self, section):
        """A random field; fields of large arrays and of configuration space
        are as likely as others."""
        if section.device in CONFIG_ONLY:
            config = copy.copy(CONFIG)
            config.start += section.start
            return config
        names = sorted({field.name for field in section.fields})
        name = self._rng.choice(names)
        return self._rng.choice([field for field in section.fields
                                 if field.name == name])

    def _value(self, old, size):
        """An interesting number of this size in bytes."""
        rng = self._rng
        bits = 8 * size
        kind = rng.randrange(9)
        if kind == 0:
            value = rng.choice((0, 1, 2, 3, 4, 5, 7, 8))
        elif kind == 1:
            value = -rng.choice((1, 2, 8, 64, 4096))
        elif kind == 2:
            value = 1 << rng.randrange(bits)
        elif kind == 3:
            value = (1 << rng.randrange(1, bits + 1)) - 1
        elif kind == 4:
            value = old + rng.choice((-1, 1, -8, 8, 64, 4096))
        elif kind == 5:
            value = old ^ 1 << rng.randrange(bits)
        elif kind == 6:
            value = rng.getrandbits(bits)
        elif kind == 7:
            value = old << rng.randrange(8) | rng.randrange(16)
        else:
            value = (1 << rng.randrange(bits)) + rng.randrange(-16, 16)
        return (value & (1 << bits) - 1).to_bytes(size, 'big')

    def _field(self, section):
        """Another value of a field, or of a part of a large one."""
        rng = self._rng
        field = self._pick_field(section)
        start, size = field.start, field.unit
        if size not in (2, 4, 8):
            size = min(field.size, rng.choice((1, 2, 4, 8)))
        if field.kind == 'pci config' and \
                (section.device in CONFIG_ONLY or rng.random() < 0.8):
            start += rng.choice(CONFIG_PLACES)
        else:
            start += rng.randrange(field.size // size) * size
        place = self._place(start)
        old = int.from_bytes(self._data[place:place + size], 'big')
        self._store(section, f'{field.name}+{start - field.start}', start,
                    self._value(old, size))

    def _range(self, section, longest, first=0):
        """Offset and number of some bytes of a section."""
        first = max(first, section.start)
        length = min(self._rng.randrange(1, longest), section.end - first)
        return self._rng.randrange(first, section.end - length + 1), length

    def _bits(self, section):
        for _ in range(self._rng.choice((1, 1, 2, 8))):
            start, _ = self._range(section, 2)
            place = self._place(start)
            byte = self._data[place] ^ 1 << self._rng.randrange(8)
            self._store(section, f'+{start - section.start}', start,
                        bytes([byte]))

    def _bytes(self, section):
        start, length = self._range(section, 64)
        self._store(section, f'+{start - section.start}', start,
                    self._rng.randbytes(length))

    def _exchange(self, section):
        """Copy the value of a field to another one of the same size."""
        field = self._pick_field(section)
        other = self._rng.choice([candidate for candidate in section.fields
                                  if candidate.size == field.size])
        place = self._place(other.start)
        self._store(section, f'{field.name} from {other.name}', field.start,
                    bytes(self._data[place:place + min(field.size, 64)]))

    def _insert(self, section, start, old_length, data, text):
        """Replace bytes by more or fewer."""
        place = self._place(start)
        self._data[place:place + old_length] = data
        self._shift.append((start + old_length, len(data) - old_length))
        self._say(section, text)

    def _resize(self, section):
        """Remove or repeat bytes, or end the stream."""
        start, length = self._range(section, 512, first_loose(section))
        offset = start - section.start
        place = self._place(start)
        kind = self._rng.randrange(3)
        if kind == 0:
            del self._data[place:]
            self._ended = True
            self._say(section, f'ends at {offset}')
        elif kind == 1:
            self._insert(section, start, length, b'',
                         f'{length} bytes at {offset} are missing')
        else:
            chunk = bytes(self._data[place:place + length])
            self._insert(section, start, 0, chunk,
                         f'{length} bytes at {offset} are there twice')

    def _subsection(self, section):
        """Remove or repeat a subsection, or change its version."""
        if not section.subsections:
            return self._header(section)
        start, end = self._rng.choice(section.subsections)
        place = self._place(start)
        chunk = bytes(self._data[place:place + end - start])
        kind = self._rng.randrange(3)
        if kind == 0:
            self._insert(section, start, end - start, b'',
                         f'no subsection at {start - section.start}')
        elif kind == 1:
            self._insert(section, start, 0, chunk,
                         f'subsection at {start - section.start} twice')
        else:
            version = start + 2 + self._stream.data[start + 1]
            self._store(section, 'version of a subsection', version,
                        self._value(1, 4))
        return None

    def _header(self, section):
        """Change type, number, name, instance or version of a section."""
        start = self._rng.randrange(section.header, section.start)
        self._store(section, f'header+{start - section.header}', start,
                    self._rng.randbytes(1))
