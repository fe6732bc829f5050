/*
 * QTest testcase for the svm property of amd-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Names of tables are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882.
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/pci/pci_ids.h"
#include "libqos/amdvi.h"
#include "libqos/fw_cfg.h"
#include "libqos/pci-ats-testdev.h"

#define TABLES_SIZE     0x40000

/* Offsets in the I/O Virtualization Reporting Structure (IVRS) */
#define IVRS_LENGTH     4
#define IVRS_BLOCKS     48

/* I/O Virtualization Hardware Definition (IVHD) blocks: types, header sizes */
#define IVHD_10         0x10
#define IVHD_10_HEADER  24
#define IVHD_11         0x11
#define IVHD_11_HEADER  40

/* Special device entries: 8 bytes, as all entries of types 40h to 7fh */
#define ENTRY_LONG      0x40
#define ENTRY_SPECIAL   0x48
#define VARIETY_IOAPIC  1

/*
 * Linux up to 6.12 remaps interrupts only if the I/O APIC is in this function,
 * which exists in the machines that it knows
 */
#define SOUTHBRIDGE     QATD_BDF(0, 0x14, 0)

/* Returns the IVRS, in @tables */
static const uint8_t *find_ivrs(QTestState *qts, uint8_t *tables)
{
    QFWCFG *fw_cfg = pc_fw_cfg_init(qts);
    size_t size = qfw_cfg_get_file(fw_cfg, "etc/acpi/tables", tables,
                                   TABLES_SIZE);

    pc_fw_cfg_uninit(fw_cfg);
    g_assert_cmpuint(size, <=, TABLES_SIZE);
    for (size_t i = 0; i + IVRS_BLOCKS < size; i++) {
        if (!memcmp(tables + i, "IVRS", 4)) {
            return tables + i;
        }
    }
    g_assert_not_reached();
}

/* The DeviceID of the I/O APIC with id 0, in one IVHD block */
static uint16_t block_ioapic(const uint8_t *block)
{
    unsigned end = lduw_le_p(block + 2);
    unsigned at = block[0] == IVHD_10 ? IVHD_10_HEADER : IVHD_11_HEADER;

    while (at < end) {
        const uint8_t *entry = block + at;

        if (entry[0] == ENTRY_SPECIAL && entry[7] == VARIETY_IOAPIC) {
            g_assert_cmpuint(entry[4], ==, 0);
            return lduw_le_p(entry + 5);
        }
        at += entry[0] < ENTRY_LONG ? 4 : 8;
    }
    g_assert_not_reached();
}

/* All blocks of the table name the same function */
static uint16_t ioapic_devid(QTestState *qts)
{
    g_autofree uint8_t *tables = g_malloc0(TABLES_SIZE);
    const uint8_t *ivrs = find_ivrs(qts, tables);
    unsigned end = ldl_le_p(ivrs + IVRS_LENGTH);
    uint16_t devid = block_ioapic(ivrs + IVRS_BLOCKS);
    unsigned blocks = 0;

    for (unsigned at = IVRS_BLOCKS; at < end;
         at += lduw_le_p(ivrs + at + 2)) {
        g_assert_cmphex(block_ioapic(ivrs + at), ==, devid);
        blocks++;
    }
    g_assert_cmpuint(blocks, ==, 2);
    return devid;
}

static uint16_t device_class(QTestState *qts, uint16_t bdf)
{
    return qecam_readw(qts, bdf, PCI_CLASS_DEVICE);
}

/*
 * Linux 7.x remaps interrupts only if that function is an ISA bridge or has the
 * class SMBus.
 */
static void test_ioapic(void)
{
    QTestState *qts = qtest_init("-M q35 -nodefaults "
                                 "-device amd-iommu,svm=on,intremap=on");

    qecam_enable(qts);
    g_assert_cmphex(ioapic_devid(qts), ==, SOUTHBRIDGE);
    g_assert_cmphex(device_class(qts, SOUTHBRIDGE), ==,
                    PCI_CLASS_SERIAL_SMBUS);
    qtest_quit(qts);
}

/* Without svm=on the machine is as it has been */
static void test_ioapic_off(void)
{
    QTestState *qts = qtest_init("-M q35 -nodefaults "
                                 "-device amd-iommu,intremap=on");

    qecam_enable(qts);
    g_assert_cmphex(ioapic_devid(qts), ==, SOUTHBRIDGE);
    g_assert_cmphex(device_class(qts, SOUTHBRIDGE), ==, 0xffff);
    qtest_quit(qts);
}

/* PASmax (EFR, MMIO 0030h): Linux has a BUG_ON() for more than 16 bits. */
static void test_pasid_bits(void)
{
    QTestState *qts = qtest_init("-M q35 -nodefaults "
                                 "-device amd-iommu,svm=on");
    uint64_t efr = qtest_readq(qts, AMDVI_BASE_ADDR + AMDVI_MMIO_EXT_FEATURES);

    g_assert_cmpuint(extract64(efr, 32, 5) + 1, ==, 16);
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-iommu/svm/ioapic", test_ioapic);
    qtest_add_func("/amd-iommu/svm/ioapic-off", test_ioapic_off);
    qtest_add_func("/amd-iommu/svm/pasid-bits", test_pasid_bits);
    return g_test_run();
}
