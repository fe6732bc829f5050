/*
 * QTest testcase for the svm property of amd-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers, and names of tables, are those of the AMD I/O Virtualization
 * Technology (IOMMU) Specification, 48882, revision 3.00; registers are named
 * by their MMIO offsets.
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/amd_iommu.h"
#include "hw/pci/pci_ids.h"
#include "libqos/amdvi.h"
#include "libqos/fw_cfg.h"
#include "libqos/malloc-pc.h"
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
#define IVHD_LENGTH     2
#define IVHD_DEVICE_ID  4
#define IVHD_ATTRIBUTES 20

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
    QOSState qs = { .qts = qts };
    QFWCFG *fw_cfg = pc_fw_cfg_init(qts);
    size_t size;

    /* By DMA: reads of the port would take seconds */
    pc_alloc_init(&qs.alloc, qts, 0);
    size = qfw_cfg_read_file(fw_cfg, &qs, "etc/acpi/tables", tables,
                             TABLES_SIZE);
    alloc_destroy(&qs.alloc);
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
    unsigned end = lduw_le_p(block + IVHD_LENGTH);
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
         at += lduw_le_p(ivrs + at + IVHD_LENGTH)) {
        g_assert_cmphex(block_ioapic(ivrs + at), ==, devid);
        blocks++;
    }
    g_assert_cmpuint(blocks, ==, 2);
    return devid;
}

/* 5.2: bit 0 of the IOMMU attributes, in blocks of the type 11h, is HATDis. */
static void check_ivrs(const char *args, uint16_t devid, uint32_t attributes)
{
    g_autofree uint8_t *tables = g_malloc0(TABLES_SIZE);
    QTestState *qts = qtest_initf("-M q35 -nodefaults %s", args);
    const uint8_t *ivrs = find_ivrs(qts, tables);
    unsigned end = ldl_le_p(ivrs + IVRS_LENGTH);
    unsigned blocks = 0;

    for (unsigned at = IVRS_BLOCKS; at < end;
         at += lduw_le_p(ivrs + at + IVHD_LENGTH)) {
        g_assert_cmphex(lduw_le_p(ivrs + at + IVHD_DEVICE_ID), ==, devid);
        if (ivrs[at] == IVHD_11) {
            g_assert_cmphex(ldl_le_p(ivrs + at + IVHD_ATTRIBUTES), ==,
                            attributes);
            blocks++;
        }
    }
    g_assert_cmpuint(blocks, ==, 1);
    qtest_quit(qts);
}

static void test_ivrs(void)
{
    check_ivrs("-device amd-iommu", QATD_BDF(0, 1, 0), 0);
    check_ivrs("-device amd-iommu,dma-translation=off", QATD_BDF(0, 1, 0), 1);
    check_ivrs("-device AMDVI-PCI,id=function,addr=6 "
               "-device amd-iommu,pci-id=function", QATD_BDF(0, 6, 0), 0);
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

/* ---- Extended Feature Register (MMIO 0030h) ---- */

#define EFR_DEFAULT     (AMDVI_FEATURE_PREFETCH | AMDVI_FEATURE_IA | \
                         AMDVI_FEATURE_GA | AMDVI_FEATURE_HE | AMDVI_HATS_MODE)
/* What Linux wants for shared virtual memory */
#define EFR_GATS_5      (1ULL << 12)
#define EFR_GLX_3       (2ULL << 14)
#define EFR_PASMAX_16   (15ULL << 32)
#define EFR_US          (1ULL << 37)
#define EFR_GIO         (1ULL << 48)
#define EFR_EPH         (1ULL << 50)
#define EFR_SVM         (EFR_DEFAULT | AMDVI_FEATURE_PPR | AMDVI_FEATURE_GT | \
                         EFR_GATS_5 | EFR_GLX_3 | EFR_PASMAX_16 | EFR_US | \
                         EFR_GIO | EFR_EPH)
/* QEMU 9.2 announced features that it did not implement */
#define EFR_9_2         0x29d3

static void test_features(void)
{
    static const struct {
        const char *args;
        uint64_t efr;
    } cases[] = {
        { "-M q35 -device amd-iommu", EFR_DEFAULT },
        { "-M q35 -device amd-iommu,svm=off", EFR_DEFAULT },
        { "-M q35 -device amd-iommu,device-iotlb=on", EFR_DEFAULT },
        { "-M pc-q35-10.0 -device amd-iommu", EFR_DEFAULT },
        { "-M pc-q35-9.2 -device amd-iommu", EFR_9_2 },
        { "-M q35 -device amd-iommu,x-unimplemented-features=on", EFR_9_2 },
        { "-M q35 -device amd-iommu,xtsup=on", EFR_DEFAULT | AMDVI_FEATURE_XT },
        { "-M q35 -device amd-iommu,dma-remap=on", EFR_DEFAULT },
        { "-M q35 -device amd-iommu,dma-remap=off", EFR_DEFAULT },
        { "-M q35 -device amd-iommu,dma-translation=on", EFR_DEFAULT },
        { "-M q35 -device amd-iommu,dma-translation=off",
          EFR_DEFAULT | AMDVI_HATS_MODE_MASK },
        { "-M q35 -device amd-iommu,svm=on,dma-remap=on", EFR_SVM },
        { "-M q35 -device amd-iommu,svm=on,dma-translation=off",
          EFR_SVM | AMDVI_HATS_MODE_MASK },
        { "-M q35 -device amd-iommu,svm=on", EFR_SVM },
        { "-M pc-q35-9.2 -device amd-iommu,svm=on", EFR_SVM },
        { "-M q35 -device amd-iommu,svm=on,device-iotlb=on", EFR_SVM },
        { "-M q35 -device amd-iommu,svm=on,xtsup=on",
          EFR_SVM | AMDVI_FEATURE_XT },
    };

    g_assert_cmphex(EFR_DEFAULT, ==, EFR_9_2 & ~(AMDVI_FEATURE_PPR |
                    AMDVI_FEATURE_GT | 2ULL << 12));
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        QTestState *qts = qtest_initf("-nodefaults %s", cases[i].args);
        uint64_t reg = AMDVI_BASE_ADDR + AMDVI_MMIO_EXT_FEATURES;

        g_test_message("%s", cases[i].args);
        g_assert_cmphex(qtest_readq(qts, reg), ==, cases[i].efr);
        qtest_writeq(qts, reg, 0);
        g_assert_cmphex(qtest_readq(qts, reg), ==, cases[i].efr);
        qtest_quit(qts);
    }
}

/* ---- Commands ---- */

/* 2.4.7: COMPLETE_PPR_REQUEST exists only if PPRSup is set (MMIO 0030h) */
static void test_complete_ppr(void)
{
    static const struct {
        const char *args;
        bool exists;
    } cases[] = {
        { "-M q35 -device amd-iommu", false },
        { "-M q35 -device amd-iommu,device-iotlb=on", false },
        { "-M pc-q35-9.2 -device amd-iommu", true },
        { "-M q35 -device amd-iommu,svm=on", true },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        QTestState *qts = qtest_initf("-nodefaults -m 64 %s", cases[i].args);
        QGuestAllocator alloc;
        QAMDVI iommu;
        uint64_t addr;

        g_test_message("%s", cases[i].args);
        qecam_enable(qts);
        pc_alloc_init(&alloc, qts, ALLOC_NO_FLAGS);
        qamdvi_init(&iommu, qts, &alloc);
        qamdvi_enable(&iommu, 0);
        addr = qamdvi_command(&iommu, QAMDVI_COMMAND(COMPLETE_PPR_REQUEST), 0);
        if (cases[i].exists) {
            qamdvi_expect_no_event(&iommu);
        } else {
            /* ILLEGAL_COMMAND_ERROR, 2.5.6 */
            qamdvi_expect_event(&iommu, 5ULL << 60, addr);
        }
        g_assert_cmpint(qamdvi_completes(&iommu), ==, cases[i].exists);
        qtest_quit(qts);
        alloc_destroy(&alloc);
    }
}

/* ---- Properties ---- */

/* Errors name the properties that the user has set */
static void test_conflict(void)
{
    static const char no_device_tlb[] = "svm=on contradicts device-iotlb=off";
    static const struct {
        const char *args;
        const char *error;
    } cases[] = {
        { "-device amd-iommu,svm=on,device-iotlb=off", no_device_tlb },
        { "-device amd-iommu,device-iotlb=off,svm=on", no_device_tlb },
        { "-global amd-iommu.device-iotlb=off -device amd-iommu,svm=on",
          no_device_tlb },
        { "-device amd-iommu,svm=on,dma-remap=off",
          "svm=on contradicts dma-remap=off" },
        { "-device amd-iommu,device-iotlb=on,dma-remap=off",
          "dma-remap=off contradicts device-iotlb=on" },
        { "-device amd-iommu,pci-id=none",
          "pci-id=none: there is no AMDVI-PCI with this id" },
        { "-device pcie-root-port,id=rp -device amd-iommu,pci-id=rp",
          "pci-id=rp: there is no AMDVI-PCI with this id" },
        { "-device pcie-pci-bridge,id=bridge "
          "-device AMDVI-PCI,id=function,bus=bridge,addr=1 "
          "-device amd-iommu,pci-id=function",
          "pci-id=function: the device must be on the bus pcie.0" },
        { "-device pci-testdev,addr=14.0 -device amd-iommu,svm=on",
          "svm=on needs 00:14.0" },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *command = g_strdup_printf(
            "%s -M q35 -accel qtest -display none -nodefaults %s",
            getenv("QTEST_QEMU_BINARY"), cases[i].args);
        g_autoptr(GError) err = NULL;
        g_autofree char *text = NULL;
        int status;

        g_assert_true(g_spawn_command_line_sync(command, NULL, &text, &status,
                                                &err));
        g_assert_no_error(err);
        g_assert_true(WIFEXITED(status));
        g_assert_cmpint(WEXITSTATUS(status), ==, 1);
        g_test_message("%s: %s", cases[i].args, text);
        g_assert_nonnull(strstr(text, cases[i].error));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-iommu/svm/ioapic", test_ioapic);
    qtest_add_func("/amd-iommu/svm/ioapic-off", test_ioapic_off);
    qtest_add_func("/amd-iommu/svm/pasid-bits", test_pasid_bits);
    qtest_add_func("/amd-iommu/svm/features", test_features);
    qtest_add_func("/amd-iommu/svm/complete-ppr", test_complete_ppr);
    qtest_add_func("/amd-iommu/svm/conflict", test_conflict);
    qtest_add_func("/amd-iommu/svm/ivrs", test_ivrs);
    return g_test_run();
}
