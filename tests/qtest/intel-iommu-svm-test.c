/*
 * QTest testcase for the svm property of intel-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd.h"

#define DEV         QATD_BDF(0, 4, 0)
#define PASID       5
#define IOVA        0x12340000ULL
#define KIB4        0x1000ULL
#define R           1
#define W           2

/* 11.4.2, 11.4.3: capabilities of svm=on with the default properties */
#define SVM_CAP     0x11d2008c222f0606
#define SVM_ECAP    0x403cd9ea4f00f4eULL

typedef struct Registers {
    const char *args;
    uint64_t cap;
    uint64_t ecap;
} Registers;

static void check_registers(const Registers *r, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        QTestState *qts = qtest_initf("-nodefaults %s", r[i].args);

        g_test_message("%s", r[i].args);
        g_assert_cmphex(qvtd_readq(qts, DMAR_CAP_REG), ==, r[i].cap);
        g_assert_cmphex(qvtd_readq(qts, DMAR_ECAP_REG), ==, r[i].ecap);
        qtest_quit(qts);
    }
}

/* Capabilities without svm=on: those of QEMU 10.0 */
static void test_without_svm(void)
{
    static const Registers registers[] = {
        { "-M q35 -device intel-iommu", 0xd2008c222f0606, 0xf00f4a },
        { "-M q35 -device intel-iommu,svm=off", 0xd2008c222f0606, 0xf00f4a },
        { "-M q35 -device intel-iommu,intremap=off", 0xd2008c222f0606, 0xf42 },
        { "-M q35 -device intel-iommu,eim=on", 0xd2008c222f0606, 0xf00f5a },
        { "-M q35 -device intel-iommu,caching-mode=on",
          0xd2008c222f0686, 0xf00f4a },
        { "-M q35 -device intel-iommu,device-iotlb=on",
          0xd2008c222f0606, 0xf00f4e },
        { "-M q35 -device intel-iommu,x-scalable-mode=on",
          0xd2008c222f0606, 0x480080f00f4a },
        { "-M q35 -device intel-iommu,x-scalable-mode=on,x-pasid-mode=on",
          0xd2008c222f0606, 0x490080f00f4a },
        { "-M q35 -device intel-iommu,x-scalable-mode=on,x-flts=on",
          0x1d2008c222f0606, 0x880000f00f4a },
        { "-M q35 -device intel-iommu,x-scalable-mode=on,x-flts=on,"
          "x-pasid-mode=on", 0x1d2008c222f0606, 0x890000f00f4a },
        { "-M pc-q35-9.1 -device intel-iommu", 0xd2008c22260206, 0xf00f4a },
        { "-M pc-q35-3.1 -device intel-iommu", 0x12008c22260206, 0xf00f4a },
    };

    check_registers(registers, ARRAY_SIZE(registers));
}

/* The properties that are older than svm=on do not support page requests */
static void test_older_properties(void)
{
    static const Registers registers[] = {
        { "-M q35 -device intel-iommu,x-scalable-mode=on,x-flts=on,"
          "x-pasid-mode=on,device-iotlb=on",
          SVM_CAP, SVM_ECAP & ~(VTD_ECAP_PRS | VTD_ECAP_PDS | VTD_ECAP_SMS) },
    };

    check_registers(registers, ARRAY_SIZE(registers));
}

/* 11.4.3: the names of QEMU 11.1 for properties, and the width of PASIDs */
static void test_newer_names(void)
{
    const uint64_t pss = VTD_ECAP_PSS(VTD_PASID_ID_SHIFT);
    const Registers registers[] = {
        { "-M q35 -device intel-iommu,scalable-mode=on",
          0xd2008c222f0606, 0x480080f00f4a },
        { "-M q35 -device intel-iommu,scalable-mode=on,fsts=on",
          0x1d2008c222f0606, 0x880000f00f4a },
        { "-M q35 -device intel-iommu,scalable-mode=on,fsts=on,pasid-bits=0",
          0x1d2008c222f0606, 0x880000f00f4a },
        { "-M q35 -device intel-iommu,scalable-mode=on,fsts=on,pasid-bits=20",
          0x1d2008c222f0606, 0x890000f00f4a | pss },
        { "-M q35 -device intel-iommu,scalable-mode=on,fsts=on,pasid-bits=8",
          0x1d2008c222f0606, 0x890000f00f4a | VTD_ECAP_PSS(8) },
        { "-M q35 -device intel-iommu,svm=on,scalable-mode=on,fsts=on,"
          "device-iotlb=on,pasid-bits=20", SVM_CAP, SVM_ECAP },
        { "-M q35 -device intel-iommu,svm=on,pasid-bits=1",
          SVM_CAP, (SVM_ECAP & ~pss) | VTD_ECAP_PSS(1) },
    };

    check_registers(registers, ARRAY_SIZE(registers));
}

/* 11.4.2, 11.4.3: capabilities of svm=on with other properties */
static void test_svm(void)
{
    static const Registers registers[] = {
        { "-M q35 -device intel-iommu,svm=on", SVM_CAP, SVM_ECAP },
        { "-M q35 -global intel-iommu.svm=on -device intel-iommu",
          SVM_CAP, SVM_ECAP },
        { "-M q35 -cpu max -device intel-iommu,svm=on", SVM_CAP, SVM_ECAP },
        /* The machine type has other default values */
        { "-M pc-q35-9.1 -device intel-iommu,svm=on", SVM_CAP, SVM_ECAP },
        { "-M pc-q35-3.1 -device intel-iommu,svm=on", SVM_CAP, SVM_ECAP },
        /* Consistent properties */
        { "-M q35 -device intel-iommu,svm=on,x-scalable-mode=on,x-flts=on,"
          "x-pasid-mode=on,device-iotlb=on,dma-drain=on,dma-translation=on,"
          "aw-bits=48,fs1gp=on", SVM_CAP, SVM_ECAP },
        { "-M q35 -device intel-iommu,svm=on,intremap=off",
          SVM_CAP, SVM_ECAP & ~(VTD_ECAP_IR | VTD_ECAP_MHMV) },
        { "-M q35 -device intel-iommu,svm=on,intremap=on,eim=on",
          SVM_CAP, SVM_ECAP | VTD_ECAP_EIM },
        { "-M q35 -device intel-iommu,svm=on,pt=off",
          SVM_CAP, SVM_ECAP & ~VTD_ECAP_PT },
        { "-M q35 -device intel-iommu,svm=on,snoop-control=on",
          SVM_CAP, SVM_ECAP | VTD_ECAP_SC },
        { "-M q35 -device intel-iommu,svm=on,caching-mode=on",
          SVM_CAP | VTD_CAP_CM, SVM_ECAP },
        { "-M q35 -cpu qemu64,pdpe1gb=off "
          "-device intel-iommu,svm=on,fs1gp=off",
          SVM_CAP & ~VTD_CAP_FS1GP, SVM_ECAP },
    };

    check_registers(registers, ARRAY_SIZE(registers));
}

/*
 * Run QEMU with an additional device that does not exist, so that it fails,
 * and return its error message
 */
static char *error_text(const char *args)
{
    g_autofree char *command =
        g_strdup_printf("%s -accel qtest -display none -nodefaults %s "
                        "-device '{\"driver\":\"no-such-device\"}'",
                        getenv("QTEST_QEMU_BINARY"), args);
    g_autoptr(GError) err = NULL;
    char *text = NULL;
    int status;

    g_assert_true(g_spawn_command_line_sync(command, NULL, &text, &status,
                                            &err));
    g_assert_no_error(err);
    g_assert_true(WIFEXITED(status));
    g_assert_cmpint(WEXITSTATUS(status), ==, 1);
    g_test_message("%s: %s", args, text);
    return text;
}

/*
 * svm=on with an inconsistent property: the message names both, and a solution
 */
static void test_conflicts(void)
{
    static const struct {
        const char *by_hand;
        const char *instead;
    } conflicts[] = {
        { "x-scalable-mode=off", "x-scalable-mode=on" },
        { "x-flts=off", "x-flts=on" },
        { "x-pasid-mode=off", "x-pasid-mode=on" },
        { "scalable-mode=off", "scalable-mode=on" },
        { "fsts=off", "fsts=on" },
        { "pasid-bits=0", "pasid-bits=20" },
        { "device-iotlb=off", "device-iotlb=on" },
        { "dma-drain=off", "dma-drain=on" },
        { "dma-translation=off", "dma-translation=on" },
        { "aw-bits=39", "aw-bits=48" },
        { "aw-bits=57", "aw-bits=48" },
        { "fs1gp=off", "fs1gp=on" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(conflicts); i++) {
        const char *format[] = {
            "-M q35 -cpu qemu64,pdpe1gb=on -device intel-iommu,svm=on,%s",
            "-M q35 -cpu qemu64,pdpe1gb=on -device intel-iommu,%s,svm=on",
            "-M q35 -cpu qemu64,pdpe1gb=on -global intel-iommu.%s "
            "-device intel-iommu,svm=on",
            "-M pc-q35-3.1 -cpu qemu64,pdpe1gb=on "
            "-device intel-iommu,svm=on,%s",
        };
        g_autofree char *expected =
            g_strdup_printf("svm=on contradicts %s: leave out one of them, or "
                            "use %s\n", conflicts[i].by_hand,
                            conflicts[i].instead);

        for (size_t j = 0; j < ARRAY_SIZE(format); j++) {
            g_autofree char *args = g_strdup_printf(format[j],
                                                    conflicts[i].by_hand);
            g_autofree char *text = error_text(args);

            g_assert_nonnull(strstr(text, expected));
            g_assert_null(strstr(text, "no-such-device"));
        }
    }
}

static void test_conflict_json(void)
{
    g_autofree char *text =
        error_text("-M q35 -device '{\"driver\":\"intel-iommu\",\"svm\":true,"
                   "\"x-flts\":false}'");

    g_assert_nonnull(strstr(text, "svm=on contradicts x-flts=off"));
}

static void test_invalid_properties(void)
{
    static const struct {
        const char *properties;
        const char *expected;
    } invalid[] = {
        { "x-flts=on", "x-flts is only available in scalable mode" },
        { "fsts=on", "fsts is only available in scalable mode" },
        { "svm=on,pasid-bits=21",
          "pasid-bits=21 is more than the maximum, 20" },
        { "scalable-mode=on,x-pasid-mode=off,pasid-bits=8",
          "pasid-bits=8 contradicts x-pasid-mode=off" },
        { "scalable-mode=on,x-pasid-mode=on,pasid-bits=0",
          "pasid-bits=0 contradicts x-pasid-mode=on" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(invalid); i++) {
        g_autofree char *args =
            g_strdup_printf("-M q35 -device intel-iommu,%s",
                            invalid[i].properties);
        g_autofree char *text = error_text(args);

        g_assert_nonnull(strstr(text, invalid[i].expected));
        g_assert_null(strstr(text, "no-such-device"));
    }
}

/* The same properties without svm=on get the checks of older versions */
static void test_no_conflict(void)
{
    g_autofree char *text =
        error_text("-M q35 -device intel-iommu,svm=off,x-flts=off,aw-bits=39");

    g_assert_nonnull(strstr(text, "no-such-device"));
}

/* A reset restores all registers */
static void test_reset(void)
{
    uint8_t before[DMAR_REG_SIZE], after[DMAR_REG_SIZE];
    QTestState *qts = qtest_init("-M q35 -device intel-iommu,svm=on");

    qtest_memread(qts, Q35_HOST_BRIDGE_IOMMU_ADDR, before, sizeof(before));
    qvtd_writeq(qts, DMAR_RTADDR_REG, 0x1000);
    qvtd_writeq(qts, DMAR_IQA_REG, 0x2000);
    qvtd_writel(qts, DMAR_IEADDR_REG, 0x12345678);
    qvtd_writel(qts, DMAR_GCMD_REG, VTD_GCMD_QIE);
    qtest_memread(qts, Q35_HOST_BRIDGE_IOMMU_ADDR, after, sizeof(after));
    g_assert_cmpint(memcmp(before, after, sizeof(before)), !=, 0);
    qtest_qmp_assert_success(qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(qts, "RESET");
    qtest_memread(qts, Q35_HOST_BRIDGE_IOMMU_ADDR, after, sizeof(after));
    g_assert_cmpmem(before, sizeof(before), after, sizeof(after));
    qtest_quit(qts);
}

/* Migration */

typedef struct Guest {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QATD dev;
    uint64_t dir;
    char *path;
} Guest;

static QTestState *start(const char *iommu, const char *incoming)
{
    return qtest_initf("-M q35 -nodefaults -device intel-iommu,%s "
                       "-device pci-ats-testdev,addr=4 %s", iommu, incoming);
}

static void guest_start(Guest *g, const char *iommu)
{
    *g = (Guest) { };
    g->qts = start(iommu, "");
    qecam_enable(g->qts);
    pc_alloc_init(&g->alloc, g->qts, 0);
    qvtd_init(&g->vtd, g->qts, &g->alloc);
    qatd_init(&g->dev, g->qts, DEV, 0);
    qatd_enable_all(&g->dev, 32);
}

static void guest_stop(Guest *g)
{
    qtest_quit(g->qts);
    alloc_destroy(&g->alloc);
    unlink(g->path);
    g_free(g->path);
}

static void guest_save(Guest *g)
{
    g->path = qatd_save_machine(g->qts);
}

static void guest_load(Guest *g, const char *iommu, const char *expected)
{
    g_autofree char *end = NULL;

    g->qts = start(iommu, "-incoming defer");
    g->vtd.qts = g->dev.qts = g->qts;
    end = qatd_try_load_machine(g->qts, g->path);
    g_assert_cmpstr(end, ==, expected);
}

/* 9.6: set up tables of a PASID for each PGTT, with a page at IOVA */
static void guest_map(Guest *g, uint64_t page)
{
    const uint64_t fs = VTD_FL_P | VTD_FL_RW | VTD_FL_US;
    const uint64_t ss = VTD_SL_R | VTD_SL_W;
    const uint64_t aw48 = 2ULL << 2, pwsnp = VTD_SM_PASID_ENTRY_PWSNP;
    uint64_t root5 = qvtd_new_table(&g->vtd);
    uint64_t root4 = qvtd_new_table(&g->vtd);
    uint64_t second = qvtd_new_table(&g->vtd);

    g->vtd.scalable = true;
    g->dir = qvtd_sm_attach(&g->vtd, DEV, VTD_SM_CONTEXT_ENTRY_DTE |
                            VTD_SM_CONTEXT_ENTRY_PASIDE, 0);
    qvtd_map_entry(&g->vtd, root4, 4, IOVA, KIB4, page | fs, fs);
    qvtd_map_entry(&g->vtd, root5, 5, IOVA, KIB4, page | fs, fs);
    qvtd_map_entry(&g->vtd, second, 4, IOVA, KIB4, page | ss, ss);
    for (uint64_t gpa = 0; gpa < 128 * MiB; gpa += 2 * MiB) {
        qvtd_map_entry(&g->vtd, second, 4, gpa, 2 * MiB, gpa | ss, ss);
    }
    qvtd_sm_pasid(&g->vtd, g->dir, 0, VTD_PASID_ENTRY_P |
                  VTD_SM_PASID_ENTRY_PT, 1 | pwsnp, 0);
    qvtd_sm_pasid(&g->vtd, g->dir, PASID, VTD_PASID_ENTRY_P |
                  VTD_SM_PASID_ENTRY_FLT, 1 | pwsnp, root4);
    qvtd_sm_pasid(&g->vtd, g->dir, PASID + 1, VTD_PASID_ENTRY_P |
                  VTD_SM_PASID_ENTRY_FLT, 1 | pwsnp, root5 | 1 << 2);
    qvtd_sm_pasid(&g->vtd, g->dir, PASID + 2, VTD_PASID_ENTRY_P |
                  VTD_SM_PASID_ENTRY_SLT | aw48 | second, 1 | pwsnp, 0);
    qvtd_sm_pasid(&g->vtd, g->dir, PASID + 3, VTD_PASID_ENTRY_P |
                  VTD_SM_PASID_ENTRY_NESTED | aw48 | second, 1 | pwsnp, root4);
    qvtd_enable(&g->vtd);
}

static void guest_translates(Guest *g, uint32_t pasid, uint64_t out)
{
    QATDResult r;

    g_assert_cmpint(qatd_translate(&g->dev, pasid, IOVA, KIB4, 0, &r, 1), ==,
                    1);
    g_assert_cmphex(r.perm & (R | W), ==, out ? R | W : 0);
    if (out) {
        g_assert_cmphex(r.translated_addr | (IOVA & r.addr_mask), ==, out);
    }
}

/* Check translations, DMA, and invalidations */
static void guest_check(Guest *g, uint64_t page)
{
    uint64_t dte = VTD_SM_CONTEXT_ENTRY_DTE, ce;

    for (uint32_t pasid = PASID; pasid < PASID + 4; pasid++) {
        guest_translates(g, pasid, page);
        qtest_writel(g->qts, page, 0x1000 + pasid);
        g_assert_cmpint(qatd_command(&g->dev, ATD_CMD_DMA_READ, pasid, IOVA, 4,
                                     0), ==, 0);
        g_assert_cmphex(qtest_readl(g->qts, g->dev.data), ==, 0x1000 + pasid);
    }
    /* Pass-through, untranslated and translated requests */
    g_assert_cmpint(qatd_command(&g->dev, ATD_CMD_DMA_READ, QATD_NO_PASID, page,
                                 4, 0), ==, 0);
    g_assert_cmpint(qatd_command(&g->dev, ATD_CMD_DMA_READ, QATD_NO_PASID, page,
                                 4, ATD_FLAG_TRANSLATED), ==, 0);
    ce = qvtd_sm_context(&g->vtd, DEV);
    qtest_writeq(g->qts, ce, qtest_readq(g->qts, ce) & ~dte);
    qvtd_inv_global(&g->vtd);
    guest_translates(g, PASID, 0);
    g_assert_cmpint(qatd_command(&g->dev, ATD_CMD_DMA_READ, QATD_NO_PASID, page,
                                 4, ATD_FLAG_TRANSLATED), !=, 0);
    qtest_writeq(g->qts, ce, qtest_readq(g->qts, ce) | dte);
    qvtd_inv_global(&g->vtd);
    guest_translates(g, PASID, page);
}

/* SGN.10: PASIDs that are wider than ECAP.PSS announces are blocked */
static void test_pasid_bits(void)
{
    uint64_t page;
    Guest g;

    guest_start(&g, "svm=on,pasid-bits=3");
    page = qvtd_new_table(&g.vtd);
    guest_map(&g, page);
    guest_translates(&g, PASID, page);
    guest_translates(&g, PASID + 2, page);
    guest_translates(&g, PASID + 3, 0);
    qtest_quit(g.qts);
    alloc_destroy(&g.alloc);
}

/* A migration preserves the state outside of the registers */
static void test_migration(void)
{
    static const char *const iommu[] = {
        "svm=on", "svm=on,intremap=off", "svm=on,eim=on",
        "svm=on,caching-mode=on",
    };

    for (size_t i = 0; i < ARRAY_SIZE(iommu); i++) {
        uint64_t page;
        Guest g;

        guest_start(&g, iommu[i]);
        page = qvtd_new_table(&g.vtd);
        guest_map(&g, page);
        guest_check(&g, page);
        guest_save(&g);
        guest_load(&g, iommu[i], "completed");
        guest_check(&g, page);
        guest_stop(&g);
    }
}

/* Both sides must have the same capabilities */
static void test_migration_mismatch(void)
{
    static const struct {
        const char *from;
        const char *to;
        const char *end;
    } pairs[] = {
        { "svm=on", "svm=off", "failed" },
        { "svm=off", "svm=on", "failed" },
        { "svm=on", "x-scalable-mode=on,x-flts=on,x-pasid-mode=on,"
                    "device-iotlb=on", "failed" },
        { "svm=on", "svm=on,pt=off", "failed" },
        { "svm=on,intremap=off", "svm=on,intremap=on", "failed" },
        { "svm=on,caching-mode=on", "svm=on", "failed" },
        { "svm=on", "svm=on,x-flts=on,aw-bits=48", "completed" },
        /* Not checked, for compatibility */
        { "pt=on", "pt=off", "completed" },
        { "aw-bits=48", "aw-bits=39", "completed" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        Guest g;

        g_test_message("from %s to %s", pairs[i].from, pairs[i].to);
        guest_start(&g, pairs[i].from);
        guest_save(&g);
        guest_load(&g, pairs[i].to, pairs[i].end);
        guest_stop(&g);
    }
}

/* Fields that QEMU 10.0 migrates: newer ones are in subsections */
static void test_vmstate(void)
{
    static const struct {
        const char *name;
        int size;
    } fields[] = {
        { "root", 8 }, { "intr_root", 8 }, { "iq", 8 }, { "intr_size", 4 },
        { "iq_head", 2 }, { "iq_tail", 2 }, { "iq_size", 2 },
        { "next_frcd_reg", 2 }, { "csr", 1 }, { "iq_last_desc_type", 1 },
        { "unused", 1 }, { "dmar_enabled", 1 }, { "qi_enabled", 1 },
        { "intr_enabled", 1 }, { "intr_eime", 1 },
    };
    g_autofree char *command =
        g_strdup_printf("%s -M q35 -dump-vmstate /dev/stdout",
                        getenv("QTEST_QEMU_BINARY"));
    g_autofree char *text = NULL;
    g_autoptr(GError) err = NULL;
    QDict *all, *iommu, *vmsd;
    const QListEntry *entry;
    size_t i = 0;

    g_assert_true(g_spawn_command_line_sync(command, &text, NULL, NULL, &err));
    g_assert_no_error(err);
    all = qobject_to(QDict, qobject_from_json(text, &error_abort));
    iommu = qdict_get_qdict(all, "intel-iommu");
    vmsd = qdict_get_qdict(iommu, "Description");
    g_assert_cmpstr(qdict_get_str(vmsd, "name"), ==, "iommu-intel");
    g_assert_cmpint(qdict_get_int(vmsd, "version_id"), ==, 1);
    g_assert_cmpint(qdict_get_int(vmsd, "minimum_version_id"), ==, 1);
    QLIST_FOREACH_ENTRY(qdict_get_qlist(vmsd, "Fields"), entry) {
        QDict *field = qobject_to(QDict, qlist_entry_obj(entry));

        g_assert_cmpuint(i, <, ARRAY_SIZE(fields));
        g_assert_cmpstr(qdict_get_str(field, "field"), ==, fields[i].name);
        g_assert_cmpint(qdict_get_int(field, "size"), ==, fields[i].size);
        i++;
    }
    g_assert_cmpuint(i, ==, ARRAY_SIZE(fields));
    qobject_unref(all);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtd-svm/without-svm", test_without_svm);
    qtest_add_func("/vtd-svm/older-properties", test_older_properties);
    qtest_add_func("/vtd-svm/newer-names", test_newer_names);
    qtest_add_func("/vtd-svm/svm", test_svm);
    qtest_add_func("/vtd-svm/conflicts", test_conflicts);
    qtest_add_func("/vtd-svm/conflict-json", test_conflict_json);
    qtest_add_func("/vtd-svm/invalid-properties", test_invalid_properties);
    qtest_add_func("/vtd-svm/no-conflict", test_no_conflict);
    qtest_add_func("/vtd-svm/reset", test_reset);
    qtest_add_func("/vtd-svm/pasid-bits", test_pasid_bits);
    qtest_add_func("/vtd-svm/migration", test_migration);
    qtest_add_func("/vtd-svm/migration-mismatch", test_migration_mismatch);
    qtest_add_func("/vtd-svm/vmstate", test_vmstate);
    return g_test_run();
}
