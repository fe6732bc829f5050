/*
 * Fuzzer of the decoder of AMD-Vi commands
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The input is a sequence of commands and features.  A plain model, which tests
 * one bit after the other, tells which commands are legal, and what they
 * concern.
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#include "qemu/osdep.h"
#include "hw/pci/pci.h"
#include "hw/i386/amd_iommu_command.h"
#include "tests/fuzz/fuzz-input.h"

#define PAGE    4096ull

typedef struct Command {
    unsigned opcode;
    uint64_t lo;
    uint64_t hi;
} Command;

/* Returns: whether all bits from @first to @last of the command are 0 */
static bool clear(const Command *c, unsigned first, unsigned last)
{
    for (unsigned bit = first; bit <= last; bit++) {
        if (bit < 64 ? c->lo >> bit & 1 : c->hi >> (bit - 64) & 1) {
            return false;
        }
    }
    return true;
}

/* 2.4.1 to 2.4.8, and the bits of MMIO 0030h */
static bool legal(const Command *c, uint64_t features)
{
    switch (c->opcode) {
    case 1:
        return clear(c, 52, 59);
    case 2:
    case 5:
        return clear(c, 16, 59) && clear(c, 64, 127);
    case 3:
        return clear(c, 20, 31) && clear(c, 48, 59) && clear(c, 67, 75);
    case 4:
        return clear(c, 65, 65) && clear(c, 67, 75);
    case 6:
        return (features & 1) && clear(c, 16, 23) && clear(c, 52, 59) &&
               clear(c, 65, 65) && clear(c, 67, 67) && clear(c, 69, 75);
    case 7:
        return (features & 2) && clear(c, 16, 31) && clear(c, 52, 59) &&
               clear(c, 64, 65) && clear(c, 67, 95) && clear(c, 112, 127);
    case 8:
        return (features & 0x40) && clear(c, 0, 59) && clear(c, 64, 127);
    default:
        return false;
    }
}

/*
 * With S, the size is twice the range whose first page number has a 0 bit at
 * its end: each 1 bit from bit 12 on doubles it (2.4.3).
 */
static void check_range(const Command *c, const AMDVICommand *command)
{
    uint64_t first = c->hi & ~(PAGE - 1), last = PAGE - 1;

    if (c->hi & 1) {
        unsigned bit = 12;

        last = last * 2 + 1;
        while (bit < 64 && (c->hi >> bit & 1)) {
            last = last * 2 + 1;
            bit++;
        }
    }
    g_assert_cmphex(command->addr_mask, ==, last);
    g_assert_cmphex(command->addr, ==, first & ~last);
}

static void check_pasid(const Command *c, const AMDVICommand *command,
                        uint32_t pasid)
{
    g_assert_cmphex(command->pasid, ==, c->hi & 4 ? pasid : PCI_NO_PASID);
}

static void check_fields(const Command *c, const AMDVICommand *command)
{
    switch (c->opcode) {
    case 1:
        g_assert_cmpint(command->store, ==, c->lo & 1);
        g_assert_cmpint(command->interrupt, ==, c->lo >> 1 & 1);
        g_assert_cmphex(command->store_addr, ==, c->lo & 0xffffffffffff8ull);
        g_assert_cmphex(command->data, ==, c->hi);
        break;
    case 3:
        g_assert_cmphex(command->domid, ==, c->lo >> 32 & 0xffff);
        check_pasid(c, command, c->lo & 0xfffff);
        check_range(c, command);
        break;
    case 4:
        g_assert_cmphex(command->devid, ==, c->lo & 0xffff);
        check_pasid(c, command, (c->lo >> 48 & 0xff) |
                    (c->lo >> 16 & 0xff) << 8 | (c->lo >> 56 & 0xf) << 16);
        check_range(c, command);
        break;
    case 7:
        g_assert_cmphex(command->tag, ==, c->hi >> 32 & 0xffff);
        check_pasid(c, command, c->lo >> 32 & 0xfffff);
        /* fall through */
    case 2:
    case 5:
    case 6:
        g_assert_cmphex(command->devid, ==, c->lo & 0xffff);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    FuzzInput in = { data, size };

    while (in.size) {
        uint64_t features = fuzz_take(&in, 1);
        uint64_t cmd[2] = { fuzz_take(&in, 8), fuzz_take(&in, 8) };
        Command c = { cmd[0] >> 60, cmd[0], cmd[1] };
        AMDVICommand command;
        bool ok = amdvi_command_decode(cmd, features, &command);

        g_assert_cmpint(ok, ==, legal(&c, features));
        g_assert_cmpuint(command.opcode, ==, c.opcode);
        if (ok) {
            check_fields(&c, &command);
        }
    }
    return 0;
}
