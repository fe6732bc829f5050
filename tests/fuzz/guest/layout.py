# SPDX-License-Identifier: GPL-2.0-or-later
#
# Layout of guest memory, registers and configuration space.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Addresses of the hostile guest.

Nothing is allocated: each table has its place, so that a step which spoils one
and a step which writes it anew need not know of each other."""

PAGE = 0x1000
MIB = 1 << 20
RAM = 128 * MIB
PASIDS = 4                      # PASIDs 0 to 3 have tables
BUSES = 16

# ---- Guest memory ----
ROOT = 0x100000                 # VT-d: root table
CONTEXT = 0x110000              # VT-d: two pages for each bus
DIRECTORY = 0x140000            # VT-d: PASID directory, and its table
PASID_TABLE = 0x141000
FIRST = 0x150000                # first-stage tables, TABLE_PAGES for each PASID
SECOND = 0x180000               # second-stage tables
REMAP = 0x1a0000                # interrupt remapping table
TABLES = range(ROOT, 0x1c0000)  # what steps spoil
QUEUE = 0x200000                # VT-d: invalidation queue
REQUESTS = 0x240000             # VT-d: page request queue
STATUS = 0x280000               # of wait descriptors
MESSAGES = 0x281000             # of MSI and MSI-X
AMD_TABLE = 0x300000            # AMD: device table of 2 MiB
AMD_COMMANDS = 0x500000
AMD_EVENTS = 0x510000
AMD_PAGES = 0x520000
RINGS = 0x600000                # virtio: a page for each part of a queue
BUFFERS = 0x680000              # virtio: what descriptors refer to
RECORDS = 0x700000              # DSA: completion records
BATCHES = 0x710000              # DSA: lists of descriptors
EVENTS = 0x720000               # DSA: event log
DATA = 0x2000000                # what devices read and write
DATA_SIZE = 64 * MIB

TABLE_PAGES = 8

# ---- Addresses that devices use ----
WINDOW = 0x100000000            # 2 MiB of small pages, some of them missing
LARGE = WINDOW + 2 * MIB        # a page of 2 MiB
HUGE = WINDOW + (1 << 30)       # a page of 1 GiB
TOP = (1 << 64) - 2 * MIB       # a page of 2 MiB at the end of all

# ---- Physical addresses of registers ----
ECAM = 0xb0000000
BARS = 0xd0000000               # a MiB for each device
BAR_SIZE = 0x200000
BARS_END = 0xdfffffff
VTD = 0xfed90000
AMD = 0xfed80000
INTERRUPTS = 0xfee00000


def leaf_entry(pasid, addr):
    """Address of the first-stage entry of a small page in WINDOW."""
    return FIRST + (pasid * TABLE_PAGES + 3) * PAGE + \
        (addr - WINDOW) // PAGE % 512 * 8


def second_leaf_entry(addr):
    """Address of its second-stage entry."""
    return SECOND + 4 * PAGE + (addr - WINDOW) // PAGE % 512 * 8


def backing(addr):
    """Guest memory of a small page in WINDOW."""
    return DATA + (addr - WINDOW) % (2 * MIB) // PAGE * PAGE


def config(bdf, offset):
    """Physical address of a register in configuration space."""
    return ECAM + (bdf << 12) + offset
