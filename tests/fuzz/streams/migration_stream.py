# SPDX-License-Identifier: GPL-2.0-or-later
#
# The structure of a migration stream.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Sections of devices and their fields, from the description in JSON that a
stream has at its end.  The layout is that of migration/savevm.c and
migration/vmstate.c of QEMU."""

import json

SECTION_FULL, SUBSECTION, DESCRIPTION, FOOTER = 0x04, 0x05, 0x06, 0x7e


class Field:
    """A field, or an array of numbers: its place in the stream, its size and
    that of an element."""

    def __init__(self, name, start, entry):
        self.name = name
        self.start = start
        self.unit = entry['size']
        self.size = self.unit * entry.get('array_len', 1)
        self.kind = entry['type']


class Section:
    """The state of a device, from start to end; header is where the header of
    the section is, subsections are ranges (start, end) with their headers."""

    def __init__(self, name, header, start):
        self.name = name
        self.header = header
        self.start = start
        self.end = start
        self.fields = []
        self.subsections = []

    @property
    def device(self):
        """Its name without the address of a PCI device."""
        return self.name.rsplit('/', 1)[-1]


class Stream:
    """A migration stream."""

    def __init__(self, data):
        self.data = data
        self.sections = []
        self.end, description = self._description()
        place = 0
        for device in description['devices']:
            section = self._section(device, place)
            self.sections.append(section)
            place = section.end

    def _description(self):
        """The offset of the description, and the description."""
        data = self.data
        for place in range(len(data) - 5, 0, -1):
            if data[place] == DESCRIPTION and int.from_bytes(
                    data[place + 1:place + 5], 'big') == len(data) - place - 5:
                return place, json.loads(data[place + 5:])
        raise ValueError('the stream does not describe itself')

    def _section(self, device, place):
        name = device['name'].encode()
        key = bytes([len(name)]) + name + \
            device['instance_id'].to_bytes(4, 'big') + \
            device['version'].to_bytes(4, 'big')
        while True:
            place = self.data.index(key, place)
            if self.data[place - 5] == SECTION_FULL:
                break
            place += 1
        section = Section(device['name'], place - 5, place + len(key))
        section.end = self._description_end(section, device, section.start, '')
        footer = bytes([FOOTER]) + self.data[place - 4:place]
        if self.data[section.end:section.end + 5] != footer:
            raise ValueError(f'{device["name"]} is not as it is described')
        return section

    def _description_end(self, section, vmsd, place, prefix):
        """Collect the fields of a description; return their end."""
        for entry in vmsd.get('fields', []):
            place = self._entry(section, entry, place, prefix)
        for sub in vmsd.get('subsections', []):
            start = place
            place += 2 + len(sub['vmsd_name']) + 4
            place = self._description_end(section, sub, place,
                                          sub['vmsd_name'] + ':')
            section.subsections.append((start, place))
        return place

    def _entry(self, section, entry, place, prefix):
        name = prefix + entry['name']
        count = entry.get('array_len', 1)
        if 'index' in entry:
            name += f'[{entry["index"]}]'
        if 'struct' in entry:
            for i in range(count):
                self._description_end(section, entry['struct'],
                                      place + i * entry['size'], name + ':')
        elif entry['size']:
            section.fields.append(Field(name, place, entry))
        return place + count * entry['size']
