/*
 * QTest testcase for the ACPI tables of machines with shared virtual memory
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Programs select an accelerator by its NUMA node.  With svm=on, the host
 * bridge is in a proximity domain, also if the machine has no NUMA options.
 * Other machines have the tables of upstream.
 * Section numbers are those of the ACPI specification, revision 6.5.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "libqos/fw_cfg.h"
#include "libqos/libqos-pc.h"

#define BLOB_SIZE       (128 * KiB)
#define SRAT_HEADER     48

/* 19.6.88: Name (_PXM, Zero) */
static const uint8_t pxm_0[] = { 0x08, '_', 'P', 'X', 'M', 0x00 };

typedef struct Tables {
    uint8_t blob[BLOB_SIZE];
    size_t size;
    const uint8_t *srat;        /* or NULL */
} Tables;

/* The first occurrence of @what from @from on, or NULL */
static const uint8_t *find(const Tables *t, const uint8_t *from,
                           const void *what, size_t len)
{
    const uint8_t *end = t->blob + t->size - len;

    for (const uint8_t *p = from; p <= end; p++) {
        if (!memcmp(p, what, len)) {
            return p;
        }
    }
    return NULL;
}

static void read_tables(Tables *t, const char *args)
{
    QOSState *qs = qtest_pc_boot("-nodefaults %s", args);
    QFWCFG *fw_cfg = pc_fw_cfg_init(qs->qts);

    t->size = qfw_cfg_read_file(fw_cfg, qs, "etc/acpi/tables", t->blob,
                                BLOB_SIZE);
    g_assert_cmpuint(t->size, >, 0);
    t->srat = find(t, t->blob, "SRAT", 4);
    pc_fw_cfg_uninit(fw_cfg);
    qtest_shutdown(qs);
}

/* 6.2.14 */
static unsigned count_pxm(const Tables *t)
{
    const uint8_t *p = t->blob;
    unsigned n = 0;

    while ((p = find(t, p, pxm_0, sizeof(pxm_0)))) {
        p++;
        n++;
    }
    return n;
}

/* 5.2.16: count processors, and add up the memory of each domain */
static void read_srat(const Tables *t, unsigned *cpus, uint64_t *memory,
                      unsigned domains)
{
    const uint8_t *p = t->srat + SRAT_HEADER;
    const uint8_t *end = t->srat + ldl_le_p(t->srat + 4);

    *cpus = 0;
    memset(memory, 0, domains * sizeof(*memory));
    for (; p < end; p += p[1]) {
        uint32_t domain = ldl_le_p(p + 2);

        g_assert_cmpuint(p[1], >, 0);
        if (p[0] == 0) {
            (*cpus)++;
        } else if (p[0] == 1 && (ldl_le_p(p + 28) & 1)) {
            g_assert_cmpuint(domain, <, domains);
            memory[domain] += ldq_le_p(p + 16);
        }
    }
}

static void test_one_node(const void *opaque)
{
    g_autofree Tables *t = g_new0(Tables, 1);
    g_autofree char *args = g_strdup_printf("-M q35 -m 5G -smp 3 -device %s",
                                            (const char *)opaque);
    uint64_t memory;
    unsigned cpus;

    read_tables(t, args);
    g_assert_cmpuint(count_pxm(t), ==, 1);
    g_assert_nonnull(t->srat);
    read_srat(t, &cpus, &memory, 1);
    g_assert_cmpuint(cpus, ==, 3);
    /* All but the hole from 640 KiB to 1 MiB */
    g_assert_cmpuint(memory, ==, 5 * GiB - 384 * KiB);
}

#define TWO_NODES "-M q35 -m 1G -smp 2 " \
                  "-object memory-backend-ram,id=m0,size=512M " \
                  "-object memory-backend-ram,id=m1,size=512M " \
                  "-numa node,nodeid=0,cpus=0,memdev=m0 " \
                  "-numa node,nodeid=1,cpus=1,memdev=m1 "

/* The host bridge is in the first of several nodes, as is a processor */
static void test_two_nodes(void)
{
    g_autofree Tables *t = g_new0(Tables, 1);
    uint64_t memory[2];
    unsigned cpus;

    read_tables(t, TWO_NODES);
    g_assert_cmpuint(count_pxm(t), ==, 1);
    read_tables(t, TWO_NODES "-device intel-iommu,svm=on");
    g_assert_cmpuint(count_pxm(t), ==, 2);
    read_srat(t, &cpus, memory, 2);
    g_assert_cmpuint(cpus, ==, 2);
    g_assert_cmpuint(memory[0], ==, 512 * MiB - 384 * KiB);
    g_assert_cmpuint(memory[1], ==, 512 * MiB);
}

static void test_without_svm(void)
{
    static const char *const machines[] = {
        "-M q35",
        "-M pc",
        "-M q35 -device intel-iommu",
        "-M q35 -device intel-iommu,x-scalable-mode=on,device-iotlb=on",
        "-M q35 -device amd-iommu",
    };

    for (int i = 0; i < ARRAY_SIZE(machines); i++) {
        g_autofree Tables *t = g_new0(Tables, 1);

        g_test_message("%s", machines[i]);
        read_tables(t, machines[i]);
        g_assert_null(t->srat);
        g_assert_cmpuint(count_pxm(t), ==, 0);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!qtest_has_device("intel-iommu") || !qtest_has_device("amd-iommu")) {
        return 0;
    }
    qtest_add_data_func("/acpi-svm/one-node/intel-iommu", "intel-iommu,svm=on",
                        test_one_node);
    qtest_add_data_func("/acpi-svm/one-node/amd-iommu", "amd-iommu,svm=on",
                        test_one_node);
    qtest_add_func("/acpi-svm/two-nodes", test_two_nodes);
    qtest_add_func("/acpi-svm/without-svm", test_without_svm);
    return g_test_run();
}
