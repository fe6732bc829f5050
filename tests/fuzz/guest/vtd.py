# SPDX-License-Identifier: GPL-2.0-or-later
#
# Steps: an Intel IOMMU (VT-d).
#
# Copyright (c) 2026 QEMU SVM contributors
"""Tables, queues and registers of intel-iommu.

Section numbers are those of the Intel Virtualization Technology for Directed
I/O specification, revision 5.10."""

import layout
import pci
from guest import step
from layout import PAGE, VTD

GCMD, RTADDR, CCMD, FSTS, FECTL, FEDATA, FEADDR = (
    0x18, 0x20, 0x28, 0x34, 0x38, 0x3c, 0x40)
IQH, IQT, IQA, ICS, IECTL, IEADDR = 0x80, 0x88, 0x90, 0x9c, 0xa0, 0xa8
IRTA, PQH, PQT, PQA, PRS, PECTL = 0xb8, 0xc0, 0xc8, 0xd0, 0xdc, 0xe0
IVA, IOTLB, FRCD = 0xf0, 0xf8, 0x220
TE, SRTP, QIE, IRE, SIRTP = (1 << bit for bit in (31, 30, 26, 25, 24))

# Present, writable, user (9.7); read, write (9.8); a large page
FS, SS, LARGE = 7, 3, 1 << 7


def is_intel(g):
    return g.machine.kind == 'intel'


def is_scalable(g):
    return is_intel(g) and g.machine.scalable


# ---- Tables ----

def pages(*tables):
    """Tables as bytes, each a dictionary {index: entry}."""
    data = bytearray()
    for table in tables:
        entries = [0] * 512
        for index, entry in table.items():
            entries[index] = entry
        for entry in entries:
            data += entry.to_bytes(8, 'little')
    return bytes(data)


def store_sparse(g, addr, *tables):
    """Commands that write the tables: short for nearly empty ones."""
    g.clear(addr, PAGE * len(tables))
    for number, table in enumerate(tables):
        for index, entry in table.items():
            g.writeq(addr + number * PAGE + index * 8, entry)


def store_entry(g, addr, quadwords):
    g.store(addr, b''.join(quadword.to_bytes(8, 'little')
                           for quadword in quadwords))


def first_stage(g, pasid):
    """Tables of level 5, 4, 3, 2, and small pages, some of them missing."""
    base = layout.FIRST + pasid * layout.TABLE_PAGES * PAGE
    level5, level4, level3, level2, top3, top2 = (
        base + number * PAGE for number in (0, 1, 2, 4, 5, 6))
    small = {index: layout.backing(layout.WINDOW + index * PAGE) | FS
             for index in range(512) if g.chance(0.5)}
    store_sparse(
        g, base,
        {0: level4 | FS, 511: level4 | FS},
        {0: level3 | FS, 511: top3 | FS},
        {4: level2 | FS, 5: FS | LARGE})
    g.store(base + 3 * PAGE, pages(small))
    store_sparse(
        g, base + 4 * PAGE,
        {0: base + 3 * PAGE | FS, 1: layout.DATA | FS | LARGE},
        {511: top2 | FS},
        {511: layout.DATA + 2 * layout.MIB | FS | LARGE})


def second_stage(g):
    """Map RAM one to one, and the windows as in the first stage."""
    base = layout.SECOND
    level4, level3, level2, low2, small = (
        base + number * PAGE for number in range(5))
    store_sparse(
        g, level4,
        {0: level3 | SS},
        {0: low2 | SS, 4: level2 | SS, 5: SS | LARGE},
        {0: small | SS, 1: layout.DATA | SS | LARGE})
    g.store(low2, pages({index: index << 21 | SS | LARGE
                         for index in range(layout.RAM >> 21)}))
    g.store(small, pages({
        index: layout.backing(layout.WINDOW + index * PAGE) | SS
        for index in range(512) if g.chance(0.5)}))


def pasid_entry(g, pasid):
    """PASID-table entry (9.6): first-stage, second-stage, nested, or
    pass-through."""
    kind = g.rng.choice((1, 1, 1, 1, 2, 3, 3, 4)) if g.machine.svm else 2
    levels = g.rng.choice((0, 0, 0, 1))
    root = layout.FIRST + (pasid * layout.TABLE_PAGES +
                           (0 if levels else 1)) * PAGE
    low = layout.SECOND if kind in (2, 3) else 0
    fpd = 2 if g.chance(0.1) else 0
    return (low | kind << 6 | 2 << 2 | fpd | 1,
            1 + g.rng.randrange(2) | 1 << 23,
            root | levels << 2 | 1 | (0x80 if g.chance(0.3) else 0), 0)


def write_pasid(g, pasid):
    addr = layout.PASID_TABLE + pasid * 64
    store_entry(g, addr, pasid_entry(g, pasid))


def context_entry(g, bdf):
    """Address and quadwords of a context entry (9.3, 9.4)."""
    if g.scalable:
        addr = layout.CONTEXT + ((bdf >> 8) * 2 + (bdf >> 7 & 1)) * PAGE + \
            (bdf & 0x7f) * 32
        services = 0xc | (0x10 if g.chance(0.9) else 0)
        if g.chance(0.1):
            services = g.rng.randrange(8) << 2
        if not g.machine.svm:
            services = 0
        return addr, (layout.DIRECTORY | services | 1,
                      0 if g.chance(0.9) else g.rng.randrange(4), 0, 0)
    addr = layout.CONTEXT + (bdf >> 8) * 2 * PAGE + (bdf & 0xff) * 16
    kind = g.rng.choice((0, 1, 1, 1, 2)) if 'device-iotlb=on' in \
        g.machine.iommu or g.machine.svm else 0
    width = 1 if 'aw-bits=39' in g.machine.iommu or \
        g.machine.iommu == 'intel-iommu' else 2
    root = layout.SECOND if width == 2 else layout.SECOND + PAGE
    return addr, (root | kind << 2 | 1, 1 << 8 | width)


def write_context(g, bdf):
    store_entry(g, *context_entry(g, bdf))


def write_tables(g):
    """Write all tables, as a driver does."""
    g.clear(layout.ROOT, PAGE)
    g.clear(layout.CONTEXT, layout.BUSES * 2 * PAGE)
    for bus in range(layout.BUSES):
        table = layout.CONTEXT + bus * 2 * PAGE
        g.writeq(layout.ROOT + bus * 16, table | 1)
        if g.scalable:
            g.writeq(layout.ROOT + bus * 16 + 8, table + PAGE | 1)
    for bdf in sorted({device.bdf for device in g.machine.devices} | {0x800}):
        write_context(g, bdf)
    second_stage(g)
    if g.scalable:
        g.clear(layout.DIRECTORY, 2 * PAGE)
        g.writeq(layout.DIRECTORY, layout.PASID_TABLE | 1)
        for pasid in range(layout.PASIDS):
            first_stage(g, pasid)
            write_pasid(g, pasid)


# ---- Registers ----

def write(g, register, value, width=4):
    g.write(width, VTD + register, value)


def start(g, scalable):
    """Act as a driver at boot, in any state."""
    g.scalable = scalable
    g.repair = restart
    write_tables(g)
    if scalable:
        # Otherwise devices would wait for responses forever
        g.do('respond 128 invalid')
    write(g, GCMD, 0)
    write(g, FSTS, 0xff)
    write(g, RTADDR, layout.ROOT | (1 << 10 if scalable else 0), 8)
    write(g, GCMD, SRTP)
    width = 32 if scalable else 16
    size = g.rng.choice((0, 0, 1, 3))
    g.clear(layout.QUEUE, PAGE << size)
    write(g, IQT, 0, 8)
    write(g, IQA, layout.QUEUE | size | (1 << 11 if scalable else 0), 8)
    g.do(f'iq-place {layout.QUEUE:#x} {size} {width}')
    write(g, GCMD, QIE)
    invalidate_all(g)
    write(g, PQH, 0, 8)
    write(g, PQT, 0, 8)
    write(g, PQA, layout.REQUESTS | g.rng.choice((0, 1, 3)), 8)
    write(g, PRS, 3)
    write(g, GCMD, QIE | TE)
    if g.chance(0.5):
        start_remapping(g)


def start_remapping(g):
    """Interrupt remapping (9.10): every entry is valid, for the first CPU."""
    entries = {index: 1 | index << 16 if index % 2 == 0 else 0
               for index in range(512)}
    g.store(layout.REMAP, pages(entries))
    write(g, IRTA, layout.REMAP | 7, 8)
    write(g, GCMD, QIE | TE | SIRTP)
    write(g, GCMD, QIE | TE | IRE)


# ---- Descriptors (6.5.2) ----

def descriptor(low, high=0):
    return f'{low & (1 << 64) - 1:x}:{high & (1 << 64) - 1:x}'


def wait_descriptor(g):
    return descriptor(5 | g.rng.choice((0x20, 0x20, 0x30, 0x10, 0x60, 0xa0,
                                        0xe0, 0)) |
                      g.rng.getrandbits(32) << 32, layout.STATUS)


def valid_descriptor(g):
    """A descriptor of any type, with domain 1 or 2 and a device of the
    machine."""
    rng = g.rng
    kind = rng.choice((1, 2, 3, 3, 4, 5, 6, 6, 7, 8, 8, 8))
    domain = rng.randrange(1, 3)
    device = rng.choice(g.machine.devices).bdf
    pasid = rng.randrange(layout.PASIDS)
    addr = g.addr() & -PAGE
    small = rng.choice((0, 0, 1, 4, 9))
    if kind == 1:
        return descriptor(1 | rng.randrange(1, 4) << 4 | domain << 16 |
                          device << 32)
    if kind == 2:
        granularity = rng.randrange(1, 4)
        addr = addr & -(PAGE << small) | small if granularity == 3 else 0
        return descriptor(2 | granularity << 4 | rng.randrange(4) << 6 |
                          domain << 16, addr)
    if kind == 3:
        size = rng.randrange(2)
        return descriptor(3 | device << 32,
                          rng.choice((addr, (1 << 63) - PAGE)) | size)
    if kind == 4:
        return descriptor(4 | rng.randrange(2) << 4, 0)
    if kind == 5:
        return wait_descriptor(g)
    if kind == 6:
        granularity = rng.choice((2, 3))
        addr = addr & -(PAGE << small) | small if granularity == 3 else 0
        return descriptor(6 | granularity << 4 | domain << 16 | pasid << 32,
                          addr)
    if kind == 7:
        return descriptor(7 | rng.choice((0, 1, 3)) << 4 | domain << 16 |
                          pasid << 32)
    return descriptor(8 | device << 16 | pasid << 32,
                      rng.choice((addr, addr | 1 << 11,
                                  (1 << 63) - PAGE | 1 << 11)) |
                      (1 if g.chance(0.05) else 0))


def garbage_descriptor(g):
    """A descriptor with a flipped bit, or random data."""
    if g.chance(0.6):
        words = [int(word, 16) for word in valid_descriptor(g).split(':')]
        words += [0, 0]
        words[g.rng.choice((0, 0, 1, 1, 2, 3))] ^= 1 << g.rng.randrange(64)
        return ':'.join(f'{word:x}' for word in words)
    kind = g.rng.randrange(16)
    return descriptor(g.garbage() & ~15 | kind, g.garbage())


def submit(g, *descriptors):
    g.do('iq ' + ' '.join(descriptors))


def invalidate_all(g):
    words = [descriptor(1 | 1 << 4)]
    if g.scalable:
        words.append(descriptor(7 | 3 << 4))
    submit(g, *words, descriptor(2 | 1 << 4), descriptor(4),
           wait_descriptor(g))


def invalidate_page(g, pasid, addr):
    """Invalidate the IOTLB and a device-TLB."""
    device = pci.endpoint(g)
    words = [descriptor(6 | 3 << 4 | 1 << 16 | pasid << 32, addr & -PAGE)]
    if device:
        words.append(descriptor(8 | device.bdf << 16 | pasid << 32,
                                addr & -PAGE))
    submit(g, *words, wait_descriptor(g))


@step(14, needs=is_intel)
def submit_descriptors(g):
    submit(g, *(valid_descriptor(g)
                for _ in range(g.rng.choice((1, 1, 2, 8)))),
           wait_descriptor(g))


@step(0.5, needs=is_intel)
def submit_many(g):
    """Fill the queue with descriptors."""
    submit(g, *(valid_descriptor(g) for _ in range(100)))


@step(3, needs=is_intel)
def submit_garbage(g):
    """Submit an invalid descriptor, then clear the error."""
    g.spoilt = True
    submit(g, *(garbage_descriptor(g) if g.chance(0.7) else
                valid_descriptor(g) for _ in range(g.rng.randrange(1, 4))))
    if g.chance(0.95):
        skip_errors(g)


def skip_errors(g):
    """Restart the queue if its state differs from the model."""
    write(g, FSTS, 0x70)
    write(g, GCMD, TE)
    write(g, IQT, 0, 8)
    write(g, IQA, layout.QUEUE | (1 << 11 if g.scalable else 0), 8)
    g.do(f'iq-place {layout.QUEUE:#x} 0 {32 if g.scalable else 16}')
    write(g, GCMD, TE | QIE)


@step(25, needs=is_scalable)
def respond(g):
    """Respond to page requests, nearly always correctly."""
    if g.chance(0.5):
        write(g, PRS, 3)
    how = g.rng.choice(('map',) * 12 + ('invalid', 'failure', 'none', None))
    g.do(f'respond {g.rng.choice((1, 8, 64))} '
         f'{how or g.rng.getrandbits(30)}')


@step(2, needs=is_scalable)
def respond_unasked(g):
    device = g.rng.choice(g.machine.devices)
    low = 9 | g.rng.choice((0, 0, 1, 15)) << 12 | device.bdf << 16
    if g.chance(0.7):
        low |= 1 << 4 | g.rng.randrange(layout.PASIDS) << 32
    submit(g, descriptor(low, g.rng.randrange(512) << 3))


@step(12, needs=is_scalable)
def unmap_page(g):
    """Change a mapping, with or without invalidation."""
    pasid = g.rng.randrange(layout.PASIDS)
    first = layout.WINDOW + g.rng.randrange(512) * PAGE
    for index in range(g.rng.choice((1, 1, 4, 64))):
        addr = layout.WINDOW + (first - layout.WINDOW + index * PAGE) % \
            (2 * layout.MIB)
        g.writeq(layout.leaf_entry(pasid, addr),
                 0 if g.chance(0.8) else layout.backing(addr) | 5)
    if g.chance(0.9):
        invalidate_page(g, pasid, first)
    else:
        invalidate_all(g)


@step(3, needs=is_intel)
def change_context(g):
    """Write the context entry of a function; sometimes clear it first."""
    g.spoilt = True
    bdf = g.rng.choice(g.machine.devices).bdf
    if g.chance(0.3):
        g.writeq(context_entry(g, bdf)[0], 0)
        submit(g, descriptor(1 | 3 << 4 | 1 << 16 | bdf << 32),
               descriptor(2 | 1 << 4), wait_descriptor(g))
    write_context(g, bdf)
    submit(g, descriptor(1 | 3 << 4 | 1 << 16 | bdf << 32),
           descriptor(2 | 1 << 4), wait_descriptor(g))


@step(3, needs=is_scalable)
def change_pasid(g):
    g.spoilt = True
    pasid = g.rng.randrange(layout.PASIDS)
    addr = layout.PASID_TABLE + pasid * 64
    if g.chance(0.3):
        g.writeq(addr, 0)
        submit(g, descriptor(7 | 1 << 4 | 1 << 16 | pasid << 32),
               descriptor(6 | 2 << 4 | 1 << 16 | pasid << 32),
               wait_descriptor(g))
    if g.chance(0.9):
        write_pasid(g, pasid)
        submit(g, descriptor(7 | 1 << 4 | 1 << 16 | pasid << 32),
               descriptor(6 | 2 << 4 | 1 << 16 | pasid << 32),
               wait_descriptor(g))


@step(4, needs=is_intel)
def spoil_table(g):
    """Corrupt one quadword of a table."""
    g.spoilt = True
    kind = g.rng.randrange(5)
    if kind == 0:
        addr = g.rng.randrange(layout.ROOT, layout.TABLES.stop) & -8
    elif kind == 1:
        addr = layout.ROOT + g.rng.randrange(20) * 8
    elif kind == 2:
        addr = context_entry(g, g.rng.choice(g.machine.devices).bdf)[0] + \
            g.rng.randrange(4) * 8
    elif kind == 3:
        addr = layout.PASID_TABLE + g.rng.randrange(layout.PASIDS * 8) * 8
    else:
        page = g.rng.randrange(layout.PASIDS * layout.TABLE_PAGES)
        addr = layout.FIRST + page * PAGE + \
            g.rng.choice((0, 4, 511, g.rng.randrange(512))) * 8
    value = g.garbage()
    if g.chance(0.6):
        value = g.rng.choice(range(layout.ROOT, layout.RAM, PAGE)) | \
            g.rng.getrandbits(12)
    g.writeq(addr, value)


@step(1, needs=is_intel)
def repair_tables(g):
    write_tables(g)
    invalidate_all(g)


@step(1, needs=is_intel)
def restart(g):
    """Restart as after a boot, in any mode."""
    start(g, g.machine.scalable and g.chance(0.85))


@step(3, needs=is_intel)
def global_command(g):
    """GCMD (11.4.4): change bits, and mostly change them back."""
    g.spoilt = True
    bits = g.rng.choice((0, TE, QIE, TE | QIE, TE | QIE | IRE, TE | QIE | SRTP,
                         TE | QIE | SIRTP, QIE | SRTP,
                         g.garbage(32)))
    write(g, GCMD, bits)
    if g.chance(0.8):
        write(g, GCMD, TE | QIE)


@step(3, needs=is_intel)
def write_register(g):
    """Write a random value to any register, with any width."""
    g.spoilt = True
    rng = g.rng
    register = rng.choice((GCMD, RTADDR, CCMD, FSTS, FECTL, FEDATA, FEADDR,
                           IQT, IQA, ICS, IECTL, IEADDR, IRTA, PQH, PQT, PQA,
                           PRS, PECTL, PECTL + 4, PECTL + 8, IVA, IOTLB, FRCD,
                           FRCD + 8, FRCD + 12, rng.randrange(0x1000)))
    width = rng.choice((1, 2, 4, 4, 8, 8))
    value = g.garbage(8 * width)
    if g.chance(0.4):
        value = rng.randrange(layout.RAM) & -PAGE | rng.getrandbits(12)
    write(g, register & -width, value, width)
    if g.chance(0.5):
        skip_errors(g)


@step(2, needs=is_intel)
def write_events(g):
    """Targets and masks of the interrupts of the IOMMU (11.4.7)."""
    register = g.rng.choice((FECTL, IECTL, PECTL))
    addr, data = pci.message_target(g, g.rng.choice(g.machine.devices))
    write(g, register, g.rng.randrange(2) << 31)
    write(g, register + 4, data)
    write(g, register + 8, addr)
    write(g, register, 0)


@step(2, needs=is_intel)
def handle_faults(g):
    write(g, FRCD + 12, 1 << 31)
    write(g, FSTS, g.rng.choice((1, 0x7f, 0x70)))
    g.read(8, VTD + FRCD)


@step(1, needs=is_intel)
def invalidate_by_registers(g):
    """CCMD and IOTLB_REG (11.4.5, 11.4.6)."""
    write(g, CCMD, 1 << 63 | g.rng.randrange(1, 4) << 61 | 1, 8)
    write(g, IVA, g.addr() & -PAGE | g.rng.randrange(10), 8)
    write(g, IOTLB, 1 << 63 | g.rng.randrange(1, 4) << 60 | 1 << 32, 8)


@step(2, needs=is_scalable)
def page_request_queue(g):
    """Page request queue (11.4.11): head, size, status, event."""
    g.spoilt = True
    kind = g.rng.randrange(5)
    if kind == 0:
        write(g, PQH, g.rng.randrange(256) * 32, 8)
    elif kind == 1:
        write(g, PQA, layout.REQUESTS | g.rng.randrange(5), 8)
    elif kind == 2:
        write(g, PRS, 3)
    elif kind == 3:
        write(g, PQH, g.garbage(), 8)
        write(g, PQH, 0, 8)
    else:
        write(g, PQA, g.garbage(), 8)
        write(g, PQA, layout.REQUESTS | 1, 8)
        write(g, PQH, 0, 8)


@step(1, needs=is_intel)
def store_words(g):
    """A device that is not one: the processor writes the queue and tables."""
    g.spoilt = True
    addr = g.rng.choice((layout.QUEUE, layout.REQUESTS, layout.REMAP))
    g.writeq(addr + g.rng.randrange(512) * 8, g.garbage())
